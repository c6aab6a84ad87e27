"""Measure one cell: run every variant once, then time them in paired rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transprune.speed.cells import Cell
from transprune.speed.records import Record, Status
from transprune.speed.rounds import Failure, Outcome, Run, interleave
from transprune.speed.runs import Bench, time_generate, time_prefill
from transprune.speed.warm_up import Ready, make_ready, seconds_of_one


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        lengths: new tokens of the answers that are timed, ascending.
        prefill_rounds, answer_rounds: rounds at most.
        least: rounds at least.
        prefill_seconds, answer_seconds: a cell gets no further round that would end later.
    """

    lengths: Sequence[int] = (1, 20, 100)
    prefill_rounds: int = 9
    answer_rounds: int = 3
    least: int = 2
    prefill_seconds: float = 20.0
    answer_seconds: float = 75.0


def measure_cell(
    cell: Cell,
    recipes: Mapping[str, str | None],
    bench: Bench,
    effort: Effort,
    left: Callable[[], float],
    seed: int = 0,
) -> list[Record]:
    """Measure all variants of a cell.

    Args:
        cell: the cell.
        recipes: variant -> recipe, None for the unpruned model.
        bench: model, inputs and clock.
        effort: how much is measured.
        left: seconds that are left for the whole benchmark; called as time goes by.
        seed: of the order of the variants.

    Returns:
        One record per variant: figures, or the reason why there are none.
    """
    refusal = _foresee(cell, len(recipes), bench, effort, left())
    if refusal is not None:
        return unmeasured(cell, recipes, *refusal)

    ready = make_ready(recipes, bench, cell.measure)
    outcome = _time(cell, bench, effort, ready, left, seed)
    weights = sum(weight.nbytes for weight in bench.model.parameters())

    records = []
    for name, recipe in recipes.items():
        records.append(_record(cell, name, recipe, ready[name], outcome, weights))

    return records


def unmeasured(
    cell: Cell, recipes: Mapping[str, str | None], status: Status, reason: str
) -> list[Record]:
    """Records of a cell that was not measured."""
    records = []
    for name, recipe in recipes.items():
        records.append(
            Record(
                cell.shape,
                cell.attention,
                cell.batch,
                cell.measure,
                variant=name,
                recipe=recipe,
                status=status,
                reason=reason,
            )
        )

    return records


def _foresee(
    cell: Cell, variants: int, bench: Bench, effort: Effort, left: float
) -> tuple[Status, str] | None:
    """Why a cell cannot be measured, or not in the time that is left; None if it can."""
    # hardly any variant takes longer than the unpruned model, so that one is enough
    new_tokens = effort.lengths[-1] if cell.measure == "answer" else 0
    once = seconds_of_one(bench, new_tokens)
    if isinstance(once, Failure):
        # pruned variants may fit into a memory that is too small for this one
        return None if once.kind == "out of memory" else (once.kind, once.reason)

    refusal = too_long(once, variants, effort, left)
    return ("not run", refusal) if refusal else None


def too_long(once: float, variants: int, effort: Effort, left: float) -> str:
    """Why a cell whose unpruned run takes `once` seconds does not fit; empty if it does."""
    if left <= 0:
        return "no time was left"

    # a first run of each, then the rounds
    expected = variants * (1 + effort.least) * once
    if expected <= left:
        return ""
    return f"it would take {expected:.0f} s or more, and {left:.0f} s were left"


def _time(
    cell: Cell,
    bench: Bench,
    effort: Effort,
    ready: Mapping[str, Ready | Failure],
    left: Callable[[], float],
    seed: int,
) -> Outcome:
    """The paired rounds of the variants that are ready."""
    answers = cell.measure == "answer"
    limit = effort.answer_seconds if answers else effort.prefill_seconds
    start = time.monotonic()

    def enough(done: int) -> bool:
        """Whether another round would take too long."""
        spent = time.monotonic() - start
        return spent + spent / done > limit or spent / done > left()

    runs: dict[str, Run] = {}
    for name, variant in ready.items():
        if isinstance(variant, Ready):
            runs[name] = _timed(bench, variant, effort.lengths if answers else ())

    # methods take turns in every round, so that a slow moment of the machine affects all
    rounds = effort.answer_rounds if answers else effort.prefill_rounds
    return interleave(runs, rounds, least=effort.least, seed=seed, enough=enough)


def _timed(bench: Bench, variant: Ready, lengths: Sequence[int]) -> Run:
    if lengths:
        return lambda: time_generate(bench, variant.session, lengths)
    return lambda: time_prefill(bench, variant.session)


def _record(
    cell: Cell,
    name: str,
    recipe: str | None,
    ready: Ready | Failure,
    outcome: Outcome,
    weights: int,
) -> Record:
    """The record of one variant."""
    failure = ready if isinstance(ready, Failure) else outcome.failures.get(name)
    if failure is not None:
        return unmeasured(cell, {name: recipe}, failure.kind, failure.reason)[0]

    assert isinstance(ready, Ready)
    return Record(
        cell.shape,
        cell.attention,
        cell.batch,
        cell.measure,
        variant=name,
        recipe=recipe,
        status="measured",
        seconds=outcome.samples[name],
        peak_bytes=ready.peak_bytes,
        weight_bytes=weights,
        kept=ready.kept,
    )
