"""Get the variants of a cell ready: a session each, one run, its memory and what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from transprune.session import Session, prune
from transprune.speed.cells import Measure
from transprune.speed.rounds import Failure, attempt
from transprune.speed.runs import (
    PER_TOKEN,
    PREFILL,
    Bench,
    peak_of_prefill,
    time_generate,
    time_prefill_and_decode,
)

STEPS = 2  # new tokens of a run that only prepares


@dataclass(frozen=True)
class Ready:
    """A variant that has been run once.

    Attributes:
        session: of its method, not attached; None for the unpruned model.
        peak_bytes: what a prefill needed at once; None if it was not measured.
        kept: visual tokens in the prompt, then those left after each boundary; empty if unpruned.
    """

    session: Session | None
    peak_bytes: int | None
    kept: list[int]


def make_ready(
    recipes: Mapping[str, str | None], bench: Bench, measure: Measure
) -> dict[str, Ready | Failure]:
    """Run each variant once, which allocates memory and chooses kernels."""
    found: dict[str, Ready | Failure] = {}
    for name, recipe in recipes.items():
        found[name] = attempt(partial(_ready, recipe, bench, measure))
    return found


def _ready(recipe: str | None, bench: Bench, measure: Measure) -> Ready:
    session = None if recipe is None else prune(bench.model, recipe)
    peak = None
    if measure == "prefill":
        peak = peak_of_prefill(bench, session)
    else:
        time_generate(bench, session, [STEPS])
    return Ready(session, peak, kept_tokens(session) if session else [])


def kept_tokens(session: Session) -> list[int]:
    """Visual tokens of the first prompt: in the prompt, then those left after each boundary."""
    trace = session.trace
    return [trace.visual_tokens[0], *(len(stage.keep[0]) for stage in trace.stages)]


def seconds_of_one(bench: Bench, new_tokens: int) -> float | Failure:
    """How long the unpruned model takes for a prefill and `new_tokens` tokens, from a short run."""
    run = partial(time_prefill_and_decode, bench, None, STEPS)
    attempt(run)  # the first run of all is slow
    times = attempt(run)
    if isinstance(times, Failure):
        return times
    return times[PREFILL] + new_tokens * times[PER_TOKEN]
