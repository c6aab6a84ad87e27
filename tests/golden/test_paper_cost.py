"""The published cost columns, to the last printed digit; what cannot match is listed with its reason.

The expectations are written out here, independent of the data in `transprune.cost.paper`: table,
method, tokens entering the language model, figure as printed, and the schedule it was counted from.
"""

from __future__ import annotations

from collections import Counter

import pytest

from transprune.core.plan import Stage, per_layer
from transprune.cost.count import count_cost
from transprune.cost.geometry import known_geometry
from transprune.cost.paper import PaperRow, paper_table

ROWS = {(row.table, row.method, row.tokens, row.published): row for row in paper_table()}

MATCHING = [
    ("1", "unpruned", 576, "3.82", "32x576"),
    ("1", "FastV (K=2, R=0.5)", 576, "2.01", "2x576, 30x288"),
    ("1", "FastV (K=2, R=0.75)", 576, "1.12", "2x576, 30x144"),
    ("1", "PDrop", 576, "1.78", "8x576, 8x288, 8x144, 8x72"),
    ("1", "SparseVLM (smaller budget)", 576, "1.28", "2x576, 4x309, 10x204, 16x113"),
    ("1", "TopV", 576, "1.95", "51% x 3.82"),
    ("1", "TopV (smaller budget)", 576, "1.34", "35% x 3.82"),
    ("1", "ShortV", 576, "1.68", "44% x 3.82"),
    ("1", "TransPrune-High", 576, "1.56", "7x576, 2x504, 3x360, 20x72"),
    ("1", "TransPrune-Low", 576, "1.19", "7x576, 2x360, 3x108, 20x36"),
    ("2", "unpruned", 2880, "20.83", "32x2880"),
    ("2", "FastV (K=2, R=0.5)", 2880, "10.55", "2x2880, 30x1440"),
    ("2", "FastV (K=2, R=0.75)", 2880, "5.80", "2x2880, 30x720"),
    ("2", "PDrop", 2880, "9.46", "8x2880, 8x1440, 8x720, 8x360"),
    ("2", "ShortV", 2880, "10.62", "51% x 20.83"),
    ("2", "TransPrune-High", 2880, "8.33", "7x2880, 2x2520, 3x1800, 20x360"),
    ("2", "TransPrune-Low", 2880, "6.41", "7x2880, 2x1800, 3x540, 20x180"),
    ("Qwen2.5-VL", "FastV (K=2, R=0.5)", 1296, "53.6", "2x1296, 26x648"),
    ("Qwen2.5-VL", "TransPrune-High", 1296, "45.1", "7x1296, 2x1134, 3x810, 16x162"),
    ("Video-LLaVA", "unpruned", 2048, "14.4", "32x2048"),
    ("Video-LLaVA", "FastV (K=2, R=0.5)", 2048, "7.4", "2x2048, 30x1024"),
    ("Video-LLaVA", "PDrop", 2048, "6.6", "8x2048, 8x1024, 8x512, 8x256"),
    *(
        row
        for table, name in (("4", "VisionZip"), ("5", "CDPruner"))
        for row in (
            (table, name, 288, "1.89", "32x288"),
            (table, f"{name} + FastV", 288, "1.00", "2x288, 30x144"),
            (table, f"{name} + PDrop", 288, "0.88", "8x288, 8x144, 8x72, 8x36"),
            (table, f"{name} + TransPrune", 288, "0.66", "7x288, 2x144, 3x72, 20x36"),
            (table, name, 192, "1.25", "32x192"),
            (table, f"{name} + FastV", 192, "0.66", "2x192, 30x96"),
            (table, f"{name} + PDrop", 192, "0.59", "8x192, 8x96, 8x48, 8x24"),
            (table, f"{name} + TransPrune", 192, "0.44", "7x192, 2x96, 3x48, 20x24"),
        )
    ),
    ("9", "TransPrune-High at 5/7/10", 576, "1.35", "5x576, 2x504, 3x360, 22x72"),
    ("9", "TransPrune-High at 6/8/11", 576, "1.45", "6x576, 2x504, 3x360, 21x72"),
    ("9", "TransPrune-High at 7/9/12", 576, "1.56", "7x576, 2x504, 3x360, 20x72"),
    ("9", "TransPrune-High at 8/10/13", 576, "1.66", "8x576, 2x504, 3x360, 19x72"),
    ("9", "TransPrune-High at 9/11/14", 576, "1.77", "9x576, 2x504, 3x360, 18x72"),
]

OTHERS = [
    ("1", "PDrop (smaller budget)", 576, "1.28", "not computable", "unpublished"),
    ("1", "SparseVLM", 576, "1.57", "not computable", "no released budget"),
    ("2", "PDrop (smaller budget)", 2880, "6.65", "not computable", "unpublished"),
    ("Video-LLaVA", "TransPrune", 2048, "6.1", "differs", "configuration is unpublished"),
]


@pytest.mark.parametrize("expected", MATCHING, ids=lambda row: " ".join(map(str, row[:3])))
def test_matches_to_the_printed_digit(expected: tuple[str, str, int, str, str]) -> None:
    row, schedule = ROWS[expected[:4]], expected[4]
    assert row.ours is not None
    assert round(row.ours, row.decimals) == float(row.published)
    assert (row.verdict, row.schedule) == ("matches", schedule)


@pytest.mark.parametrize("expected", OTHERS, ids=lambda row: " ".join(map(str, row[:3])))
def test_says_why_it_does_not_match(expected: tuple[str, str, int, str, str, str]) -> None:
    row, (verdict, reason) = ROWS[expected[:4]], expected[4:]
    assert row.verdict == verdict
    assert reason in row.note
    if verdict == "differs":
        assert row.ours == pytest.approx(5.784, abs=5e-4)
    else:
        assert (row.ours, row.schedule) == (None, "unpublished")


def test_every_row_is_expected_here() -> None:
    rows = paper_table()
    assert len(ROWS) == len(rows), "two rows share table, method, tokens and figure"
    assert {row[:4] for row in (*MATCHING, *OTHERS)} == set(ROWS)
    assert Counter(row.verdict for row in rows) == {
        "matches": 43,
        "not computable": 3,
        "differs": 1,
    }


def test_products_and_inferred_schedules_are_marked() -> None:
    for row in paper_table():
        if row.keep is None or "+ TransPrune" in row.method or row.unit == "%":
            assert row.note, row


def test_the_published_share_of_qwen_ignores_the_square_term() -> None:
    """With n^2 counted, High costs 44.9 % at 300 tokens and less with more: 45.1 % is the linear share."""
    sizes = known_geometry("qwen2.5-vl-7b")
    stages = tuple(Stage(b, int(300 * r)) for b, r in ((7, 0.875), (9, 0.625), (12, 0.125)))
    cost = count_cost(sizes, per_layer(sizes.layers, 300, stages), 0, unpruned=300)
    assert f"{100 * cost.prefill_share:.1f}" == "44.9"


def test_rows_name_their_unit() -> None:
    def units(table: str) -> set[str]:
        return {row.unit for row in ROWS.values() if row.table == table}

    assert units("Qwen2.5-VL") == {"%"}
    assert all(units(table) == {"T"} for table in ("1", "2", "4", "5", "9", "Video-LLaVA"))


def test_decimals_follow_the_print() -> None:
    row = ROWS["2", "FastV (K=2, R=0.75)", 2880, "5.80"]
    assert isinstance(row, PaperRow) and row.decimals == 2
    assert ROWS["Video-LLaVA", "PDrop", 2048, "6.6"].decimals == 1
