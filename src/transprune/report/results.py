"""What a run says, in the shape that figures and tables want it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transprune.bench.data.records import Record, Run, read_run
from transprune.bench.results.statistics import Difference
from transprune.bench.results.summary import TRANSPRUNE, Row, summarise
from transprune.core.plan import UNPRUNED
from transprune.errors import RecordError

BILL, BILL_SCHEMA = "bill.json", 1
ABLATION = "ablation: "


@dataclass(frozen=True)
class Series:
    """One method over its budgets, cheapest last."""

    method: str
    group: str
    rows: tuple[Row, ...]

    @property
    def control(self) -> bool:
        """Whether it is a control or an oracle."""
        return self.group == "controls"


@dataclass(frozen=True)
class Results:
    """A run, summarised.

    Attributes:
        run: as read.
        rows: one per condition that has answers.
        bill: rows of bill.json, or None where the run has none.
        meta: the rest of bill.json.
    """

    run: Run
    rows: tuple[Row, ...]
    bill: tuple[dict[str, Any], ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def unpruned(self) -> Row:
        """The unpruned model."""
        return next(row for row in self.rows if row.condition.name == UNPRUNED)

    @property
    def series(self) -> tuple[Series, ...]:
        """Methods with their budgets, TransPrune first, then controls; otherwise in the order of the run.

        A method that makes the same choice as another at some budget has that row too.
        """
        compared = [row for row in self.rows if row.condition.group in ("methods", "controls")]
        found: dict[str, list[Row]] = {row.condition.method: [] for row in compared}
        for row in compared:
            for method in (row.condition.method, *row.condition.also):
                if method in found:
                    found[method].append(row)
        series = [
            Series(
                method,
                rows[0].condition.group,
                tuple(sorted(rows, key=lambda row: -row.exact_share)),
            )
            for method, rows in found.items()
        ]
        return tuple(sorted(series, key=lambda one: (one.control, one.method != TRANSPRUNE)))

    @staticmethod
    def competes(row: Row) -> bool:
        """Whether it can be the best of its budget: a method, no control, and not dearer than the others."""
        return row.condition.group == "methods" and row.condition.reached

    @property
    def ablations(self) -> dict[str, tuple[Row, ...]]:
        """Group of the seed paper's ablations -> its variants."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.condition.group.startswith(ABLATION):
                found.setdefault(row.condition.group.removeprefix(ABLATION), []).append(row)
        return {group: tuple(rows) for group, rows in found.items()}

    @property
    def budgets(self) -> tuple[tuple[float | None, tuple[Row, ...]], ...]:
        """Budget -> its rows (without unpruned and ablations), dearest first; the methods' own budgets last."""
        found: dict[float | None, list[Row]] = {}
        for row in self.rows:
            if row.condition.group in ("methods", "controls"):
                found.setdefault(row.condition.budget, []).append(row)
        order = sorted(found, key=lambda budget: -1.0 if budget is None else budget, reverse=True)
        return tuple(
            (budget, tuple(sorted(found[budget], key=lambda r: -r.relative.value)))
            for budget in order
        )

    def answers(self, condition: str) -> dict[tuple[str, str], Record]:
        """Records of a condition by task and item."""
        return {(r.task, r.item): r for r in self.run.records if r.condition == condition}


def read_results(folder: Path, *, n_resamples: int | None = None) -> Results:
    """Read and summarise the run in `folder`.

    Raises:
        RecordError: no run, a damaged file (named, with its line), a newer schema, or no unpruned answers yet.
    """
    if not folder.is_dir():
        raise RecordError(
            f"{folder} is not a folder; give the one `transprune bench --out` wrote, with run.json in it"
        )
    run = read_run(folder)
    rows = summarise(run) if n_resamples is None else summarise(run, n_resamples=n_resamples)
    bill, meta = read_bill(folder / BILL)
    return Results(run, tuple(rows), bill, meta)


def read_bill(file: Path) -> tuple[tuple[dict[str, Any], ...] | None, dict[str, Any]]:
    """Rows and the rest of a bill; (None, {}) where there is no such file.

    Raises:
        RecordError: it is damaged or of a newer schema.
    """
    if not file.is_file():
        return None, {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        schema = data["schema"]
        rows = tuple(dict(row) for row in data["rows"])
        missing = [
            key
            for row in rows
            for key in ("condition", "prefill_ms", "paper", "exact")
            if key not in row
        ]
        if missing:
            raise KeyError(missing[0])
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{file}, line {error.lineno} is damaged: {error.msg}; measure it again with --bill"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{file} is no bill: {error!r}; measure it again with --bill") from error
    if not isinstance(schema, int) or schema > BILL_SCHEMA:
        raise RecordError(f"{file} has schema {schema}; this release reads up to {BILL_SCHEMA}")
    return rows, {key: value for key, value in data.items() if key != "rows"}


def in_words(difference: Difference | None) -> str:
    """A difference and whether it is real, as a sentence fragment."""
    if difference is None:
        return "no partner"
    span = f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
    if difference.sure:
        return f"{span} really {difference.verdict}"
    if difference.verdict != "unclear":
        return f"{span} {difference.verdict}, not after Holm"
    return f"{span} unclear"


def budget_name(budget: float | None) -> str:
    """`41 % of the prefill`, or the methods' own."""
    return (
        "the methods' own budgets"
        if budget is None
        else f"{100 * budget:g} % of the unpruned prefill"
    )


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return (
        words[0]
        if len(words) == 1
        else f"{', '.join(words[:-1])} and {words[-1]}"
        if words
        else "none"
    )
