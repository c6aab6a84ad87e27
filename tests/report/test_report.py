"""A report says what its run says, and leaves out what it cannot show, with a sentence."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from transprune.bench.data.provenance import fingerprint
from transprune.bench.data.records import read_run
from transprune.bench.results.summary import summarise
from transprune.errors import RecordError
from transprune.report.build import build_report
from transprune.report.gallery import Gallery, _load
from transprune.report.results import read_results
from transprune.report.theme import spread

VOID = {"meta", "link", "img", "source", "br"}


class Page(HTMLParser):
    """Tags in order, tables as rows of cells, and whether every tag is closed by its own kind."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.stack, self._cell = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.stack):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(report):
    return Page(report.page.read_text(encoding="utf-8"))


def test_one_file_that_fetches_nothing(report, page) -> None:
    assert page.stack == []
    links = [
        attrs.get(key, "")
        for _, attrs in page.tags
        for key in ("src", "srcset", "href")
        if key in attrs
    ]
    assert len(links) > 20 and all(link.startswith(("data:", "#")) for link in links)
    assert not page.all("script")
    assert "<script>alert" not in report.page.read_text(
        encoding="utf-8"
    )  # the command of the run is text, not tags


def test_structure_for_people_who_listen(page) -> None:
    assert [attrs["lang"] for attrs in page.all("html")] == ["en"]
    assert (
        len(page.all("main"))
        == len(page.all("h1"))
        == len(page.all("header"))
        == len(page.all("footer"))
        == 1
    )
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in (*page.all("section"), *page.all("article")):
        assert attrs["aria-labelledby"] in ids
    assert all(attrs["href"].removeprefix("#") in ids for attrs in page.all("a"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in attrs for attrs in page.all("th"))
    assert all(len(attrs["alt"]) > 40 for attrs in page.all("img"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False))


def test_the_tables_are_the_summary(run, page) -> None:
    rows = summarise(read_run(run))
    table = {tuple(row[:3]) for row in page.tables[0]}
    for row in rows:
        a = row.relative
        acc, cost = f"{a.value:.1f} [{a.low:.1f}, {a.high:.1f}]", f"{100 * row.exact_share:.1f} %"
        best = (row.condition.method, f"best {acc}", cost)
        assert (row.condition.method, acc, cost) in table or best in table
    scores = [row for row in page.tables[1] if row[0] == "fastv"]
    fastv = [row for row in rows if row.condition.method == "fastv"]
    assert len(scores) == len(fastv) == 2
    for cells, row in zip(scores, fastv, strict=True):
        shown = dict(
            zip(
                page.tables[1][0][1:-1],
                (cell.removeprefix("best ") for cell in cells[1:-1]),
                strict=True,
            )
        )
        assert shown == {task.task: f"{task.score.value:.1f}" for task in row.tasks}


def test_best_is_marked_in_words_and_never_a_control(page) -> None:
    marked = [row[0] for row in page.tables[0] if any(cell.startswith("best") for cell in row)]
    assert marked and not {"oracle", "random"} & set(marked)


def test_examples_show_both_answers_and_their_pictures(run, report, page) -> None:
    text = report.page.read_text(encoding="utf-8")
    assert text.count("<dt>right answer</dt>") == 3
    numbers = json.loads(report.numbers.read_text())["figures"]
    records = [r for r in read_run(run).records if r.condition.startswith("transprune@")]
    for number in (1, 2, 3):
        kept = {
            int(boundary): tokens
            for boundary, tokens in numbers[f"retention{number}"]["kept"].items()
        }
        assert any(record.kept == kept for record in records)


def test_every_figure_is_a_picture_on_both_grounds_with_its_numbers(run, report) -> None:
    numbers = json.loads(report.numbers.read_text())
    names = {file.stem.removesuffix("-dark") for file in report.figures}
    assert names == set(numbers["figures"])
    assert {"accuracy", "methods", "signal", "transitions", "positions", "retention1"} <= names
    corners = {file: Image.open(file).convert("RGB").getpixel((2, 2)) for file in report.figures}
    assert all((sum(pixel) > 600) != file.stem.endswith("-dark") for file, pixel in corners.items())
    points = {
        p["condition"]: p["relative"]
        for s in numbers["figures"]["accuracy"]["series"]
        for p in s["points"]
    }
    for row in summarise(read_run(run)):
        assert row.condition.name == "unpruned" or points[row.condition.name] == row.relative.value


def test_the_bill_is_shown(page) -> None:
    bill = next(table for table in page.tables if table[0][0] == "condition")
    assert [row[0] for row in bill[1:]] == ["unpruned", "transprune@41"]
    assert bill[1][1:7] == ["2.5 GMACs", "41.0 %", "2.5 GFLOPs", "41.0 %", "12.3 ms", "52.0 %"]
    assert bill[1][9:] == ["1 MiB", "60.0 %", "3 MiB", "70.0 %"]


def test_without_bill_and_model_the_rest_is_there(run_copy) -> None:
    (run_copy / "bill.json").unlink()
    report = build_report(run_copy, examples=1, model="none")
    text = report.page.read_text(encoding="utf-8")
    assert "this run has no bill.json" in text and "made without the model" in text
    assert {file.stem for file in report.figures if "dark" not in file.stem} == {
        "accuracy",
        "methods",
        "retention1",
    }
    assert report.page.parent == run_copy / "report"


def test_a_model_that_cannot_be_loaded_is_said(run_copy) -> None:
    report = build_report(run_copy, examples=0, model="./nowhere")
    assert any("no model at './nowhere'" in sentence for sentence in report.missing)
    assert "no model at &#39;./nowhere&#39;" in report.page.read_text(encoding="utf-8")


def test_weights_that_changed_are_said(run_copy) -> None:
    file, notes = run_copy / "run.json", {}
    for weights in (fingerprint("nano"), "0" * 16):
        data = json.loads(file.read_text())
        data["settings"]["weights"] = weights
        file.write_text(json.dumps(data))
        gallery = Gallery()
        _load(read_results(run_copy, n_resamples=10), None, gallery, lambda step: None)
        notes[weights] = gallery.missing
    assert notes.pop(fingerprint("nano")) == []
    assert f"not of the one that answered (weights {'0' * 16})" in notes["0" * 16][0]


def test_questions_that_changed_are_not_shown(run_copy) -> None:
    edit(run_copy / "run.json", lambda data: data["settings"].update(items="0123"))
    report = build_report(run_copy, examples=2)
    assert any("are not those of this run any more" in sentence for sentence in report.missing)
    assert not [file for file in report.figures if "retention" in file.stem]


def test_a_half_written_record_is_left_out_and_said(run_copy) -> None:
    lines = (run_copy / "records.jsonl").read_bytes()
    (run_copy / "records.jsonl").write_bytes(lines[:-30])
    text = build_report(run_copy, examples=0, model="none").page.read_text(encoding="utf-8")
    assert "the last record was written half" in text and "has 35 of 36 answers" in text
    assert (run_copy / "records.jsonl").read_bytes() == lines[:-30]


def edit(file, change) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def damage_line(folder) -> None:
    lines = (folder / "records.jsonl").read_text().splitlines()
    lines[4] = lines[4][:40]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")


DAMAGE = {
    "no run": (lambda folder: (folder / "run.json").unlink(), r"no run in .*run\.json is missing"),
    "a line": (damage_line, r"records\.jsonl, line 5 is no record"),
    "newer run": (
        lambda f: edit(f / "run.json", lambda d: d.update(schema=9)),
        r"run\.json has schema 9",
    ),
    "newer bill": (
        lambda f: edit(f / "bill.json", lambda d: d.update(schema=9)),
        r"bill\.json has schema 9",
    ),
    "half a bill": (
        lambda f: (f / "bill.json").write_text('{"schema": 1,\n "ro'),
        r"bill\.json, line 2 is damaged",
    ),
    "no bill": (
        lambda f: edit(f / "bill.json", lambda d: d["rows"][0].pop("paper")),
        r"bill\.json is no bill.*paper",
    ),
    "no answers": (lambda f: (f / "records.jsonl").write_text(""), "no unpruned answers yet"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(run_copy, case) -> None:
    damage, message = DAMAGE[case]
    damage(run_copy)
    with pytest.raises(RecordError, match=message):
        build_report(run_copy, examples=0, model="none")
    assert not (run_copy / "report").exists()


def test_a_file_is_no_run(tmp_path) -> None:
    file = tmp_path / "run.json"
    file.write_text("{}")
    with pytest.raises(RecordError, match="is not a folder"):
        read_results(file)


def test_the_run_itself_is_not_changed(run, report) -> None:
    assert sorted(file.name for file in run.iterdir()) == ["bill.json", "records.jsonl", "run.json"]


def test_labels_keep_their_distance_and_their_order() -> None:
    wanted = [5.0, 5.1, 5.05, 9.9, 0.0]
    placed = spread(wanted, 1.0, 0, 10)
    ordered = sorted(placed)
    assert min(b - a for a, b in zip(ordered, ordered[1:], strict=False)) >= 1 - 1e-9
    assert sorted(range(5), key=wanted.__getitem__) == sorted(range(5), key=placed.__getitem__)
    assert ordered[0] >= 0 and ordered[-1] <= 10
    assert spread([3.0], 1.0, 0, 10) == [3.0]


def test_methods_that_make_the_same_choice_share_a_row_in_their_lines(run) -> None:
    results = read_results(run, n_resamples=10)
    rows = {row.condition.name: row for row in results.rows}
    shared = replace(
        rows["fastv@41"],
        condition=replace(rows["fastv@41"].condition, also=("pdrop", "transprune-high")),
    )
    rows["fastv@41"] = shared
    del rows["pdrop@41"]
    lines = {one.method: one.rows for one in replace(results, rows=tuple(rows.values())).series}
    assert lines["fastv"][0] is lines["pdrop"][0] is shared
    assert [len(lines[name]) for name in ("fastv", "pdrop")] == [2, 2]
    assert "transprune-high" not in lines  # nothing of its own: it would be the same line again
