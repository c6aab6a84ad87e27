"""What a table asks with its options, and which of the questions can be shown."""

from __future__ import annotations

from collections.abc import Iterable

from transprune.bench.data.benchmarks import BENCHMARKS, Benchmark
from transprune.bench.data.benchmarks.video_files import FRAMES
from transprune.bench.data.tasks import Item
from transprune.errors import ImageError, TaskError
from transprune.reproduce.plan import ReproducePlan

SMOKE_FRAMES = 2  # of a drawn video


def check_askable(name: str, plan: ReproducePlan) -> Benchmark:
    """The benchmark whose questions a column asks.

    Raises:
        TaskError: it cannot be asked with these options.
    """
    if name not in BENCHMARKS:
        raise TaskError(f"no benchmark of this name; known: {', '.join(BENCHMARKS)}")

    benchmark = BENCHMARKS[name]
    if benchmark.judged == "grade" and plan.judge is None:
        raise TaskError(
            "0 to 5 is given by a judge: name one with --judge URL --judge-model NAME (any "
            "OpenAI-compatible endpoint)"
        )

    return BENCHMARKS[benchmark.answers_of or name]


def frames_of(plan: ReproducePlan) -> int:
    """Frames that are taken of each video."""
    return SMOKE_FRAMES if plan.smoke else FRAMES


def readable(items: Iterable[Item]) -> tuple[tuple[Item, ...], list[str]]:
    """Items whose pictures and videos can be decoded, and a sentence about each of the others."""
    usable = []
    damaged = []
    for item in items:
        try:
            for medium in (*item.pictures, *item.clips):
                medium()
        except ImageError as error:
            damaged.append(str(error))
        else:
            usable.append(item)

    return tuple(usable), damaged
