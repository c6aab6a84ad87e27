"""The page is well-formed, fetches nothing, and its tables are those of the summary."""

import json
import re

from transprune.bench.data.records import read_run
from transprune.bench.results.summary import summarise


def test_one_file_that_fetches_nothing(page) -> None:
    assert page.stack == []

    links = []
    for _, attrs in page.tags:
        for key in ("src", "srcset", "href", "xlink:href"):
            if key in attrs:
                links.append(attrs[key])
    assert len(links) > 20
    assert "url(http" not in page.text
    assert all((link or "").startswith(("data:", "#")) for link in links)

    # the command of the run is text, not tags
    assert not page.all("script")
    assert "<script>alert" not in page.text


def test_landmarks_and_names_for_screen_readers(page) -> None:
    assert [attrs["lang"] for attrs in page.all("html")] == ["en"]
    for landmark in ("main", "h1", "header", "footer"):
        assert len(page.all(landmark)) == 1, landmark

    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in (*page.all("section"), *page.all("article")):
        assert attrs["aria-labelledby"] in ids
    for attrs in page.all("a"):
        assert attrs["href"].removeprefix("#") in ids

    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in attrs for attrs in page.all("th"))
    images = [attrs for _, attrs in page.tags if attrs.get("role") == "img"]
    assert len(images) == 2 * 5 + 3  # each figure is drawn twice; three examples
    assert all(len(attrs["aria-label"]) > 40 for attrs in images)


def test_no_heading_level_is_skipped(page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    for earlier, later in zip(levels, levels[1:], strict=False):
        assert later <= earlier + 1


def test_the_condition_table_is_the_summary(run, page) -> None:
    shown = set()
    for row in page.tables[0]:
        shown.add(tuple(cell.removeprefix("best ") for cell in row[:3]))

    for row in summarise(read_run(run)):
        interval = row.relative
        accuracy = f"{interval.value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"
        cost = f"{100 * row.exact_share:.1f} %"
        assert (row.condition.method, accuracy, cost) in shown


def test_the_task_table_is_the_summary(run, page) -> None:
    names = page.tables[1][0][1:-1]
    lines = [row for row in page.tables[1] if row[0] == "fastv"]
    rows = [row for row in summarise(read_run(run)) if row.condition.method == "fastv"]
    assert len(lines) == len(rows) == 2

    for cells, row in zip(lines, rows, strict=True):
        scores = [cell.removeprefix("best ") for cell in cells[1:-1]]
        expected = {task.task: f"{task.score.value:.1f}" for task in row.tasks}
        assert dict(zip(names, scores, strict=True)) == expected


def test_best_is_marked_in_words_and_never_a_control(page) -> None:
    marked = set()
    for row in page.tables[0]:
        if any(cell.startswith("best") for cell in row):
            marked.add(row[0])
    assert marked
    assert not {"oracle", "random"} & marked


def test_examples_show_both_answers_and_their_pictures(run, report, page) -> None:
    assert page.text.count("<dt>right answer</dt>") == 3

    numbers = json.loads(report.numbers.read_text())["figures"]
    records = [r for r in read_run(run).records if r.condition.startswith("transprune@")]
    for number in (1, 2, 3):
        drawn = numbers[f"retention{number}"]["kept"]
        kept = {int(boundary): tokens for boundary, tokens in drawn.items()}
        assert any(record.kept == kept for record in records)


def test_measured_costs_are_shown(page) -> None:
    costs = next(table for table in page.tables if table[0][0] == "condition")
    assert [row[0] for row in costs[1:]] == ["unpruned", "transprune@41"]
    assert costs[1][1:7] == ["2.5 GMACs", "41.0 %", "2.5 GFLOPs", "41.0 %", "12.3 ms", "52.0 %"]
    assert costs[1][9:] == ["1 MiB", "60.0 %", "3 MiB", "70.0 %"]
