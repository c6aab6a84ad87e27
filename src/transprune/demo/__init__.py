"""The demo: the bundled model answers questions about six pictures, unpruned and pruned.

It begins with one question in detail, to show what pruning is for (`first_look.py`); then every
method answers every question.

Every figure is measured: answers, tokens per stage, both cost conventions, bytes of the key/value
cache, and prefill time in pairs (each pruned call next to an unpruned one, median of the ratios).
Everything runs on one CPU thread, where a model this small is fastest and timing is steadiest.
24 questions show how pruning behaves; they are no benchmark.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from transprune.core.plan import UNPRUNED
from transprune.demo.first_look import FirstLook, choose_method
from transprune.demo.questions import Question, folder, read_questions
from transprune.demo.results import DemoResult, MethodResult
from transprune.demo.trial import Answers, DemoTrial
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import LoadOptions, load
from transprune.nano import NANO

__all__ = [
    "METHODS",
    "ROUNDS",
    "DemoResult",
    "FirstLook",
    "MethodResult",
    "Question",
    "folder",
    "one_thread",
    "read_questions",
    "run_demo",
]

METHODS = (
    # chosen on other scenes of the bundled model; all others are as published
    "transprune-nano",
    "transprune-high",
    "transprune-low",
    "fastv",
    "pdrop",
    # VisionZip's own budgets are for 576 tokens. 64 of the 144 here cost as much as
    # TransPrune-High in the `exact` convention.
    "visionzip:keep=64",
    "random-high",
    "uniform-high",
)
ROUNDS = 3  # timing pairs per picture


def run_demo(
    out: Path,
    *,
    pictures: int | None = None,
    rounds: int | None = None,
    methods: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> DemoResult:
    """Run the demo and write its pictures into `out` (made if missing).

    These are one overlay per picture of the demo, and `first.png`.

    Args:
        out: folder for the overlays.
        pictures: number of pictures; None for all.
        rounds: timing pairs per picture and method; None for `ROUNDS`.
        methods: recipes to run beside the unpruned model; None for `METHODS`.
        progress: called with each step.

    Raises:
        MethodError: an unknown method or a bad recipe.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    # a wrong name fails here, before the model is loaded
    recipes = _resolve(METHODS if methods is None else methods)

    questions = read_questions()
    # in the order of the file, each picture once
    names = list(dict.fromkeys(question.picture for question in questions))[:pictures]
    questions = tuple(question for question in questions if question.picture in names)

    rows: list[MethodResult] = []
    answers: dict[str, Answers] = {}
    with one_thread():
        progress("loading the bundled model")
        trial = DemoTrial(load(NANO, LoadOptions(dtype="float32", device="cpu")), questions)
        for name, method in {UNPRUNED: None, **recipes}.items():
            progress(f"answering with {name}")
            answers[name] = trial.answer(method)
            rows.append(
                trial.measure(name, method, answers[name], ROUNDS if rounds is None else rounds)
            )

    progress("drawing what was kept")
    shown = choose_method(rows)
    first = None if shown is None else trial.first_look(shown.method, answers, out / "first.png")
    overlays = [trial.draw(name, answers, out / f"{Path(name).stem}.png") for name in names]
    seconds = time.perf_counter() - start
    return DemoResult(questions, tuple(rows), first, tuple(overlays), seconds)


def _resolve(names: Sequence[str]) -> dict[str, Method]:
    """The methods by name; the unpruned model runs anyway."""
    return {name: resolve(name) for name in names if name != UNPRUNED}


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one CPU thread, and restore the number of threads at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
