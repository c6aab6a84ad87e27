"""Second questions about a picture: what keeping or refreshing the kept tokens answers and costs.

    python -m benchmarks.turns [--scenes 200] [--methods transprune-low ...]

Every test scene gets two questions in one conversation with the bundled model. The second is
answered on the cache of the first (`turns="keep"`), after a refresh (`turns="refresh"`), and alone,
as a prompt of its own; unpruned both on the cache and alone. Milliseconds are CPU time of one
thread from the second question to its first token; the order of the contenders changes from scene
to scene. The bundled model was never trained on a second question.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers.utils import logging

from transprune import prune
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.nano.questions import SHORT_CATEGORIES, Question, ask_with_retries
from transprune.nano.scenes import Scene, draw, question_rng

from .talk import Talk

METHODS = ("fastv:layer=3,keep_ratio=0.12", "transprune-low", "transprune-nano")
Session = Callable[[], AbstractContextManager[Any]]


def two_questions(scene: Scene, number: int) -> tuple[Question, Question]:
    """Questions of two categories about a test scene."""
    rng = question_rng("test", number)
    found: list[Question] = []
    for category in rng.permutation(SHORT_CATEGORIES):
        question = ask_with_retries(scene, str(category), rng)
        if question is not None:
            found.append(question)
        if len(found) == 2:
            break
    first, second = found
    return first, second


def contenders(checkpoint: Checkpoint, method: str) -> dict[str, tuple[Session, bool]]:
    """How the second question is put, by name: a session, and whether the first was asked."""

    def session(**options: Any) -> Session:
        return lambda: prune(checkpoint.model, method, text_tower=checkpoint.text_tower, **options)

    return {
        "unpruned, alone": (nullcontext, False),
        "unpruned, second": (nullcontext, True),
        "pruned, alone": (session(), False),
        "turns='keep'": (session(turns="keep"), True),
        "turns='refresh'": (session(turns="refresh"), True),
    }


def measure(checkpoint: Checkpoint, method: str, scenes: int) -> None:
    """Print a line for each contender."""
    runs = contenders(checkpoint, method)
    right: dict[str, list[bool]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    names = list(runs)
    shuffle = random.Random(0).shuffle

    for number in range(scenes):
        scene = draw("test", number)
        first, second = two_questions(scene, number)
        shuffle(names)
        for name in names:
            inside, follows = runs[name]
            talk = Talk(checkpoint, scene)
            with inside():
                if follows:
                    talk.ask(first.text)
                answer = talk.ask(second.text)
            right[name].append(answer == second.answer)
            seconds[name].append(talk.seconds)

    print(f"\n{method}, {scenes} scenes")
    print(f"{'':18s} {'right, %':>9s} {'ms':>8s}")
    for name in runs:
        percent = 100 * sum(right[name]) / scenes
        print(f"{name:18s} {percent:9.1f} {1000 * statistics.median(seconds[name]):8.2f}")


def main() -> None:
    """Print a table for each method."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns", description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    args = parser.parse_args()

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    for method in args.methods:
        measure(checkpoint, method, args.scenes)


if __name__ == "__main__":
    main()
