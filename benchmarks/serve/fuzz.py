"""Hostile requests in thousands: no error of the server, no hang, no growing memory.

    python -m benchmarks.serve.fuzz [--requests 2000] [--seed 0]

Three kinds, a third each: bodies that schemathesis makes from the endpoint's own description, valid
and not; good requests with a damaged picture file in them; good requests whose JSON text is damaged.
Ends with exit code 1 if any answer was a 5xx, no answer came in 60 s, or the server no longer
answers a good request rightly.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import hypothesis
import schemathesis
from PIL import Image

from transprune.demo.questions import picture_file

from .launch import Running, serving

QUESTION = "what shape is the orange object?"
ANSWER = "star"
HEADERS = {"Content-Type": "application/json"}
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def body(picture: bytes) -> dict[str, Any]:
    """A good request, as far as its picture is one."""
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": QUESTION},
    ]
    return {"model": "nano", "messages": [{"role": "user", "content": content}], "max_tokens": 4}


class Hostile:
    """Sends requests and counts what comes back."""

    def __init__(self, server: Running, seed: int) -> None:
        self.server = server
        self.rng = random.Random(seed)
        self.statuses: Counter[str] = Counter()
        self.http = httpx2.Client(timeout=60, trust_env=False)
        self.good = picture_file("scene2.png").read_bytes()
        self.slowest = 0.0

    def send(self, content: bytes) -> None:
        """Send one body."""
        start = time.monotonic()
        try:
            answer = self.http.post(self.server.chat, content=content, headers=HEADERS)
            status = str(answer.status_code)
            if answer.status_code != 200 and set(answer.json()["error"]) != SHAPE:
                status += " without OpenAI's shape"
        except httpx2.HTTPError as error:
            status = f"no answer ({type(error).__name__})"
        self.slowest = max(self.slowest, time.monotonic() - start)
        self.statuses[status] += 1

    def damaged_pictures(self, count: int) -> None:
        """Pictures of random formats with random bytes changed, cut or added."""
        for _ in range(count):
            self.send(json.dumps(body(self._damage(self._picture()))).encode())

    def _picture(self) -> bytes:
        size = (self.rng.randrange(1, 200), self.rng.randrange(1, 200))
        image = Image.effect_noise(size, 60).convert(self.rng.choice(("RGB", "L")))
        file = io.BytesIO()
        image.save(file, self.rng.choice(FORMATS))
        return file.getvalue()

    def damaged_json(self, count: int) -> None:
        """Good bodies with random bytes changed, cut or added; every other one has little picture,
        so that the damage is elsewhere.
        """
        for number in range(count):
            picture = self.good[:100] if number % 2 else self.good
            self.send(self._damage(json.dumps(body(picture)).encode()))

    def _damage(self, data: bytes) -> bytes:
        kind = self.rng.choice(("bytes", "cut", "tail", "header", "none"))
        if kind == "cut":
            return data[: self.rng.randrange(len(data))]
        if kind == "tail":
            return data + self.rng.randbytes(self.rng.randrange(1, 2000))
        changed = bytearray(data)
        if kind != "none":
            reach = 64 if kind == "header" else len(data)
            for _ in range(self.rng.randrange(1, 20)):
                changed[self.rng.randrange(min(reach, len(data)))] = self.rng.randrange(256)
        return bytes(changed)

    def of_the_description(self, count: int) -> None:
        """Bodies from /openapi.json, valid and not."""
        page = self.http.get(f"{self.server.address}/openapi.json").json()
        schema = schemathesis.openapi.from_dict(page)
        chat = next(r.ok() for r in schema.get_all_operations() if "chat" in r.ok().path)
        for mode in schemathesis.GenerationMode:
            strategy = chat.as_strategy(generation_mode=mode)
            self._draw(strategy, count // len(schemathesis.GenerationMode))

    def _draw(self, strategy: Any, count: int) -> None:
        @hypothesis.seed(self.rng.randrange(2**32))
        @hypothesis.settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(strategy)
        def send(case: Any) -> None:
            value = case.body
            plain = isinstance(value, (dict, list, str, int, float, bool, type(None)))
            self.send(json.dumps(value).encode() if plain else b"")

        send()

    @property
    def bad(self) -> list[str]:
        """Outcomes that must not be."""
        return [name for name in self.statuses if not name.isdigit() or name.startswith("5")]


SHAPE = {"message", "type", "param", "code"}


def run(server: Running, requests: int, seed: int) -> int:
    """Send them all; the exit code."""
    hostile = Hostile(server, seed)
    third = -(-requests // 3)
    kinds: dict[str, Callable[[int], None]] = {
        "damaged pictures": hostile.damaged_pictures,
        "damaged JSON": hostile.damaged_json,
        "of the description": hostile.of_the_description,
    }

    hostile.send(json.dumps(body(hostile.good)).encode())
    memory = [server.mebibytes]
    for name, send in kinds.items():
        before = sum(hostile.statuses.values())
        send(third)
        memory.append(server.mebibytes)
        print(f"{name}: {sum(hostile.statuses.values()) - before} requests, {memory[-1]:.0f} MiB")

    answer = hostile.http.post(server.chat, json=body(hostile.good)).json()
    right = answer["choices"][0]["message"]["content"] == ANSWER
    print(f"answers: {dict(sorted(hostile.statuses.items()))}")
    print(f"slowest {hostile.slowest:.2f} s; memory {[round(size) for size in memory]} MiB")
    print(f"bad: {hostile.bad or 0}; a good request is answered rightly afterwards: {right}")
    return 1 if hostile.bad or not right else 0


def main() -> None:
    """Start a server and send."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    # little is kept for later requests, so that memory can be compared
    with serving("--threads", "1", "--reuse-mib", "8") as server:
        code = run(server, args.requests, args.seed)
    sys.exit(code)


if __name__ == "__main__":
    main()
