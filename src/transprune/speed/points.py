"""Measure the points that break-even is read from: few prompt lengths and batches, in little time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from transprune.session import Session, prune
from transprune.speed.breakeven import Point
from transprune.speed.cells import UNPRUNED
from transprune.speed.clocks import clock_of
from transprune.speed.rounds import Failure, Outcome, Run, attempt, interleave
from transprune.speed.runs import PER_TOKEN, PREFILL, Bench, time_prefill_and_decode
from transprune.speed.subjects import Subject

# pictures of each prompt and prompts at once, in order of value: time may run out
PLAN = ((1, 1), (1, 4), (2, 1), (3, 1), (1, 16), (2, 4), (3, 4), (2, 16), (3, 16))

STEPS = 4  # new tokens of each run; their mean is the time of one
ROUNDS = 15  # at most
LEAST = 6  # from six rounds on the interval has 95 % confidence

Place = tuple[int, int]  # pictures of each prompt, prompts at once
OnPoint = Callable[[str], None]


@dataclass(frozen=True)
class Left:
    """A point without figures.

    Attributes:
        pictures, batch: which one.
        reason: why.
    """

    pictures: int
    batch: int
    reason: str


def measure_points(
    subject: Subject,
    methods: Sequence[str],
    seconds: float = 60.0,
    seed: int = 0,
    on_point: OnPoint = lambda text: None,
) -> tuple[list[Point], list[Left]]:
    """Measure methods beside the unpruned model at the points of the plan.

    Args:
        subject: model and prompts.
        methods: texts of methods.
        seconds: for all points together; those that would take longer are left out.
        seed: of the order of the runs.
        on_point: called with a line about the point that is measured next.

    Returns:
        The points, and those that were left out.
    """
    deadline = time.monotonic() + seconds
    points: list[Point] = []
    left_out: list[Left] = []
    known: dict[Place, float] = {}  # seconds of one unpruned run

    for number, place in enumerate(PLAN):
        on_point("measuring pictures x batch: {} x {}".format(*place))
        left = deadline - time.monotonic()
        found: Point | str = _too_long(_at_least(known, place), len(methods), left)
        if not found:
            # what a point does not use is there for the later ones
            share = left / (len(PLAN) - number)
            found = _measure(subject, methods, place, left, share, seed)

        if isinstance(found, Point):
            points.append(found)
            known[place] = _seconds_of_one(found)
        else:
            left_out.append(Left(*place, found))

    return points, left_out


def _measure(
    subject: Subject,
    methods: Sequence[str],
    place: Place,
    left: float,
    share: float,
    seed: int,
) -> Point | str:
    """One point, or why it has no figures."""
    inputs = attempt(lambda: subject.inputs(*place))
    if isinstance(inputs, Failure):
        return f"{inputs.kind}: {inputs.reason}"

    length = inputs["input_ids"].shape[1]
    if length + STEPS > subject.longest:
        return f"the prompt of {length} tokens is longer than this model can read"

    bench = Bench(subject.model, inputs, clock_of(subject.model.device))
    refusal = _foresee(bench, len(methods), left)
    if refusal:
        return refusal
    return _point(bench, methods, share, seed)


def _foresee(bench: Bench, methods: int, left: float) -> str:
    """Why a point cannot be measured in the time that is left; empty if it can."""
    start = time.monotonic()
    result = attempt(partial(time_prefill_and_decode, bench, None, STEPS))
    if isinstance(result, Failure):
        return f"{result.kind}: {result.reason}"

    once = time.monotonic() - start
    return _too_long(once, methods, left - once)


def _too_long(once: float, methods: int, left: float) -> str:
    """Why runs of `once` seconds do not fit into the time that is left; empty if they do."""
    if left <= 0:
        return "no time was left"

    # a first run of each method, then the rounds
    expected = once * (methods + LEAST * (1 + methods))
    if expected <= left:
        return ""
    return f"it would take {expected:.0f} s or more, and {left:.0f} s were left"


def _at_least(known: Mapping[Place, float], place: Place) -> float:
    """Seconds that one run takes at least: those of a prompt and batch that are no larger."""
    smaller = [
        seconds
        for (pictures, batch), seconds in known.items()
        if pictures <= place[0] and batch <= place[1]
    ]
    return max(smaller, default=0.0)


def _seconds_of_one(point: Point) -> float:
    """The quickest unpruned run."""
    return min(times[PREFILL] + STEPS * times[PER_TOKEN] for times in point.samples[UNPRUNED])


def _point(bench: Bench, methods: Sequence[str], share: float, seed: int) -> Point | str:
    """Time the unpruned model and every method that runs."""
    start = time.monotonic()
    runs: dict[str, Run] = {UNPRUNED: partial(time_prefill_and_decode, bench, None, STEPS)}
    failures: dict[str, Failure] = {}
    sessions: list[Session] = []
    for method in methods:
        # the first run shows whether it fits, and warms it up
        session = attempt(partial(_first_run, bench, method))
        if isinstance(session, Failure):
            failures[method] = session
        else:
            runs[method] = partial(time_prefill_and_decode, bench, session, STEPS)
            sessions.append(session)

    outcome = _rounds(runs, start + share, seed)
    failures |= outcome.failures
    if not sessions or UNPRUNED in failures or not set(outcome.samples) - {UNPRUNED}:
        return "; ".join(f"{name}: {failure.reason}" for name, failure in failures.items())

    trace = sessions[0].trace
    batch = len(trace.visual_tokens)
    return Point(trace.visual_tokens[0], trace.text_tokens[0], batch, outcome.samples, failures)


def _first_run(bench: Bench, method: str) -> Session:
    """A session that has run once, which allocates memory and chooses kernels."""
    session = prune(bench.model, method)
    time_prefill_and_decode(bench, session, STEPS)
    return session


def _rounds(runs: dict[str, Run], deadline: float, seed: int) -> Outcome:
    start = time.monotonic()

    def enough(done: int) -> bool:
        """Whether another round would end too late."""
        now = time.monotonic()
        return now + (now - start) / done > deadline

    return interleave(runs, ROUNDS, least=LEAST, seed=seed, enough=enough)
