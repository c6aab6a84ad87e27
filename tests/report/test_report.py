"""A report shows what its run has, and a sentence stands for everything it cannot show."""

import json
from dataclasses import replace

from PIL import Image

from transprune.bench.data.provenance import fingerprint
from transprune.bench.data.records import read_run
from transprune.bench.results.summary import summarise
from transprune.report.build import build_report
from transprune.report.figures.labels import spread_labels
from transprune.report.figures.signal import curve_label
from transprune.report.findings import first_of
from transprune.report.gallery import Gallery, _load_model
from transprune.report.phrases import budget_name, describe_difference, join_words
from transprune.report.results import read_results


def test_every_figure_has_its_numbers(run, report) -> None:
    figures = json.loads(report.numbers.read_text())["figures"]
    names = {file.stem.removesuffix("-dark") for file in report.figures}
    assert names == set(figures)
    assert {"accuracy", "methods", "signal", "transitions", "positions", "retention1"} <= names

    points = {}
    for series in figures["accuracy"]["series"]:
        for point in series["points"]:
            points[point["condition"]] = point["relative"]

    for row in summarise(read_run(run)):
        if row.condition.name != "unpruned":
            assert points[row.condition.name] == row.relative.value


def test_every_figure_is_drawn_on_both_backgrounds(report) -> None:
    for file in report.figures:
        corner = Image.open(file).convert("RGB").getpixel((2, 2))
        assert (sum(corner) > 600) != file.stem.endswith("-dark"), file.name


def test_without_measured_costs_and_model_the_rest_is_there(run_copy) -> None:
    (run_copy / "bill.json").unlink()
    report = build_report(run_copy, examples=1, model="none")

    text = report.page.read_text(encoding="utf-8")
    assert "this run has no bill.json" in text
    assert "made without the model" in text
    names = {file.stem for file in report.figures if "dark" not in file.stem}
    assert names == {"accuracy", "methods", "retention1"}
    assert report.page.parent == run_copy / "report"


def test_a_model_that_cannot_be_loaded_is_reported(run_copy) -> None:
    report = build_report(run_copy, examples=0, model="./nowhere")
    assert any("no model at './nowhere'" in sentence for sentence in report.missing)
    assert "no model at &#39;./nowhere&#39;" in report.page.read_text(encoding="utf-8")


def missing_with_weights(run, weights) -> list[str]:
    """The sentences about the model if the run was made with these weights."""
    file = run / "run.json"
    data = json.loads(file.read_text())
    data["settings"]["weights"] = weights
    file.write_text(json.dumps(data))

    gallery = Gallery()
    results = read_results(run, n_resamples=10)
    _load_model(results, None, gallery, lambda step: None)
    return gallery.missing


def test_weights_that_changed_are_reported(run_copy) -> None:
    assert missing_with_weights(run_copy, fingerprint("nano")) == []

    other = "0" * 16
    (sentence,) = missing_with_weights(run_copy, other)
    assert f"not of the model that answered (weights {other})" in sentence


def test_the_run_itself_is_not_changed(run, report) -> None:
    assert sorted(file.name for file in run.iterdir()) == ["bill.json", "records.jsonl", "run.json"]


def test_methods_that_make_the_same_choice_share_a_row(run) -> None:
    results = read_results(run, n_resamples=10)
    rows = {row.condition.name: row for row in results.rows}
    del rows["pdrop@41"]
    condition = replace(rows["fastv@41"].condition, also=("pdrop", "transprune-high"))
    shared = replace(rows["fastv@41"], condition=condition)
    rows["fastv@41"] = shared

    changed = replace(results, rows=tuple(rows.values()))
    lines = {series.method: series.rows for series in changed.series}
    assert lines["fastv"][0] is lines["pdrop"][0] is shared
    assert [len(lines[name]) for name in ("fastv", "pdrop")] == [2, 2]
    # it has no row of its own, so it would be the same line again
    assert "transprune-high" not in lines


def test_labels_keep_their_distance_and_their_order() -> None:
    wanted = [5.0, 5.1, 5.05, 9.9, 0.0]
    placed = spread_labels(wanted, 1.0, 0, 10)
    assert sorted(range(5), key=wanted.__getitem__) == sorted(range(5), key=placed.__getitem__)

    ordered = sorted(placed)
    for lower, upper in zip(ordered, ordered[1:], strict=False):
        assert upper - lower >= 1 - 1e-9
    assert ordered[0] >= 0
    assert ordered[-1] <= 10
    assert spread_labels([3.0], 1.0, 0, 10) == [3.0]


def test_phrases() -> None:
    assert budget_name(0.41) == "41 % of the unpruned prefill work"
    assert budget_name(None) == "the methods' own budgets"
    assert join_words([]) == "none"
    assert join_words(["a"]) == "a"
    assert join_words(["a", "b", "c"]) == "a, b and c"
    assert describe_difference(None) == ""
    assert curve_label("TTV, asked") == "TTV, target object"
    assert curve_label("IGA, objects") == "IGA, all objects"


def test_a_sentence_names_a_few_methods_only() -> None:
    names = list("abcdefgh")
    assert first_of(names[:6]) == "a, b, c, d, e and f"
    assert first_of(names) == "a, b, c, d, e, f and 2 more"
