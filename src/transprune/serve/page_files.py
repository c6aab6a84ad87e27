"""The files of the page at `/`: read once, sent from memory, with headers that allow nothing else.

They are plain HTML, CSS and JavaScript in the folder `page`, with the demo's pictures and questions
as examples. No path of a request ever becomes the path of a file.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response

from transprune.demo.questions import picture_file, read_questions

PREFIX = "/page/"
INDEX = "index.html"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}

# trusted types: the browser itself refuses to take a text as HTML
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(POLICY),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # another version of the server has another page
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """One file as it is sent."""

    content: bytes
    media_type: str


def read_page() -> dict[str, PageFile]:
    """Path of a request -> file."""
    folder = Path(__file__).parent / "page"
    page = {}
    # read at the start and served from memory: a request never becomes a path
    for file in sorted(folder.iterdir()):
        path = "/" if file.name == INDEX else PREFIX + file.name
        page[path] = _read(file)

    examples = _examples()
    for example in examples:
        name = example["picture"]
        page[PREFIX + name] = _read(picture_file(name))

    content = json.dumps(examples).encode()
    page[f"{PREFIX}examples.json"] = PageFile(content, MEDIA_TYPES[".json"])
    return page


def add_page(app: FastAPI, page: Mapping[str, PageFile]) -> None:
    """Give an application the routes of the page; the description of its interface has none of them."""

    # a function of its own for each file, which the loop variable would not be
    def answer(file: PageFile) -> Callable[[], Awaitable[Response]]:
        """A route that sends one file."""

        async def send() -> Response:
            return Response(file.content, media_type=file.media_type, headers=HEADERS)

        return send

    for path, file in page.items():
        app.add_api_route(path, answer(file), methods=["GET", "HEAD"], include_in_schema=False)


def _read(file: Path) -> PageFile:
    return PageFile(file.read_bytes(), MEDIA_TYPES[file.suffix])


def _examples() -> list[dict[str, Any]]:
    """The demo's pictures, each with its questions and their right answers."""
    examples: dict[str, list[dict[str, str]]] = {}
    for question in read_questions():
        entry = {"question": question.question, "answer": question.answer}
        examples.setdefault(question.picture, []).append(entry)
    return [{"picture": name, "questions": asked} for name, asked in examples.items()]
