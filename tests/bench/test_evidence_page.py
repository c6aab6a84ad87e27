"""docs/evidence.md says what its files and the paper's tables say."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from transprune.errors import RecordError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture
def part(monkeypatch):
    """A function that imports a module of `benchmarks.evidence`."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.evidence.{name}")


@pytest.fixture
def ladders(part):
    """What was measured."""
    ladder = part("ladder")
    return [ladder.read_ladder(name, DOCS / "evidence") for name in ladder.LADDERS]


def test_the_page_is_made_of_its_files(part, ladders) -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    assert part("page").render(ladders) == page, "python -m benchmarks.evidence writes it"
    for file in re.findall(r"\((evidence/[^)]+)\)", page):
        assert (DOCS / file).is_file(), file


def test_files_are_read_as_they_were_written(part, ladders, tmp_path) -> None:
    ladder = part("ladder")
    for one in ladders:
        if one.measured:
            file = ladder.write_ladder(one, tmp_path)
            assert file.read_bytes() == (DOCS / "evidence" / file.name).read_bytes()
            assert ladder.read_ladder(one.name, tmp_path) == one


def test_a_damaged_file_is_named(part, tmp_path) -> None:
    (tmp_path / "nano.json").write_text('{"schema": 2}')
    with pytest.raises(RecordError, match=r"nano\.json is damaged.*measure this model again"):
        part("ladder").read_ladder("nano", tmp_path)


def test_a_model_without_a_file_has_no_figure(part) -> None:
    """Every verdict and every comparison of it is `not measured yet`."""
    ladder = part("ladder")
    empty = [ladder.Ladder(name) for name in ladder.LADDERS]
    rows = [line for line in part("page").render(empty).splitlines() if line.startswith("| ")]

    compared = 0
    for claim in part("claims").CLAIMS:
        compared += 1 + len(claim.comparisons) + len(claim.further)
    ending = "| not measured yet | not measured yet |"
    assert sum(line.endswith(ending) for line in rows) == compared


def test_a_changed_figure_changes_the_verdict(part, ladders) -> None:
    """The words follow the figures: a difference turned round turns its claim round."""
    nano = ladders[0]
    claim = next(one for one in part("claims").CLAIMS if one.name == "accumulation")
    measured = part("verdict").Measured
    key = claim.comparisons[0].key

    for low, high, word, expected in (
        (1.0, 2.0, "holds", "**holds** (1 of 1)"),
        (-2.0, -1.0, "does not hold", "**does not hold** (0 of 1)"),
        (-1.0, 1.0, "cannot tell", "**cannot tell** (0 of 1)"),
    ):
        changed = {key: measured((low + high) / 2, low, high, 0.0002, word, 200, 1796)}
        assert part("cells").verdict_cell(claim, replace(nano, differences=changed)) == expected


def test_claims_name_rows_of_the_paper_and_methods_of_a_run(part) -> None:
    known = set(part("measure").all_pairs())
    assert len(known) > 40
    for claim in part("claims").CLAIMS:
        every = (*claim.comparisons, *claim.further)
        assert len({one.key for one in every}) == len(every), claim.name
        for comparison in every:
            part("cells").printed_cell(comparison)  # raises for a row that there is not


def test_published_differences_by_hand(part) -> None:
    printed = part("claim").Printed
    found = part("published").difference(printed("table1", "TransPrune-High", "FastV K=2 R=0.5"))
    assert found.value == pytest.approx(100.0 - 97.8)
    assert (found.computed, found.better_share, found.worse_share) == (False, "40.8", "52.6")

    # Table 12 prints no Acc.: MME, SQA, GQA and MMB, each over the unpruned score of Table 1
    both = 1540 / 1506 + 69.5 / 69.5 + 61.4 / 61.9 + 66.0 / 64.6
    alone = 1514 / 1506 + 69.0 / 69.5 + 61.1 / 61.9 + 65.6 / 64.6
    found = part("published").difference(printed("table12", "IGA + TTV", "IGA only"))
    assert found.value == pytest.approx(25 * (both - alone))
    assert found.computed

    # Table 7 has its own unpruned scores, and benchmarks that Table 1 has too
    own = 69.5 / 69.5 + 61.4 / 61.9 + 85.0 / 85.9 + 66.0 / 64.6 + 57.8 / 58.2
    ttv = 68.9 / 69.5 + 58.4 / 61.9 + 82.1 / 85.9 + 64.9 / 64.6 + 50.9 / 58.2
    pair = printed("table7", "TransPrune-High", "TTV only", better_in="table1")
    assert part("published").difference(pair).value == pytest.approx(20 * (own - ttv))


def test_figures_as_text(part) -> None:
    cells = part("cells")
    assert cells.signed(1.26) == "+1.3"
    assert cells.signed(-1.26) == "\N{MINUS SIGN}1.3"
    assert cells.signed(-0.04) == "0.0"
    assert cells.signed(0.3456, "AUC") == "+0.35"
    assert cells.layer_list([1, 2, 3, 5, 7, 8]) == "1 to 3, 5, 7, 8"
    assert cells.layer_list([]) == "none"


def test_pictures_are_drawn_of_what_was_measured(part, ladders, tmp_path) -> None:
    draw = part("pictures").draw
    names = {file.name for file in draw(ladders, tmp_path)}
    assert names == {"differences.png", "signal.png", "places.png"}
    assert all(file.stat().st_size > 10_000 for file in tmp_path.iterdir())
    assert draw([part("ladder").Ladder("smol")], tmp_path) == []
