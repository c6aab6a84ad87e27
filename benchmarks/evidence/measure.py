"""Measure one model: comparisons and places from its runs, the signal of its layers on its bed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from transprune.bench.data.manifest import Settings
from transprune.errors import BenchError

from . import places
from .answers import Answers, cost_rows, differences
from .beds import BEDS
from .chosen import MethodAt, read_chosen
from .claim import HIGH, HIGH_EXACT, LOW, LOW_EXACT, Pair
from .claims import CLAIMS
from .ladder import LADDERS, Ladder, Source
from .ranking import measure_signal

# rows of the tables of costs, as far as they ran
METHODS = (
    "transprune",
    "transprune-low",
    "fastv",
    "pdrop",
    "sparsevlm",
    "topv",
    "shortv",
    "visionzip",
    "cdpruner",
    "divprune",
    "random",
)
COSTS = ((HIGH_EXACT, "exact"), (LOW_EXACT, "exact"), (HIGH, "paper"), (LOW, "paper"))


def measure_ladder(
    name: str, folders: Sequence[Path], pictures: int, tell: Callable[[str], None]
) -> Ladder:
    """Everything that the page needs of a model.

    Args:
        name: of the model, `nano` or `smol`.
        folders: runs of `transprune bench` of this model; the first that has a comparison counts.
        pictures: test scenes for the signal of the layers.
        tell: called with each step.

    Raises:
        BenchError: no such model, no run, or a run of another model or split.
        RecordError: a run that is damaged or not finished.
    """
    if name not in LADDERS:
        raise BenchError(f"no ladder {name!r}; known: {', '.join(LADDERS)}")
    if not folders:
        raise BenchError(f"give the runs of `transprune bench --model {name}`, at least one")

    pairs = all_pairs()
    runs = []
    for folder in folders:
        tell(f"reading {folder}")
        run = read_chosen(folder, _wanted(pairs))
        _check_run(name, run.manifest.settings, folder)
        runs.append(Answers(run))

    tell("comparing answers")
    found = differences(runs, pairs)
    rows = cost_rows(runs, METHODS, COSTS)
    kept, by_place = places.measure_places(runs[0])
    found |= by_place

    signal = None
    if name in BEDS:
        tell(f"ranking the tokens of {pictures} pictures in every layer")
        signal, by_layer = measure_signal(BEDS[name](pictures))
        found |= by_layer

    sources = tuple(Source.of(answers.run.manifest) for answers in runs)
    return Ladder(name, sources, found, tuple(rows), tuple(kept), signal)


def all_pairs() -> list[Pair]:
    """Every pair of methods that some claim compares."""
    found = []
    for claim in CLAIMS:
        for comparison in (*claim.comparisons, *claim.further):
            if comparison.pair is not None:
                found.append(comparison.pair)
    return found


def _wanted(pairs: Sequence[Pair]) -> set[MethodAt]:
    """Methods at the costs at which their answers are needed."""
    found: set[MethodAt] = set()
    for pair in pairs:
        for name in (pair.better, pair.worse):
            found.add((name, pair.share, pair.convention))

    for share, convention in COSTS:
        found |= {(name, share, convention) for name in METHODS}
    return found | {(name, HIGH_EXACT, "exact") for name in places.METHODS}


def _check_run(name: str, settings: Settings, folder: Path) -> None:
    """Refuse figures of another model or its questions, or of scenes on which choices were made."""
    if (settings.model, settings.tasks) != (name, name):
        raise BenchError(
            f"{folder} is a run of {settings.model} on the tasks {settings.tasks}; expected {name} on "
            "its own"
        )
    if settings.split != "test":
        raise BenchError(
            f"{folder} has scenes of the split {settings.split!r}; evidence needs the test split"
        )
