"""The table: published, ours, and the difference with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from transprune.reproduce.costs import Counted
from transprune.reproduce.exhibits import NONE, Exhibit, Row
from transprune.reproduce.timing import Timing


@dataclass(frozen=True)
class Value:
    """One figure: published, ours, and the interval of ours.

    Attributes:
        published: as printed, or `-`.
        ours: None where nothing was answered.
        low, high: 95 % interval over the pictures.
        answered, questions: how many of how many questions.
        reason: why there is no figure, or why it is not complete.
        compared_with: the published figure of the same columns, where `published` is of more of
            them; empty where it is not, `-` where it is and there is none.
    """

    published: str
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    answered: int = 0
    questions: int = 0
    reason: str = ""
    compared_with: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus the published figure of the same columns; None where one is missing."""
        if self.ours is None or self.partner == NONE:
            return None
        return self.ours - float(self.partner)

    @property
    def difference_interval(self) -> tuple[float, float] | None:
        """The interval of the difference, the published figure taken as exact."""
        if self.difference is None or self.low is None or self.high is None:
            return None
        return self.low - float(self.partner), self.high - float(self.partner)

    @property
    def partner(self) -> str:
        """The published figure that ours is compared with, or `-`."""
        return self.compared_with or self.published


@dataclass(frozen=True)
class RowResult:
    """One row of the table.

    Attributes:
        row: as published.
        cells: one for each column.
        acc: `Acc.` of the paper: 100 x mean over columns of score / unpruned score.
        acc_columns: columns behind it.
        published_acc: the published cells of these columns in the same formula; None without them.
        counted: the cost from our counter; None where the configuration is unknown.
        exact_share: measured prefill in percent of unpruned, every token, mean over all answers.
        timing: of a table of times.
    """

    row: Row
    cells: tuple[Value, ...]
    acc: Value
    acc_columns: int
    published_acc: float | None
    counted: Counted | None
    exact_share: float | None = None
    timing: Timing | None = None


@dataclass(frozen=True)
class Result:
    """A table of the paper, run again.

    Attributes:
        exhibit: as published.
        model: what answered; empty where nothing was asked.
        smoke: whether rows were drawn and the model is the bundled one.
        limit: at most so many questions of a benchmark, or None.
        rows: those that were asked for.
        notes: sentences for the reader.
        setting: dtype, attention, device and versions.
        shortages: benchmark -> how many questions its data have, where not all.
    """

    exhibit: Exhibit
    model: str
    smoke: bool
    limit: int | None
    rows: tuple[RowResult, ...]
    notes: tuple[str, ...] = ()
    setting: Mapping[str, Any] | None = None
    shortages: Mapping[str, str] = field(default_factory=dict)

    @property
    def comparable(self) -> bool:
        """Whether figures may be compared with the published ones: all questions, the same model."""
        same = self.model == self.exhibit.model or not self.exhibit.model
        return same and not self.smoke and self.limit is None and not self.shortages

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the differences."""
        rows = []
        for row in self.rows:
            data = asdict(row)
            data["cells"] = dict(zip(self.exhibit.columns, map(_cell, row.cells), strict=True))
            data["acc"] = _cell(row.acc)
            rows.append(data)

        exhibit = asdict(self.exhibit)
        # they are in the rows of the result, with ours beside them
        del exhibit["rows"]

        return {
            "exhibit": exhibit,
            "model": self.model,
            "smoke": self.smoke,
            "limit": self.limit,
            "comparable": self.comparable,
            "setting": self.setting,
            "notes": self.notes,
            "shortages": dict(self.shortages),
            "rows": rows,
        }


def _cell(value: Value) -> dict[str, Any]:
    interval = value.difference_interval
    return {**asdict(value), "difference": value.difference, "difference_interval": interval}
