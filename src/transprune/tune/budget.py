"""What a setting costs, and a setting brought to a budget.

Three costs: the share of the exact prefill FLOPs, the share of the bytes of keys and values (both
counted for the median prompt), and milliseconds of a prefill, measured on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from statistics import median_low
from typing import Any

import torch

from transprune.bench.data.tasks.base import Item
from transprune.bench.run.answers import measure_share, reads_tower, to_device
from transprune.bench.run.budgets import Fit, fit, fit_measured, has_variable_count
from transprune.bench.run.nominal import NominalPrompt
from transprune.bench.run.prepared import PreparedQuestions
from transprune.core.shown import shown
from transprune.errors import TuneError
from transprune.methods.common.method import Method
from transprune.models.clock import clock
from transprune.tune.plan import CostKind

# of a measured budget
TOLERANCE = 0.05  # beyond the milliseconds: repeated measurements differ by some percent
ATTEMPTS = 4
REPEATS = 5
HIGHEST_SHARE = 0.98


@dataclass(frozen=True)
class Budget:
    """A budget, or a range of budgets for a front.

    Attributes:
        cost: what is counted.
        low, high: smallest and largest cost; equal for one budget. Shares in (0, 1), or
            milliseconds.
    """

    cost: CostKind
    low: float
    high: float

    @property
    def is_range(self) -> bool:
        """Whether a front over several costs is searched."""
        return self.low < self.high

    def shown(self, amount: float) -> str:
        """An amount for people: `35.0 %` or `12.3 ms`."""
        return f"{amount:.1f} ms" if self.cost == "ms" else f"{100 * amount:.1f} %"

    def __str__(self) -> str:
        if not self.is_range:
            return self.shown(self.low)
        return f"{self.shown(self.low)} to {self.shown(self.high)}"


def parse_budget(text: str, cost: CostKind) -> Budget:
    """`0.35`, `35%`, or a range `0.2:0.6`; milliseconds as a plain number where `cost` is `"ms"`.

    Raises:
        TuneError: anything else.
    """
    low, colon, high = text.partition(":")
    ends = [_amount(part, text, cost) for part in ((low, high) if colon else (low, low))]
    if ends[0] > ends[1] or (colon and ends[0] == ends[1]):
        raise TuneError(f"a range of budgets goes from small to large, as 0.2:0.6; got {text!r}")
    return Budget(cost, ends[0], ends[1])


def _amount(word: str, text: str, cost: CostKind) -> float:
    """One number of a budget."""
    word = word.strip()
    is_percent = word.endswith("%")
    try:
        value = float(word.removesuffix("%"))
    except ValueError:
        value = 0.0

    if is_percent:
        value /= 100

    if cost == "ms":
        if is_percent or not 0 < value < float("inf"):
            raise TuneError(f"a budget in milliseconds is a number, as 12.5; got {shown(text)}")
        return value

    # written so that NaN fails too
    if not 0 < value < 1:
        raise TuneError(
            "a budget is a share of the unpruned model between 0 and 1, as 0.35 or 35%, or a range "
            f"as 0.2:0.6; got {shown(text)}"
        )

    return value


class KVPrompt(NominalPrompt):
    """The median prompt, for which a method costs its bytes of keys and values."""

    def share(self, method: Method) -> float:
        """Bytes of keys and values relative to unpruned."""
        return self.cost(method).kv_share


class Meter:
    """The cost of methods on one model and its questions.

    Args:
        questions: the prepared questions.
        items: those that may be measured.
        cost: what is counted.
    """

    def __init__(self, questions: PreparedQuestions, items: Sequence[Item], cost: CostKind) -> None:
        self.cost = cost
        self._questions = questions
        self._items = list(items)
        nominal = questions.nominal()
        values = {field.name: getattr(nominal, field.name) for field in fields(NominalPrompt)}
        self.prompt = KVPrompt(**values) if cost == "kv" else nominal
        self.unpruned_ms = self.milliseconds(None) if cost == "ms" else 0.0

    def fit(self, method: Method, amount: float, *, move: bool = False) -> Fit:
        """The method scaled to `amount`; its `share` is the cost that was counted or measured.

        Args:
            method: any method with budget fields.
            amount: a share, or milliseconds.
            move: whether boundaries may move earlier.
        """
        if self.cost == "ms":
            return self._fit_measured(method, amount, move)
        if self.cost == "flops" and has_variable_count(method, self.prompt):
            return fit_measured(method, amount, self.prompt, self._measure, move=move)
        return fit(method, amount, self.prompt, move=move)

    def share_of(self, amount: float) -> float:
        """An amount as a share of the unpruned cost."""
        return amount / self.unpruned_ms if self.cost == "ms" else amount

    def milliseconds(self, method: Method | None) -> float:
        """Milliseconds of a prefill of the question whose prompt has median length."""
        item = _median_item(self._questions, self._items)
        inputs = self._questions.batch([item], encoded=not reads_tower(method))
        inputs = to_device(inputs, self._questions.checkpoint.model)

        if method is None:
            return _time(self._questions, inputs)
        with self._questions.prune(method):
            return _time(self._questions, inputs)

    def _measure(self, method: Method) -> float:
        return measure_share(self._questions, self._items, method)

    def _fit_measured(self, method: Method, amount: float, move: bool) -> Fit:
        """Correct the share of FLOPs in proportion until the time fits."""
        aim = min(HIGHEST_SHARE, amount / self.unpruned_ms)
        best: Fit | None = None

        for _ in range(ATTEMPTS):
            found = fit(method, aim, self.prompt, move=move)
            spent = self.milliseconds(found.method)
            # quicker than asked for is no fault, if nothing nearer is found
            new = replace(found, share=spent, reached=spent <= (1 + TOLERANCE) * amount)

            if best is None or _is_nearer(new, best, amount):
                best = new
            if abs(best.share - amount) <= TOLERANCE * amount or not found.reached:
                break

            aim = min(HIGHEST_SHARE, aim * amount / spent)

        assert best is not None
        return best


def check_reachable(meter: Meter, budget: Budget, methods: dict[str, Method]) -> None:
    """Check that some method reaches the budget, with boundaries as early as needed.

    Raises:
        TuneError: none does; the nearest cost is named.
    """
    nearest: tuple[float, str] | None = None
    for text, method in methods.items():
        # the largest budget of a range is the easiest to reach
        found = meter.fit(method, budget.high, move=True)
        if found.reached:
            return
        if nearest is None or abs(found.share - budget.high) < abs(nearest[0] - budget.high):
            nearest = (found.share, text)

    assert nearest is not None
    share, text = nearest
    raise TuneError(
        f"no given method reaches {budget.shown(budget.high)} here: the nearest is "
        f"{budget.shown(share)}, by {text}. Give that budget, or a method that prunes in front of "
        "the language model, as --method divprune+transprune"
    )


def _is_nearer(new: Fit, old: Fit, amount: float) -> bool:
    """Within the time before beyond it, then the nearer one."""
    if new.reached != old.reached:
        return new.reached
    return abs(new.share - amount) < abs(old.share - amount)


def _median_item(questions: PreparedQuestions, items: Sequence[Item]) -> Item:
    """A question whose prompt has median length."""
    lengths = {id(item): questions.count(item).length for item in items}
    middle = median_low(lengths.values())
    return next(item for item in items if lengths[id(item)] == middle)


def _time(questions: PreparedQuestions, inputs: dict[str, Any]) -> float:
    """Milliseconds of the quickest of several prefills, after one that warms up."""
    model = questions.checkpoint.model
    seconds = []
    with torch.no_grad():
        for _ in range(1 + REPEATS):
            start = clock(model.device)
            model(**inputs, use_cache=True, logits_to_keep=1)
            seconds.append(clock(model.device) - start)

    # other work on the machine only ever adds
    return 1000 * min(seconds[1:])
