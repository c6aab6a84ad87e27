"""What single sections have besides their comparisons: layers, places, costs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from transprune.reproduce.exhibits import NONE, read_exhibit

from .answers import CostRow
from .cells import layer_list, table
from .claim import HIGH, HIGH_EXACT, LOW, LOW_EXACT
from .ladder import Ladder
from .published import row_of
from .signal import TTV
from .verdict import MISSING

WHAT = {
    "nano": "16 layers, 144 visual tokens, trained on coloured shapes from nothing; the depth at "
    "which it reads a picture was steered ([bundled_model.md](bundled_model.md))",
    "smol": "SmolLM2-135M, a language model that learnt language first, with eyes: 30 layers, 576 "
    "visual tokens ([smol.md](smol.md))",
}

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


def amount(ladder: Ladder) -> str:
    """How much was measured on a model."""
    if not ladder.measured:
        return MISSING

    runs = [f"{source.questions:,} questions about {source.pictures:,} pictures" for source in ladder.sources]
    return "; ".join(dict.fromkeys(runs))


def lines(claim: str, ladders: Sequence[Ladder]) -> list[str]:
    """Further lines of a section."""
    if claim == "signal":
        return _layers(ladders)
    if claim == "bias":
        return _places(ladders)
    if claim == "high":
        return _costs(ladders, PRINTED_HIGH, HIGH_EXACT, HIGH)
    if claim == "low":
        return _costs(ladders, PRINTED_LOW, LOW_EXACT, LOW)
    return []


def _layers(ladders: Sequence[Ladder]) -> list[str]:
    """Layers above and below chance, by third and by curve."""
    found: list[str] = []
    for ladder in ladders:
        signal = ladder.signal
        if signal is None:
            continue

        thirds = ", ".join(f"{name} {part[0]} to {part[-1]}" for name, part in signal.thirds.items())
        rows = []
        for name, curve in signal.curves.items():
            # a sum over layers has no layers of its own
            if len(curve.value) > 1:
                best = max(range(len(curve.value)), key=curve.value.__getitem__)
                rows.append(
                    (
                        name,
                        layer_list(curve.layers(above=True)),
                        layer_list(curve.layers(above=False)),
                        f"{curve.value[best]:.2f} at {best + 1}",
                    )
                )

        counts = [
            f"{name} {sum(layer in signal.curves[TTV].layers(above=True) for layer in part)} above and "
            f"{sum(layer in signal.curves[TTV].layers(above=False) for layer in part)} below, of {len(part)}"
            for name, part in signal.thirds.items()
        ]
        found += [
            "",
            f"**{ladder.title}**, layers counted from 1 ({thirds}; accumulation layers "
            f"{layer_list(signal.observed)}). Layers in which TTV is above chance and below it: "
            f"{'; '.join(counts)}.",
            "",
            *table(("AUC of", "above 0.5 in layers", "below 0.5 in layers", "highest"), rows),
        ]

    if not found:
        return []
    return [
        *found,
        "",
        "*objects*: tokens of any object above the rest; *asked*: those of the object in the question. "
        "Magnitude and direction are the two terms of TTV, of one module each, against any object.",
        "",
        "![AUC of TTV and IGA in every layer](evidence/signal.png)",
    ]


def _places(ladders: Sequence[Ladder]) -> list[str]:
    """How far from even every method is, and the picture."""
    found: list[str] = []
    for ladder in ladders:
        if not ladder.places:
            continue

        rows = []
        for one in ladder.places:
            half = one.side // 2
            upper, lower = sum(one.rows[:half]), sum(one.rows[-half:])
            rows.append(
                (
                    f"`{one.method}`",
                    f"{one.kept:.1f}",
                    f"{one.distance:.1f} [{one.low:.1f}, {one.high:.1f}]",
                    f"{upper:.0f} / {lower:.0f}",
                )
            )
        heads = ("method", "tokens kept to the end", "% in wrong rows", "% in upper / lower half")
        found += ["", f"**{ladder.title}** at 41 % of the exact cost:", "", *table(heads, rows)]

    if not found:
        return []
    return [
        *found,
        "",
        "`random` shows what chance alone gives. On scenes whose objects lie anywhere alike an unbiased "
        "choice is even.",
        "",
        "![Where tokens are kept: rows and maps](evidence/places.png)",
    ]


def _costs(
    ladders: Sequence[Ladder], printed: dict[str, str], exact: float, paper: float
) -> list[str]:
    """Accuracy and both costs of each method, beside the paper's."""
    found: list[str] = []
    for ladder in ladders:
        by_exact = _rows(ladder.costs, exact, "exact")
        by_paper = _rows(ladder.costs, paper, "paper")
        names = [name for name in dict.fromkeys([*by_exact, *by_paper]) if _belongs(name, printed)]
        if not names:
            continue

        rows = []
        for name in sorted(names, key=lambda name: -_accuracy(by_exact.get(name))):
            rows.append(
                (
                    f"`{name}`",
                    _printed(printed.get(name), "table1"),
                    _printed(printed.get(name), "table2"),
                    _at_cost(by_exact.get(name)),
                    _at_cost(by_paper.get(name)),
                )
            )
        heads = (
            "`Acc.` at cost",
            "Table 1",
            "Table 2",
            f"{ladder.title}, equal exact cost",
            f"{ladder.title}, equal cost by the paper's count",
        )
        found += ["", *table(heads, rows)]

    if not found:
        return []
    return [
        *found,
        "",
        "Costs of the paper's tables are counted its way; of ours the exact one stands first, then the "
        "one that is counted the paper's way.",
    ]


def _belongs(name: str, printed: dict[str, str]) -> bool:
    """TransPrune stands in each table in its own setting, other methods in both."""
    return not name.startswith("transprune") or name in printed


def _rows(costs: Sequence[CostRow], share: float, convention: str) -> dict[str, CostRow]:
    """Method -> its row at a cost."""
    return {
        row.method: row for row in costs if (row.share, row.convention) == (share, convention)
    }


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
