"""Tables of methods with both costs, beside Tables 1 and 2 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from transprune.reproduce.exhibits import NONE, read_exhibit

from ..answers import CostRow
from ..cells import paragraph, table
from ..ladder import Ladder
from ..published import row_of
from ..verdict import MISSING

LEGEND = (
    "Costs of the paper's tables are counted its way; of ours the exact one stands first, then the one "
    "that is counted the paper's way."
)

# method of a run -> its row in Tables 1 and 2, at both budgets
PRINTED_HIGH = {
    "transprune": "TransPrune-High",
    "fastv": "FastV K=2 R=0.5",
    "pdrop": "PDrop",
    "sparsevlm": "SparseVLM",
    "topv": "TopV",
    "shortv": "ShortV",
}
PRINTED_LOW = {
    "transprune-low": "TransPrune-Low",
    "fastv": "FastV K=2 R=0.75",
    "pdrop": "PDrop (smaller budget)",
    "sparsevlm": "SparseVLM (smaller budget)",
    "topv": "TopV (smaller budget)",
}


def lines(
    ladders: Sequence[Ladder], printed: dict[str, str], exact: float, paper: float
) -> list[str]:
    """Accuracy and both costs of each method, beside the paper's.

    Args:
        ladders: what was measured.
        printed: method of a run -> its row in Tables 1 and 2.
        exact, paper: the cost of the table, by the two conventions.
    """
    found: list[str] = []
    for ladder in ladders:
        by_exact = _rows(ladder.costs, exact, "exact")
        by_paper = _rows(ladder.costs, paper, "paper")
        names = [name for name in {**by_exact, **by_paper} if _belongs(name, printed)]
        if not names:
            continue

        rows = []
        for name in sorted(names, key=lambda name: -_accuracy(by_exact.get(name))):
            published = [_printed(printed.get(name), exhibit) for exhibit in ("table1", "table2")]
            measured = [_at_cost(by_exact.get(name)), _at_cost(by_paper.get(name))]
            rows.append((f"`{name}`", *published, *measured))
        found += ["", *table(_heads(ladder.title), rows)]
    return [*found, "", *paragraph(LEGEND)] if found else []


def _heads(title: str) -> tuple[str, ...]:
    return (
        "`Acc.` at cost",
        "Table 1",
        "Table 2",
        f"{title}, equal exact cost",
        f"{title}, equal cost by the paper's count",
    )


def _belongs(name: str, printed: dict[str, str]) -> bool:
    """TransPrune stands in each table in its own setting, other methods in both."""
    own = name.split(":")[0]
    return not name.startswith("transprune") or own in printed


def _rows(costs: Sequence[CostRow], share: float, convention: str) -> dict[str, CostRow]:
    """Method -> its row at a cost."""
    return {row.method: row for row in costs if (row.share, row.convention) == (share, convention)}


def _accuracy(row: CostRow | None) -> float:
    return row.value if row is not None else 0.0


@cache
def _printed(name: str | None, exhibit: str) -> str:
    """A row of the paper: `97.8 at 52.6 %`."""
    table_ = read_exhibit(exhibit)
    if name is None or all(row.name != name for row in table_.rows):
        return "-"
    row = row_of(table_, name)
    accuracy = "no Acc." if row.acc == NONE else row.acc
    return f"{accuracy} at {row.share} %"


def _at_cost(row: CostRow | None) -> str:
    if row is None:
        return MISSING
    return (
        f"{row.value:.1f} [{row.low:.1f}, {row.high:.1f}] at {100 * row.exact:.1f} / "
        f"{100 * row.paper:.1f} %"
    )
