"""Claims against other methods at equal cost, in both conventions of counting it."""

from __future__ import annotations

from ..claim import (
    HIGH,
    HIGH_EXACT,
    LOW,
    LOW_EXACT,
    Claim,
    Comparison,
    Pair,
    Printed,
    behind_substitute,
    kept,
    substituted,
)

BOTH_WAYS = (
    "The paper compares methods at unequal costs (they stand in the tables of costs below) and counts "
    "visual tokens alone. Here every method is brought to the same cost: once counted exactly, with "
    "the text and the choice of tokens, and once as the paper counts."
)


def _against(
    other: str, name: str, own: str, row: str, tables: tuple[str, ...] = ("table1", "table2")
) -> tuple[Comparison, Comparison]:
    """TransPrune over another method, at equal exact cost and at equal cost of the paper's count.

    Args:
        other, name: the other method, here and in words.
        own: preset of TransPrune.
        row, tables: of the other method, in the paper.
    """
    high = own == "transprune"
    exact, paper = (HIGH_EXACT, HIGH) if high else (LOW_EXACT, LOW)
    ours = "TransPrune-High" if high else "TransPrune-Low"
    printed = [Printed(table, ours, row) for table in tables]
    return (
        Comparison.of(f"over {name}, exact", Pair(own, other, exact), *printed),
        Comparison.of(
            f"over {name}, the paper's count", Pair(own, other, paper, "paper"), *printed
        ),
    )


HIGH_CLAIM = Claim(
    "high",
    "TransPrune-High over other methods",
    "At about 41 % of the work TransPrune-High has better answers than FastV, PDrop and SparseVLM.",
    "Tables 1 (LLaVA-1.5-7B) and 2 (LLaVA-NeXT-7B)",
    (
        *_against("fastv", "FastV", "transprune", "FastV K=2 R=0.5"),
        *_against("pdrop", "PDrop", "transprune", "PDrop"),
        *_against("sparsevlm", "SparseVLM", "transprune", "SparseVLM", ("table1",)),
    ),
    further=(
        Comparison.of("over VisionZip, exact", Pair("transprune", "visionzip")),
        Comparison.of("over CDPruner, exact", Pair("transprune", "cdpruner")),
        Comparison.of(
            "over CDPruner's substitute, exact", Pair("transprune", substituted("cdpruner"))
        ),
        Comparison.of("over DivPrune, exact", Pair("transprune", "divprune")),
        Comparison.of("over TopV, exact", Pair("transprune", "topv")),
        Comparison.of("over random tokens, exact", Pair("transprune", "random")),
        Comparison.of("positions kept over renumbered", Pair(kept("transprune"), "transprune")),
        Comparison.of("positions kept, over FastV", Pair(kept("transprune"), "fastv")),
        Comparison.of(
            "positions kept in both, over PDrop", Pair(kept("transprune"), kept("pdrop"))
        ),
        Comparison.of(
            "positions kept in both, over SparseVLM", Pair(kept("transprune"), kept("sparsevlm"))
        ),
        Comparison.of("positions kept, over random tokens", Pair(kept("transprune"), "random")),
    ),
    note=BOTH_WAYS + " TransPrune, PDrop and SparseVLM renumber the tokens that stay, as their "
    "released codes do; FastV and random tokens keep their positions.",
)

LOW_CLAIM = Claim(
    "low",
    "TransPrune-Low over other methods",
    "At about 31 % of the work TransPrune-Low has better answers than FastV, PDrop and SparseVLM.",
    "Tables 1 (LLaVA-1.5-7B) and 2 (LLaVA-NeXT-7B)",
    (
        *_against("fastv", "FastV", "transprune-low", "FastV K=2 R=0.75"),
        *_against("pdrop", "PDrop", "transprune-low", "PDrop (smaller budget)"),
        *_against(
            "sparsevlm", "SparseVLM", "transprune-low", "SparseVLM (smaller budget)", ("table1",)
        ),
    ),
    further=(
        Comparison.of("over VisionZip, exact", Pair("transprune-low", "visionzip", LOW_EXACT)),
        Comparison.of("over CDPruner, exact", Pair("transprune-low", "cdpruner", LOW_EXACT)),
        Comparison.of(
            "over CDPruner's substitute, exact",
            Pair("transprune-low", substituted("cdpruner"), LOW_EXACT),
        ),
        Comparison.of("over DivPrune, exact", Pair("transprune-low", "divprune", LOW_EXACT)),
        Comparison.of("over random tokens, exact", Pair("transprune-low", "random", LOW_EXACT)),
    ),
    note=BOTH_WAYS + " A method that starts too deep for this budget starts earlier; so does "
    "TransPrune on a model of few layers, in front of the layers that its paper means.",
)

_FIFTH = 0.20
BEHIND = ("transprune-combined", "fastv", "pdrop")  # as in the presets of Tables 4 and 5


def _behind(
    name: str, alone: str, composed: tuple[str, str, str], table: str = ""
) -> tuple[Comparison, ...]:
    """TransPrune behind a projector-side method, over FastV, PDrop and nothing behind it.

    Args:
        name, alone: the projector-side method in words and as it ran by itself.
        composed: TransPrune, FastV and PDrop behind it.
        table: of the paper; empty where it prints none of them.
    """
    own, fastv, pdrop = composed

    def compare(over: str, other: str, row: str) -> Comparison:
        printed = (Printed(table, f"{name} 288 + TransPrune", row),) if table else ()
        return Comparison.of(f"behind {name}: over {over}", Pair(own, other, _FIFTH), *printed)

    return (
        compare("FastV", fastv, f"{name} 288 + FastV"),
        compare("PDrop", pdrop, f"{name} 288 + PDrop"),
        compare(f"{name} alone", alone, f"{name} 192"),
    )


def _presets(first: str) -> tuple[str, str, str]:
    """TransPrune, FastV and PDrop behind 288 tokens of a method."""
    return f"{first}-288-transprune", f"{first}-288-fastv", f"{first}-288-pdrop"


_BEHIND_CDPRUNER = _behind("CDPruner", "cdpruner", _presets("cdpruner"), "table5")
_OWN, _FASTV, _PDROP = map(behind_substitute, BEHIND)

BEHIND_OTHERS = Claim(
    "behind",
    "TransPrune behind projector-side methods",
    "Behind VisionZip or CDPruner TransPrune keeps more of the answers than FastV or PDrop, and "
    "with it VisionZip is better than alone.",
    "Tables 4 and 5; TransPrune's rows cost 17.3 % there, FastV's 26.2, PDrop's 23.0, and 192 tokens "
    "of VisionZip or CDPruner alone 32.7",
    (
        *_behind("VisionZip", "visionzip", _presets("visionzip"), "table4"),
        *_BEHIND_CDPRUNER[:2],
    ),
    further=(
        *_BEHIND_CDPRUNER[2:],
        *_behind("CDPruner's substitute", substituted("cdpruner"), (_OWN, _FASTV, _PDROP)),
    ),
    note="All compositions run at 20 % of the exact cost, the budget of the benchmark nearest to the "
    "paper's costs.",
)
