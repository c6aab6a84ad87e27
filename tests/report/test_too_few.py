"""A task with too few questions for a score is named, and nothing is called NaN."""

import json

import pytest

from report.pages import Page
from report.runs import make_run
from transprune.bench.results.summary import summarise
from transprune.cli.guard import quiet_libraries
from transprune.report.build import build_report
from transprune.report.results import read_results
from transprune.report.words import unscored


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run about two scenes, whose questions of yes and no are too few for POPE."""
    with quiet_libraries(bars=False):
        return make_run(
            tmp_path_factory.mktemp("small") / "run",
            n=2,
            methods=("transprune", "fastv"),
            budgets=(0.41,),
        )


def test_the_run_has_a_task_without_a_score(small) -> None:
    unpruned = summarise(read_results(small, n_resamples=10).run, n_resamples=10)[0]
    scores = {task.task: task.score.value for task in unpruned.tasks}
    assert scores["exist"] != scores["exist"]  # NaN


def test_the_page_says_what_is_missing(small, tmp_path) -> None:
    with quiet_libraries(bars=False):
        report = build_report(small, tmp_path / "out", examples=1)

    text = report.page.read_text(encoding="utf-8")
    page = Page(text)
    assert "2 questions are too few to score exist (POPE F1" in text
    for table in page.tables:
        for row in table:
            assert "nan" not in row
            assert "nan %" not in row
    assert "keeps nan" not in text
    assert "With blank images the unpruned model keeps" in text  # from the other tasks

    header, *rows = page.tables[1]
    column = header.index("exist")
    assert {row[column] for row in rows if len(row) > 1} == {"-"}


@pytest.mark.slow
def test_the_numbers_are_strict_json(small, tmp_path) -> None:
    with quiet_libraries(bars=False):
        report = build_report(small, tmp_path / "out", examples=0)

    def refuse(name):
        raise AssertionError(name)

    json.loads(report.numbers.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_run_with_all_scores_says_nothing(run) -> None:
    assert unscored(read_results(run, n_resamples=10)) == []
