"""Figures show every value where it is, and tell lines apart by colour and by marker."""

import itertools
import re
from dataclasses import replace

import matplotlib
import pytest

from transprune.report.figures.accuracy import accuracy_figure, draw_accuracy
from transprune.report.figures.lines import REFERENCES, choose_lines, line_style
from transprune.report.figures.panels import best_columns, in_lines
from transprune.report.figures.transitions import shown_layers
from transprune.report.results import read_results
from transprune.report.theme import DARK, HUES, LIGHT, MARKERS

THEMES = [LIGHT, DARK, replace(LIGHT, narrow=True)]


@pytest.fixture(scope="module")
def series(run):
    return read_results(run, n_resamples=10).series


@pytest.fixture(scope="module")
def many(series):
    """Thirty methods and two controls."""
    methods = [one for one in series if not one.control]
    copies = []
    for number in range(30):
        one = methods[number % len(methods)]
        copies.append(replace(one, method=f"{one.method}-{number}"))
    controls = [one for one in series if one.control]
    return (*methods[:1], *copies[1:], *controls)


def luminance(color: str) -> float:
    """Relative luminance of `#rrggbb`, WCAG 2.2."""
    linear = []
    for channel in bytes.fromhex(color.removeprefix("#")):
        value = channel / 255
        linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_hue_is_visible_and_used_once(theme) -> None:
    colors = [theme.hue(number) for number in range(len(HUES))]
    assert len(set(colors)) == len(MARKERS) == len(set(MARKERS)) == len(HUES)

    ground = luminance(theme.background)
    for color in colors:
        own = luminance(color)
        ratio = (max(own, ground) + 0.05) / (min(own, ground) + 0.05)
        assert ratio >= 3, color  # WCAG 2.2, 1.4.11: graphical objects


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark", "narrow"])
def test_every_point_is_at_its_measured_cost(series, theme) -> None:
    axes = accuracy_figure(series, None, theme).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}

    for one in series:
        x, y = drawn[one.method].get_data()
        expected = {100 * row.exact_share: row.relative.value for row in one.rows}
        assert dict(zip(x, y, strict=True)) == expected
        assert list(x) == sorted(x)


def test_the_axis_reads_from_left_to_right(series) -> None:
    left, right = accuracy_figure(series, None, LIGHT).axes[0].get_xlim()
    assert left < right


def test_no_two_lines_have_the_same_colour_or_marker(series) -> None:
    axes = accuracy_figure(series, None, LIGHT).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    named = [drawn[one.method] for one in series]
    assert len({line.get_color() for line in named}) == len(series)
    assert len({line.get_marker() for line in named}) == len(series)


def test_of_many_methods_the_best_are_named_and_the_others_are_grey(many) -> None:
    hues = choose_lines(many)
    assert sorted(hues.values()) == list(range(len(HUES)))
    names = [many[number].method for number in hues]
    assert names[0] == "transprune"
    assert set(names) & {one.method for one in many if one.method in REFERENCES} == {
        "random",
        "oracle",
    }

    axes = accuracy_figure(many, None, LIGHT).axes[0]
    assert [text.get_text() for text in axes.texts] == names
    grey = [line for line in axes.lines if line.get_color() == LIGHT.rule]
    assert len(grey) == len(many) - len(HUES)
    assert f"Grey: {len(many) - len(HUES)} more" in draw_accuracy(many, None).caption


def test_controls_are_dashed(series) -> None:
    for one in series:
        assert line_style(one, 0, LIGHT)["linestyle"] == ("--" if one.control else "-")


@pytest.mark.parametrize("count", range(1, 45))
def test_no_panel_is_alone_in_its_row(count) -> None:
    columns = best_columns(count, (5, 4, 3))
    assert count <= columns or count % columns != 1


def test_a_long_recipe_is_broken_behind_its_marks() -> None:
    assert in_lines("visionzip-288-transprune") == "visionzip-288-transprune"
    long = "cdpruner:relevance=embedding,keep=288+fastv"
    assert in_lines(long).split("\n") == ["cdpruner:", "relevance=embedding,", "keep=288+fastv"]
    assert in_lines("fastv:layer=2") == "fastv:layer=2"


def test_panels_fill_few_rows() -> None:
    assert best_columns(12, (5, 4, 3)) == 4
    assert best_columns(42, (5, 4, 3)) == 5
    assert best_columns(5, (2, 3)) == 3


def test_drawings_share_no_ids_and_leave_matplotlib_alone(series) -> None:
    before = dict(matplotlib.rcParams)
    picture = draw_accuracy(series, 30.0)
    assert dict(matplotlib.rcParams) == before

    ids = [re.findall(r'id="([^"]+)"', svg) for svg in (picture.wide, picture.narrow)]
    for one in ids:
        assert len(one) == len(set(one))
    assert not set(ids[0]) & set(ids[1])

    # every reference finds its definition in the same drawing
    for svg, own in zip((picture.wide, picture.narrow), ids, strict=True):
        used = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
        assert used
        assert set(used) <= set(own)


def test_drawings_have_no_colours_of_their_own(series) -> None:
    picture = draw_accuracy(series, 30.0)
    assert not re.findall(r"#[0-9a-f]{6}\b", picture.wide)
    assert "var(--background)" in picture.wide


def test_the_same_run_makes_the_same_drawing(series) -> None:
    one, other = draw_accuracy(series, 30.0), draw_accuracy(series, 30.0)
    assert one == other


def test_names_of_the_overview_keep_their_distance(many) -> None:
    axes = accuracy_figure(many, None, LIGHT).axes[0]
    heights = sorted(text.xy[1] for text in axes.texts)
    gaps = [upper - lower for lower, upper in itertools.pairwise(heights)]
    assert min(gaps) > 0


def test_names_are_shown_as_they_are(series) -> None:
    named = replace(series[1], method="a$b$<c>&d")
    picture = draw_accuracy((series[0], named), None)
    assert "a$b$&lt;c&gt;&amp;d" in picture.wide


def test_every_layer_has_its_maps_and_of_very_many_the_ends_are_shown() -> None:
    assert shown_layers(1).tolist() == [0]
    assert shown_layers(30).tolist() == list(range(30))
    deep = shown_layers(80).tolist()
    assert (len(deep), deep[0], deep[-1]) == (32, 0, 79)
