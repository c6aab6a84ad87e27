"""What the paper prints: complete, consistent with itself and with our counter."""

import pytest

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.cost.paper import paper_table
from transprune.errors import BenchError
from transprune.reproduce.build import published_accuracy
from transprune.reproduce.catalogue import entries
from transprune.reproduce.costs import count_row
from transprune.reproduce.estimate import hours
from transprune.reproduce.exhibits import NONE, choose_rows, exhibit_names, read_exhibit

EXHIBITS = [read_exhibit(name) for name in exhibit_names()]
TABLES = [exhibit for exhibit in EXHIBITS if exhibit.kind != "figure"]

# rows whose printed Acc. is not what their own cells give, by how much
MISPRINTS = {
    ("table1", "PDrop (smaller budget)"): 0.4,
    ("table4", "VisionZip 288 + PDrop"): 0.08,
    ("table4", "VisionZip 192 + TransPrune"): 0.08,
}


def test_every_table_and_figure_is_there() -> None:
    tables = [f"table{number}" for number in [*range(1, 14), "S1", "S2"]]
    figures = [f"figure{number}" for number in (2, 4, 5, "S1", "S2")]
    assert list(exhibit_names()) == [*tables, *figures]
    assert [entry.name for entry in entries()] == [*tables, *figures]


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda one: one.id)
def test_an_exhibit_is_complete(exhibit) -> None:
    assert exhibit.kind in ("accuracy", "timing", "cost", "figure")
    assert bool(exhibit.draws) == (exhibit.kind == "figure")
    for row in exhibit.rows:
        assert len(row.cells) == len(exhibit.columns), row.name
        # either something runs, or the reason why nothing can
        assert bool(row.recipe) != bool(row.unknown), row.name
        if row.recipe:
            row.method()
    assert len({row.name for row in exhibit.rows}) == len(exhibit.rows)


@pytest.mark.parametrize("exhibit", TABLES, ids=lambda one: one.id)
def test_acc_is_what_the_published_cells_give(exhibit) -> None:
    full = next((row for row in exhibit.rows if row.unpruned), None)
    for row in exhibit.rows:
        if row.acc == NONE or full is None:
            continue
        found = published_accuracy(exhibit, row, full, exhibit.columns)
        # one digit is printed; binary halves need a little more
        allowed = MISPRINTS.get((exhibit.id, row.name), 0.0501)
        assert found == pytest.approx(float(row.acc), abs=allowed), row.name


def test_the_misprints_are_misprints() -> None:
    for (table, name), allowed in MISPRINTS.items():
        exhibit = read_exhibit(table)
        row = choose_rows(exhibit, [name])[0]
        found = published_accuracy(exhibit, row, exhibit.rows[0], exhibit.columns)
        assert found is not None
        assert 0.0501 < abs(found - float(row.acc)) <= allowed


def test_published_costs_are_those_of_the_cost_tables() -> None:
    known = {(row.table, row.published) for row in paper_table()}
    names = {"table3": "Qwen2.5-VL", "table6": "Video-LLaVA"}
    for exhibit in TABLES:
        if exhibit.id == "tableS1":
            continue
        number = names.get(exhibit.id, exhibit.id.removeprefix("table"))
        for row in exhibit.rows:
            if row.cost != NONE and not row.unpruned:
                assert (number, row.cost) in known, (exhibit.id, row.name)


@pytest.mark.parametrize("exhibit", TABLES, ids=lambda one: one.id)
def test_our_counter_gives_the_published_cost(exhibit) -> None:
    for row in exhibit.rows:
        counted = count_row(exhibit, row)
        # the row says itself that its cost is of another split than the one that runs
        if counted is None or row.cost == NONE or "1.353" in row.inferred:
            continue
        digits = len(row.cost.partition(".")[2])
        assert f"{counted.cost:.{digits}f}" == row.cost, row.name
        if row.final:
            assert counted.final == row.final, row.name


def test_shares_of_tables_4_and_5_are_the_counts_of_their_names() -> None:
    for table in ("table4", "table5"):
        exhibit = read_exhibit(table)
        for row in exhibit.rows[1:]:
            method = row.method()
            assert method is not None
            assert method.plan(32, 576)[0].count == int(row.name.split()[1])


def test_hours_grow_with_the_questions_and_not_with_what_cannot_run() -> None:
    table = read_exhibit("table1")
    assert hours(table) > hours(read_exhibit("table9")) > hours(read_exhibit("table9"), 100) > 0
    assert hours(read_exhibit("tableS1")) == 0

    # VQAv2 is by far the largest benchmark, so it decides
    assert hours(table) > 10 * hours(read_exhibit("table7"))


def test_every_column_is_a_benchmark() -> None:
    for entry, exhibit in zip(entries(), EXHIBITS, strict=True):
        assert not entry.missing
        # a column may score the answers of another one
        asked = {BENCHMARKS[name].answers_of or name for name in exhibit.columns}
        assert len(entry.data) == len(asked)
        assert entry.judge == (exhibit.id == "table6")


def test_unknown_names_get_the_closest_one() -> None:
    with pytest.raises(BenchError, match=r"no table or figure 'tabel1'.*table1"):
        read_exhibit("tabel1")
    assert read_exhibit("Table S1").id == "tableS1"

    with pytest.raises(BenchError, match=r"Table 1 has no row 'fastv'.*Its rows: unpruned"):
        choose_rows(read_exhibit("table1"), ["fastv"])


def test_an_unknown_configuration_does_not_run() -> None:
    row = choose_rows(read_exhibit("table1"), ["TopV"])[0]
    with pytest.raises(BenchError, match="TopV: TopV's schedule is unpublished"):
        row.method()


def test_equal_settings_have_one_recipe() -> None:
    """Answers are kept under the recipe: under two names they would be given twice."""
    recipes: dict[tuple[str, str], set[str]] = {}
    for exhibit in TABLES:
        for row in exhibit.rows:
            if row.recipe and exhibit.columns:
                key = (exhibit.model, repr(row.method()))
                recipes.setdefault(key, set()).add(row.recipe)
    assert [names for names in recipes.values() if len(names) > 1] == []


def test_ablations_that_are_transprune_high_vary_what_they_say() -> None:
    settings = {
        ("table9", "7-9-12"): ("keep", {7: 0.875, 9: 0.625, 12: 0.125}),
        ("table13", "alpha 0.5"): ("alpha", 0.5),
        ("tableS2", "1 - |cos|"): ("direction", "one_minus_abs_cos"),
    }
    for (table, name), (setting, value) in settings.items():
        method = choose_rows(read_exhibit(table), [name])[0].method()
        found = getattr(method, setting)
        assert (dict(found.keep) if setting == "keep" else found) == value
