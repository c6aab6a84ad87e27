"""Measure one model: comparisons and places from its runs, the signal of its layers on its bed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import places
from .answers import Answers, cost_rows, differences
from .beds import TYPES, asked_bed, object_rate
from .checks import check_added, check_runs, check_signal
from .chosen import MethodAt, read_chosen
from .claim import HIGH, HIGH_EXACT, LOW, LOW_EXACT, Pair, kept
from .claims import CLAIMS
from .ladder import Ladder, Source
from .ranking import measure_signal
from .signal import ACCUMULATED, over_chance, thirds_of
from .verdict import Measured

# rows of the tables of costs, as far as they ran
METHODS = (
    "transprune",
    "transprune-low",
    kept("transprune"),
    kept("transprune-low"),
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
    name: str, folders: Sequence[Path], pictures: int, old: Ladder, tell: Callable[[str], None]
) -> Ladder:
    """Everything that the page needs of a model.

    Args:
        name: of the model, `nano` or `smol`.
        folders: runs of `transprune bench` of this model; the first that has a comparison counts.
        pictures: test scenes for the signal of the layers; with 0 it stays as it was.
        old: what was measured before.
        tell: called with each step.

    Raises:
        BenchError: runs or layers that do not belong together, see `checks`.
        RecordError: a run that is damaged or not finished.
    """
    weights = check_runs(name, folders)
    check_signal(name, weights, old, pictures)

    runs = _read(folders, tell)
    tell("comparing answers")
    found = differences(runs, all_pairs())
    rows = cost_rows(runs, METHODS, COSTS)
    signal, by_layer = old.signal, _of_signal(old)
    if pictures and name in TYPES:
        tell(f"ranking the tokens of {pictures} pictures in every layer")
        tasks = [task.name for task in runs[0].run.manifest.tasks]
        signal, by_layer = measure_signal(asked_bed(name, pictures, tasks))
    found |= by_layer

    tell("counting kept tokens by row")
    objects = object_rate(name, runs[0].images)
    placed, by_place = places.measure_places(runs[0], objects)
    found |= by_place

    return Ladder(name, _sources(runs), found, tuple(rows), tuple(placed), objects, signal)


def add_to_ladder(folders: Sequence[Path], old: Ladder, tell: Callable[[str], None]) -> Ladder:
    """What was measured before, and what it lacks, from further runs of the same model.

    Where methods keep tokens and what the layers rank stays as it was.

    Args:
        folders: runs of `transprune bench` of this model; the first that has a comparison counts.
        old: what was measured before.
        tell: called with each step.

    Raises:
        BenchError: nothing was measured before, or runs that do not belong to it, see `checks`.
        RecordError: a run that is damaged or not finished.
    """
    check_added(check_runs(old.name, folders), old)

    runs = _read(folders, tell)
    tell("comparing answers")
    found = {**differences(runs, all_pairs()), **old.differences}

    known = {(row.method, row.share, row.convention) for row in old.costs}
    rows = list(old.costs)
    for row in cost_rows(runs, METHODS, COSTS):
        if (row.method, row.share, row.convention) not in known:
            rows.append(row)

    sources = (*old.sources, *_sources(runs))
    return replace(old, sources=sources, differences=found, costs=tuple(rows))


def _read(folders: Sequence[Path], tell: Callable[[str], None]) -> list[Answers]:
    """The answers of runs that some comparison or table needs."""
    wanted = _wanted(all_pairs())
    runs = []
    for folder in folders:
        tell(f"reading {folder}")
        runs.append(Answers(read_chosen(folder, wanted)))
    return runs


def _sources(runs: Sequence[Answers]) -> tuple[Source, ...]:
    return tuple(Source.of(answers.run.manifest) for answers in runs)


def _of_signal(old: Ladder) -> dict[str, Measured]:
    """The comparisons of the signal that were measured before."""
    keys = [over_chance(part) for part in (*thirds_of(3), ACCUMULATED)]
    return {key: old.differences[key] for key in keys if key in old.differences}


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
