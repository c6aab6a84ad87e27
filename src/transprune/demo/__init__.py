"""The demo: the bundled model answers questions about six pictures, unpruned and with each method.

It measures what it shows: answers, tokens per stage, both cost conventions, K/V bytes, and prefill time in pairs (each
pruned call next to an unpruned one, median of the ratios). Everything runs on one CPU thread, where a model this small
is fastest and timing is steadiest. 24 questions show how pruning behaves; they are no benchmark.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from transprune.methods.common.recipe import resolve
from transprune.models.answer import Answer, ask, prefill_seconds, prepare
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.models.images import open_image
from transprune.nano import NANO
from transprune.report.overlay import Strip, draw_sheet, find_grid, stage_panels
from transprune.session import prune

UNPRUNED = "unpruned"
# VisionZip's own budgets are for 576 tokens; 64 of 144 is what costs as much as TransPrune-High in the `exact` count.
METHODS = (
    UNPRUNED,
    "transprune-high",
    "transprune-low",
    "fastv",
    "pdrop",
    "visionzip:keep=64",
    "random-high",
    "uniform-high",
)
ROUNDS = 3  # timing pairs per picture
NEW_TOKENS = 8


@dataclass(frozen=True)
class Question:
    """One question of the demo: which picture, what is asked, and the right answer."""

    picture: str
    family: str
    question: str
    answer: str


@dataclass(frozen=True)
class MethodResult:
    """One row of the demo's table.

    Attributes:
        method: recipe text, or `"unpruned"`.
        answers: one per question, in order.
        right: how many are.
        boundaries: decoder layers in front of which tokens are dropped.
        tokens: visual tokens that arrive, and that remain after each boundary.
        paper_share, exact_share: prefill cost relative to unpruned, by convention.
        time_share: measured prefill time relative to unpruned, median of pairs.
        kv_share: bytes of the K/V after the prefill relative to unpruned.
    """

    method: str
    answers: tuple[str, ...]
    right: int
    boundaries: tuple[int, ...]
    tokens: tuple[int, ...]
    paper_share: float
    exact_share: float
    time_share: float
    kv_share: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo found: questions, one row per method, and the overlays it wrote."""

    questions: tuple[Question, ...]
    methods: tuple[MethodResult, ...]
    overlays: tuple[Path, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return {
            "questions": [asdict(question) for question in self.questions],
            "methods": [asdict(method) for method in self.methods],
            "overlays": [str(path) for path in self.overlays],
            "seconds": round(self.seconds, 2),
        }


def folder() -> Path:
    """Where the pictures and questions are."""
    return Path(__file__).parent


def read_questions() -> tuple[Question, ...]:
    """All questions, picture by picture."""
    data = json.loads((folder() / "questions.json").read_text(encoding="utf-8"))
    return tuple(
        Question(scene["picture"], **asked)
        for scene in data["scenes"]
        for asked in scene["questions"]
    )


def run_demo(
    out: Path,
    *,
    pictures: int | None = None,
    rounds: int = ROUNDS,
    methods: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> DemoResult:
    """Run the demo and write one overlay per picture into `out` (made if missing).

    Args:
        out: folder for the overlays.
        pictures: only so many pictures; None for all.
        rounds: timing pairs per picture and method.
        methods: recipes to run beside the unpruned model; None for `METHODS`.
        progress: told what is being done.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    questions = read_questions()
    names = list(dict.fromkeys(question.picture for question in questions))[:pictures]
    questions = tuple(question for question in questions if question.picture in names)
    with one_thread():
        progress("loading the bundled model")
        bench = _Bench(load(NANO, LoadOptions(dtype="float32", device="cpu")), questions)
        results, mains = [], {}
        for method in METHODS if methods is None else (UNPRUNED, *methods):
            progress(f"answering with {method}")
            answers = bench.answer(method)
            results.append(bench.row(method, answers, rounds))
            mains[method] = dict(zip(questions, answers, strict=True))
    progress("drawing what was kept")
    overlays = tuple(_draw(bench, name, mains, out / f"{Path(name).stem}.png") for name in names)
    return DemoResult(questions, tuple(results), overlays, time.perf_counter() - start)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, and back to what it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Bench:
    """The model with its prepared questions."""

    def __init__(self, checkpoint: Checkpoint, questions: tuple[Question, ...]) -> None:
        self.checkpoint, self.questions = checkpoint, questions
        self.pictures = {
            q.picture: open_image(folder() / "pictures" / q.picture) for q in questions
        }
        self.inputs = {
            q: prepare(checkpoint, [self.pictures[q.picture]], q.question) for q in questions
        }
        # the first question of each picture: shown in its overlay, and timed
        self.mains = {q.picture: q for q in reversed(questions)}
        for main in self.mains.values():  # warm up
            prefill_seconds(checkpoint, self.inputs[main])

    def answer(self, method: str) -> list[Answer]:
        """The answer to every question."""
        chosen = None if method == UNPRUNED else method
        return [ask(self.checkpoint, self.inputs[q], chosen, NEW_TOKENS) for q in self.questions]

    def row(self, method: str, answers: list[Answer], rounds: int) -> MethodResult:
        """One row of the table."""
        texts = tuple(answer.text for answer in answers)
        right = sum(
            text == question.answer for text, question in zip(texts, self.questions, strict=True)
        )
        traces = [answer.trace for answer in answers if answer.trace is not None]
        if not traces:
            return MethodResult(method, texts, right, (), (self.visual,), 1.0, 1.0, 1.0, 1.0)
        costs = [trace.cost("exact") for trace in traces]
        kept = sum(trace.kv_bytes for trace in traces) / sum(cost.full_kv_bytes for cost in costs)
        return MethodResult(
            method,
            texts,
            right,
            boundaries=tuple(stage.boundary for stage in traces[0].stages),
            tokens=(
                traces[0].visual_tokens[0],
                *(len(stage.keep[0]) for stage in traces[0].stages),
            ),
            paper_share=fmean(trace.cost("paper").prefill_share for trace in traces),
            exact_share=fmean(cost.prefill_share for cost in costs),
            time_share=self._time_share(method, rounds),
            kv_share=kept,
        )

    @property
    def visual(self) -> int:
        """Visual tokens of one picture."""
        return int(self.checkpoint.model.config.image_seq_length)

    def _time_share(self, method: str, rounds: int) -> float:
        """Median of pruned over unpruned prefill time, the two measured back to back."""
        ratios = []
        chosen = resolve(method)
        for _ in range(rounds):
            for main in self.mains.values():
                inputs = self.inputs[main]
                unpruned = prefill_seconds(self.checkpoint, inputs)
                with prune(self.checkpoint.model, chosen):
                    pruned = prefill_seconds(self.checkpoint, inputs)
                ratios.append(pruned / unpruned)
        return median(ratios)


def _draw(bench: _Bench, name: str, answers: dict[str, dict[Question, Answer]], file: Path) -> Path:
    """The overlay of one picture: a row per method, for the picture's first question."""
    main = bench.mains[name]
    grid = find_grid(
        bench.checkpoint.model.config,
        bench.inputs[main],
        0,
        bench.visual,
        cropped=bench.checkpoint.crops,
    )
    strips = []
    for method, given in answers.items():
        answer = given[main]
        if answer.trace is None or not answer.trace.stages:
            continue
        verdict = "right" if answer.text == main.answer else "wrong"
        title = f"{method}: {answer.text} ({verdict})"
        strips.append(
            Strip(title, bench.pictures[name], grid, stage_panels(answer.trace), bench.visual)
        )
    unpruned = answers[UNPRUNED][main].text
    subtitle = f"right answer: {main.answer}   unpruned model: {unpruned}   bright patches stay, dark ones are dropped"
    draw_sheet(main.question, strips, subtitle).save(file)
    return file
