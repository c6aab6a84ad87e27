"""The tables of docs/accuracy.md and docs/smol_accuracy.md, from a finished run."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from transprune.bench.results.summary import summarise

ROOT = Path(__file__).parents[2]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.accuracy_page")


@pytest.fixture
def rows(run):
    return summarise(run, n_resamples=100)


def at(row, value, budget, method, reached=True):
    """A row with another accuracy, at another budget."""
    condition = replace(row.condition, method=method, budget=budget, reached=reached)
    return replace(row, condition=condition, relative=replace(row.relative, value=value))


def test_a_method_without_the_budget_is_ordered_by_its_nearest_one(page, rows) -> None:
    model = next(row for row in rows if row.condition.method == "fastv")
    rows = [
        at(model, 60.0, 0.41, "low"),
        at(model, 90.0, 0.20, "elsewhere"),
        at(model, 99.0, 0.60, "elsewhere"),
        at(model, 80.0, 0.41, "high"),
        at(model, 99.0, 0.41, "too expensive", reached=False),
    ]
    layout = page.Page(Path("page.md"), ordered_by=0.41, fewest=1)
    assert list(page.method_table(rows, layout)) == ["elsewhere", "high", "low", "too expensive"]


def test_the_table_of_costs_has_all_of_a_row(page, rows) -> None:
    found = [line.split(" | ") for line in page.cost_lines(rows, 0.41)[2:]]
    names = [cells[0].removeprefix("| ") for cells in found]
    assert sorted(names) == sorted(
        row.condition.method for row in rows if row.condition.budget == 0.41
    )

    fastv = next(row for row in rows if row.condition.method == "fastv")
    line = found[names.index("fastv")]
    assert line[1] == "kept"
    assert line[2].startswith(f"{fastv.relative.value:.1f} [{fastv.relative.low:.1f}, ")
    assert line[3:-3] == [f"{score.score.value:.0f}" for score in fastv.tasks]
    assert line[-3:] == [
        f"{100 * fastv.exact_share:.1f} %",
        f"{100 * fastv.paper_share:.1f} %",
        f"{100 * fastv.kv_share:.1f} % |",
    ]
    positions = dict(zip(names, (cells[1] for cells in found), strict=True))
    assert positions["transprune"] == "anew" and positions["oracle"] == "kept"

    # the unpruned model is not a method with settings of its own
    assert page.cost_lines(rows, None)[2:] == []


def test_a_mark_that_is_not_there_is_an_error(page, tmp_path) -> None:
    file = tmp_path / "page.md"
    file.write_text("a\n<!-- table: how -->\nold\n<!-- end of table -->\nb\n")
    page.write_between(file, "table", ["new"])
    assert file.read_text() == "a\n<!-- table: how -->\nnew\n<!-- end of table -->\nb\n"
    with pytest.raises(SystemExit, match="0 places for the costs"):
        page.write_between(file, "costs", ["new"])
