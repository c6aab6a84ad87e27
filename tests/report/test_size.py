"""The page of a large run stays below two megabytes, and long work is announced."""

import re

import pytest

from transprune.report.build import build_report
from transprune.report.figures.panels import draw_panels
from transprune.report.results import read_results
from transprune.report.theme import HUES

LIMIT = 2_000_000  # bytes
METHODS = 40  # of a run of everything, at five budgets
BUDGETS = 5
EXAMPLES = 6


def test_the_page_of_a_full_run_is_below_two_megabytes(run, report) -> None:
    """The page of the fixture, with its parts scaled up to a run of everything."""
    text = report.page.read_text(encoding="utf-8")
    series = read_results(run, n_resamples=10).series
    rows = sum(len(one.rows) for one in series)

    # two tables grow with the rows, the panels with the methods
    tables = "".join(re.findall(r"<table.*?</table>", text, re.DOTALL)[:2])
    panels = draw_panels(series)
    more_rows = len(tables) * (METHODS * BUDGETS / rows - 1)
    more_panels = (len(panels.wide) + len(panels.narrow)) * (METHODS / len(series) - 1)
    example = max(len(part) for part in re.findall(r"<article.*?</article>", text, re.DOTALL))

    # behind every panel are the lines of the overview, which may be more than in the fixture
    points = 20 * METHODS * len(HUES) * BUDGETS * 2  # 20 bytes each, in two drawings
    total = len(text) + more_rows + more_panels + points + (EXAMPLES - 3) * example
    assert total < LIMIT


def test_no_raster_is_embedded_twice(report) -> None:
    text = report.page.read_text(encoding="utf-8")
    photos = re.findall(r'"(data:image/webp[^"]+)"', text)
    first_panels = 3  # the same scene may be the image of several examples
    assert len(photos) - len(set(photos)) < first_panels
    assert "image/png" not in "".join(re.findall(r"<article.*?</article>", text, re.DOTALL))


@pytest.mark.slow
def test_every_step_is_announced_before_it_runs(run, tmp_path) -> None:
    steps = []

    def note(step, done=0, total=0):
        steps.append((step, done, total))

    build_report(run, tmp_path / "out", examples=2, progress=note)
    assert steps[0] == ("reading the run", 0, 0)
    assert steps[-1] == ("writing", 0, 0)
    assert len(steps) == len(set(steps))
    for part in (
        ("drawing examples", 1, 2),
        ("measuring layers", 32, 36),
        ("pruning by TTV alone", 0, 36),
        ("answering with blank images", 8, 9),
        ("drawing accuracy", 0, 0),
    ):
        assert part in steps
