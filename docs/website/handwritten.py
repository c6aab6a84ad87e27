"""Pages of the repository as pages of the site, with links that work there.

A link to a page of the repository becomes one to that page of the site; a link to any other file
becomes a download. A link to nothing is an error: the build is the check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from posixpath import relpath

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# image or link, with its address; a title behind the address is not used in these pages
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


class LinkError(ValueError):
    """A page links to a file that does not exist."""


def first_pages() -> list[Path]:
    """The pages that are there whether or not another page links to them."""
    return [*sorted(DOCS.glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


def page_name(file: Path) -> str:
    """The name of a page of the repository on the site, without its ending."""
    path = file.relative_to(ROOT)
    if path.parent == Path("docs"):
        return path.stem
    if path.parent == Path("."):
        return path.stem.lower()

    # cards beside checkpoints and weights
    return "cards/" + "-".join(path.with_suffix("").parts[2:]).lower()


def collect() -> dict[str, str | Path]:
    """Every page and file by its path on the site: the text of a page, or the file to copy.

    Raises:
        LinkError: a link to a file that does not exist.
    """
    found: dict[str, str | Path] = {}
    waiting = first_pages()
    while waiting:
        file = waiting.pop()
        name = f"{page_name(file)}.md"
        if name in found:
            continue

        text, linked = translate(file)
        found[name] = text
        for path in linked:
            if path.suffix == ".md":
                waiting.append(path)
            else:
                found[_download(path)] = path
    return found


def translate(file: Path) -> tuple[str, list[Path]]:
    """A page with the links of the site, and the files that it links to.

    Raises:
        LinkError: one of them does not exist.
    """
    return turn_links(file, _without_front_matter(file.read_text(encoding="utf-8")))


def turn_links(file: Path, text: str) -> tuple[str, list[Path]]:
    """The same for the text of a page that lies at `file`.

    Raises:
        LinkError: a link to a file that does not exist.
    """
    linked: list[Path] = []

    def turn(match: re.Match[str]) -> str:
        """One link."""
        before, address, behind = match.groups()
        path, _, anchor = address.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match.group(0)

        target = (file.parent / path).resolve()
        if not target.is_file():
            raise LinkError(f"{file.relative_to(ROOT)} links to {address}, which does not exist")
        linked.append(target)
        place = f"{page_name(target)}.md" if target.suffix == ".md" else _download(target)
        address = relpath(place, Path(page_name(file)).parent.as_posix())
        return before + address + (f"#{anchor}" if anchor else "") + behind

    return "".join(_outside_code(text, turn)), linked


def _outside_code(text: str, turn: Callable[[re.Match[str]], str]) -> Iterator[str]:
    """The text with the links outside of code blocks turned."""
    for number, part in enumerate(FENCE.split(text)):
        yield part if number % 2 else LINK.sub(turn, part)


def _download(file: Path) -> str:
    """Where a file that is no page lies on the site: pictures of `docs/` beside the pages."""
    path = file.relative_to(ROOT)
    return path.name if path.parent == Path("docs") else f"files/{path.as_posix()}"


def _without_front_matter(text: str) -> str:
    """A card of the hub begins with data for it, between two lines of dashes."""
    return re.sub(r"\A---\n.*?^---\n", "", text, flags=re.MULTILINE | re.DOTALL)
