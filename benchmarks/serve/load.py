"""Many clients at once: is every request answered, rightly, and how fast?

    python -m benchmarks.serve.load [--clients 200] [--seconds 60]

Starts the server on the bundled model and lets every client ask one question after the other for the
given time, each chosen from the pictures and questions of the demo. A client that is told to come
back later (429) waits as long as Retry-After says. Every answer is compared with the one that
`transprune run` gives. One line for each way to serve: in batches, one by one, unpruned; the line
also says how many were lost or wrong, which must be 0.

Server and clients share the machine, so seconds are of both, and of whatever else runs; the CPU
time is the server's own.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
import torch
from transformers.utils import logging

from transprune.core.plan import UNPRUNED
from transprune.demo.questions import picture_file, read_questions
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import LoadOptions, load
from transprune.models.images import open_image

from .launch import Running, serving

METHOD = "transprune-high"
NEW_TOKENS = 16

# how it is served -> options of the server, method of the requests
WAYS: dict[str, tuple[tuple[str, ...], str]] = {
    "pruned, batches of 16": ((), METHOD),
    "pruned, one by one": (("--max-batch", "1"), METHOD),
    "unpruned, batches of 16": ((), UNPRUNED),
    "unpruned, one by one": (("--max-batch", "1"), UNPRUNED),
    "pruned, nothing used again": (("--reuse-mib", "0"), METHOD),
}


@dataclass(frozen=True)
class Ask:
    """A request and its right answer."""

    body: dict[str, Any]
    answer: str


@dataclass
class Seen:
    """What the clients saw."""

    seconds: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


def right_answers(method: str) -> list[Ask]:
    """Every question of the demo with the answer of `transprune run`."""
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    asks = []
    for question in read_questions():
        file = picture_file(question.picture)
        inputs = prepare(checkpoint, [open_image(file)], question.question)
        answer = ask(checkpoint, inputs, None if method == UNPRUNED else method, NEW_TOKENS)
        url = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": question.question},
        ]
        body = {
            "model": f"nano@{method}",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": NEW_TOKENS,
        }
        asks.append(Ask(body, answer.text))
    return asks


async def client(server: Running, asks: list[Ask], end: float, seen: Seen, number: int) -> None:
    """One client: a question at a time, until the time is over."""
    rng = random.Random(number)
    async with httpx2.AsyncClient(timeout=120, trust_env=False) as http:
        while time.monotonic() < end:
            chosen = rng.choice(asks)
            start = time.monotonic()
            try:
                answer = await http.post(server.chat, json=chosen.body)
            except httpx2.HTTPError as error:
                seen.outcomes[f"lost ({type(error).__name__})"] += 1
                continue

            if answer.status_code == 429:
                seen.outcomes["told to wait"] += 1
                await asyncio.sleep(float(answer.headers["Retry-After"]))
                continue
            if answer.status_code != 200:
                seen.outcomes[f"lost ({answer.status_code})"] += 1
                continue
            _note(answer.json(), chosen, time.monotonic() - start, seen)


def _note(answer: dict[str, Any], chosen: Ask, seconds: float, seen: Seen) -> None:
    text = answer["choices"][0]["message"]["content"]
    seen.outcomes["right" if text == chosen.answer else "wrong"] += 1
    seen.seconds.append(seconds)
    seen.batches.append(answer["usage"]["pruning"]["batch_size"])


async def crowd(server: Running, asks: list[Ask], clients: int, seconds: float) -> Seen:
    """All clients together."""
    seen = Seen()
    end = time.monotonic() + seconds
    await asyncio.gather(*(client(server, asks, end, seen, n) for n in range(clients)))
    return seen


def measure(way: str, clients: int, seconds: float, threads: int) -> None:
    """Print one line."""
    options, method = WAYS[way]
    asks = right_answers(method)
    with serving("--threads", str(threads), *options) as server:
        asyncio.run(crowd(server, asks, min(4, clients), 2.0))  # warm up
        before = server.mebibytes
        start, cpu = time.monotonic(), server.cpu_seconds
        seen = asyncio.run(crowd(server, asks, clients, seconds))
        cpu = server.cpu_seconds - cpu
        wall = time.monotonic() - start
        after = server.mebibytes

    answered = sorted(seen.seconds)
    p50, p99 = statistics.median(answered), answered[int(0.99 * (len(answered) - 1))]
    bad = {name: n for name, n in seen.outcomes.items() if name not in ("right", "told to wait")}
    print(
        f"{way:28s} {len(answered):6d} answers  {len(answered) / wall:6.1f}/s  "
        f"CPU {1000 * cpu / len(answered):5.1f} ms each  "
        f"p50 {p50:6.2f} s  p99 {p99:6.2f} s  mean batch {statistics.fmean(seen.batches):5.1f}  "
        f"429: {seen.outcomes['told to wait']:5d}  lost or wrong: {bad or 0}  "
        f"memory {before:.0f} -> {after:.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Print a line for each way to serve."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve.load", description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    args = parser.parse_args()

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for way in args.ways:
        measure(way, args.clients, args.seconds, args.threads)


if __name__ == "__main__":
    main()
