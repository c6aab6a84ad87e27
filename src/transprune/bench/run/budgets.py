"""Budgets: every method at the same share of the unpruned prefill, counted `exact`.

One mechanism serves all methods: `Method.scaled_by(factor)` keeps `factor` times as much, and
bisection finds the factor whose counted cost is nearest to the budget. Counts are whole tokens, so
a few tenths of a point remain.

A method that first prunes in a deep layer cannot get cheap, because the layers before it process
every token. Its boundaries then move earlier, one layer at a time, until the budget leaves it at
least one token in sixteen at its last stage (the share TransPrune-Low ends with). If that never
happens, the start at which most tokens stay within the budget is taken, and if no start reaches the
budget, the cheapest setting runs with a note. A method that prunes in front of the language model
can reach any budget, so a composition or hybrid that begins there keeps its boundaries. Answers are
never used here.

A method that evicts keys from the cache behind the prefill saves none of its work at any setting, so
no budget fits it. It runs as it is, with a note of its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from transprune.bench.run.nominal import NominalPrompt
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.method import Method

TOLERANCE = 0.01  # of the unpruned prefill
SMALLEST_LAST_STAGE = 1 / 16  # of the visual tokens

# of the bisection: from a ten-thousandth to ten thousand times as much, to a millionth
_LOWEST_FACTOR = 1e-4
_HIGHEST_FACTOR = 1e4
_HALVINGS = 24

# of `fit_measured`
_ATTEMPTS = 5
_CLOSE_ENOUGH = 0.003
_HIGHEST_AIM = 0.98

Measure = Callable[[Method], float]


@dataclass(frozen=True)
class Fit:
    """A method fitted to a budget.

    Attributes:
        method: the method to run.
        share: its planned `exact` share.
        reached: whether that is within one point of the budget.
        note: what was changed besides the budget fields, or why the budget is not reached; empty if
            neither.
    """

    method: Method
    share: float
    reached: bool
    note: str = ""


def fit(method: Method, budget: float, prompt: NominalPrompt, *, move: bool = True) -> Fit:
    """The method at `budget`, a share of the unpruned prefill in (0, 1).

    Args:
        method: the method to scale.
        budget: the requested share.
        prompt: the prompt that costs are counted for.
        move: whether its boundaries may move earlier; False where boundaries are compared.

    Raises:
        MethodError: the method has no budget fields, or does not fit the model.
    """
    if _saves_no_prefill(method, prompt):
        share = prompt.share(method)
        note = _cache_note(method, share, budget, prompt)
        return Fit(method, share, abs(share - budget) <= TOLERANCE, note)

    best: Fit | None = None

    for layers, start in _starts(method, prompt, move):
        found = _scale(start, budget, prompt)
        share = prompt.share(found)
        reached = abs(share - budget) <= TOLERANCE
        candidate = Fit(found, share, reached, _moved_note(method, found, layers, prompt))

        if best is None or _is_better(candidate, best, budget, prompt):
            best = candidate

        # the latest start that leaves enough tokens: moving on would change the method needlessly
        enough = SMALLEST_LAST_STAGE * prompt.visual_tokens
        if reached and _last_count(found, prompt) >= enough:
            best = candidate
            break

    assert best is not None  # the first start is the method as given
    if best.reached:
        return best
    return replace(best, note=_unreached_note(best, budget))


def fit_measured(
    method: Method, budget: float, prompt: NominalPrompt, measure: Measure, *, move: bool = True
) -> Fit:
    """`fit` for a method whose token count depends on the picture: the measured share is fitted.

    The plan of such a method is an upper bound (`Stage.at_most`). `measure` runs it on some of the
    questions without using their right answers, and the planned share is corrected in proportion, a
    few times.
    """
    aim = budget
    best: Fit | None = None

    for _ in range(_ATTEMPTS):
        found = fit(method, aim, prompt, move=move)
        share = measure(found.method)
        error = abs(share - budget)

        if best is None or error < abs(best.share - budget):
            # if the aim was not reached, the note is about the aim and would mislead
            note = found.note if found.reached else ""
            best = Fit(found.method, share, error <= TOLERANCE, note)
        if abs(best.share - budget) <= _CLOSE_ENOUGH:
            break

        # an aim of 1 or more is no budget
        aim = min(_HIGHEST_AIM, aim * budget / share)

    assert best is not None
    notes = ["how much stays depends on the picture; fitted to what was measured"]
    if not best.reached:
        notes.insert(0, f"{budget:.0%} cannot be reached: {best.share:.1%} is the nearest")
    if best.note:
        notes.append(best.note)
    return replace(best, note="; ".join(notes))


def _saves_no_prefill(method: Method, prompt: NominalPrompt) -> bool:
    """Whether the method only evicts keys, and the budget is one of prefill."""
    if not prompt.evictions(method) or prompt.boundaries(method):
        return False
    return prompt.share(method.scaled_by(_LOWEST_FACTOR)) >= 1


def _cache_note(method: Method, share: float, budget: float, prompt: NominalPrompt) -> str:
    cost = prompt.cost(method)
    bound = "at most " if any(kept.at_most for kept in prompt.evictions(method)) else ""
    return (
        f"{budget:.0%} cannot be reached: {share:.1%} at any setting, because it saves no work of "
        f"the prefill; as given it stores {bound}{cost.kv_share:.0%} of the keys and values, and the "
        "first token of every answer is the unpruned model's"
    )


def has_variable_count(method: Method, prompt: NominalPrompt) -> bool:
    """Whether the number of kept tokens depends on the picture, so that the plan is a bound."""
    stages = method.plan(prompt.geometry.layers, prompt.visual_tokens)
    return any(stage.at_most for stage in stages)


def _starts(method: Method, prompt: NominalPrompt, move: bool) -> Iterator[tuple[int, Method]]:
    """The method as given, then with its boundaries 1, 2, ... layers earlier, with that number."""
    yield 0, method
    if not move or 0 in prompt.boundaries(method):
        return

    num_layers = prompt.geometry.layers
    for layers in range(1, num_layers):
        try:
            yield layers, method.shifted_earlier(layers, num_layers)
        except ScheduleError:
            return


def _scale(method: Method, budget: float, prompt: NominalPrompt) -> Method:
    """The scaled method whose share is nearest to the budget."""
    low = _LOWEST_FACTOR
    high = _HIGHEST_FACTOR
    if prompt.share(method.scaled_by(low)) > budget:
        return method.scaled_by(low)

    # geometric middle: the range spans eight decades
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        if prompt.share(method.scaled_by(middle)) <= budget:
            low = middle
        else:
            high = middle

    # costs jump from one whole token to the next, so either side may be nearer
    ends = [method.scaled_by(low), method.scaled_by(high)]
    return min(ends, key=lambda end: abs(prompt.share(end) - budget))


def _is_better(new: Fit, old: Fit, budget: float, prompt: NominalPrompt) -> bool:
    """Reached before not reached; then more tokens at the last stage, or else the nearer share."""
    if new.reached != old.reached:
        return new.reached
    if new.reached:
        return _last_count(new.method, prompt) > _last_count(old.method, prompt)
    return abs(new.share - budget) < abs(old.share - budget)


def _last_count(method: Method, prompt: NominalPrompt) -> int:
    return prompt.tokens(method)[-1]


def _moved_note(method: Method, found: Method, layers: int, prompt: NominalPrompt) -> str:
    if layers == 0:
        return ""
    before = ", ".join(map(str, prompt.boundaries(method)))
    after = ", ".join(map(str, prompt.boundaries(found)))
    return f"starts earlier to reach this budget: boundaries {before} became {after}"


def _unreached_note(best: Fit, budget: float) -> str:
    side = "cheapest" if best.share > budget else "most expensive"
    note = f"{budget:.0%} cannot be reached: {best.share:.1%} is its {side} setting here"
    return f"{note}; {best.note}" if best.note else note


def parse_budgets(text: str) -> tuple[float | None, ...]:
    """Shares from text such as `"60,41"`, percent of the unpruned prefill; None for `"own"`.

    `own` runs a method with its own settings.

    Raises:
        MethodError: anything else.
    """
    budgets: list[float | None] = []
    for part in text.split(","):
        word = part.strip().removesuffix("%")
        if word:
            budgets.append(None if word == "own" else _parse_percent(word))

    if not budgets:
        raise MethodError("give at least one budget, as '41', or 'own' for the methods as they are")
    return tuple(dict.fromkeys(budgets))


def _parse_percent(word: str) -> float:
    try:
        share = float(word) / 100
    except ValueError:
        share = 0.0

    # written so that NaN fails too
    if not 0 < share < 1:
        raise MethodError(
            f"budgets are percent of the unpruned prefill, as '60,41,20', or 'own'; got {word!r}"
        )
    return share
