"""Held-out figures by hand, and the files of a search."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from PIL import Image

from transprune import DivPrune, TransPrune
from transprune.core import strict_json
from transprune.methods.common.recipe import resolve
from transprune.tune.budget import parse_budget
from transprune.tune.loss import Distance
from transprune.tune.plot import plot_front
from transprune.tune.result import doubts, few_pictures, summarise, write_result
from transprune.tune.tried import Tried, front


@dataclass(frozen=True)
class Asked:
    image: str


ITEMS = [Asked(f"picture {number // 2}") for number in range(24)]
FOUND = (DivPrune(0.4), 0.4)
START = (TransPrune.high(), 0.41)


def rows(found, start):
    settings = {"found": FOUND, "start": START}
    distances = {
        "found": Distance(found, [value < 0.5 for value in found]),
        "start": Distance(start, [value < 0.5 for value in start]),
    }
    return summarise(ITEMS, settings, distances, seed=0)


def test_means_and_what_they_are_compared_with():
    first, second = rows([0.1, 0.3] * 12, [0.2, 0.6] * 12)

    assert (first.kl.value, first.same.value) == (pytest.approx(0.2), 100)
    assert first.kl_against is None
    assert second.kl_against.value == pytest.approx(0.2)
    assert second.same_against.value == -50
    # every picture says the same, so no resample says otherwise
    assert second.kl_against.low == pytest.approx(second.kl_against.high)


def test_questions_about_one_picture_are_drawn_together():
    varied = [float(number // 2 % 2) for number in range(24)]  # by picture
    within = [float(number % 2) for number in range(24)]  # within each picture
    by_picture = rows(varied, varied)[0].kl
    inside = rows(within, within)[0].kl

    assert by_picture.value == inside.value == 0.5
    assert by_picture.high - by_picture.low > 0.3
    assert inside.low == inside.high == 0.5


def test_a_start_that_is_better_held_out_is_told():
    assert doubts(rows([0.1] * 24, [0.2] * 24)) == []
    assert doubts(rows([0.1] * 24, [0.1] * 24)) == []
    (doubt,) = doubts(rows([0.2] * 24, [0.1] * 24))
    assert "start is nearer" in doubt


def test_intervals_over_few_pictures_are_doubted():
    """Of one picture every resample is the picture itself: an interval of no width."""
    assert few_pictures(ITEMS) == []
    (note,) = few_pictures(ITEMS[:10])
    assert "5 picture(s) held out" in note


def trial(number, cost, loss, stopped=False):
    return Tried(number, cost, loss, DivPrune(cost), stopped, "divprune")


def test_the_front_leaves_out_what_is_beaten_or_stopped():
    trials = [
        trial(0, 0.4, 0.5),
        trial(1, 0.3, 0.6),
        trial(2, 0.35, 0.7),
        trial(3, 0.4, 0.2),
        trial(4, 0.2, 0.0, stopped=True),
        trial(5, 0.5, 0.2),
    ]
    assert [one.number for one in front(trials)] == [1, 3]


def test_every_point_of_a_front_is_a_recipe(tmp_path):
    points = [trial(0, 0.2, 0.4), trial(1, 0.5, 0.1)]
    write_result(tmp_path, points[1], points, rows([0.1] * 24, [0.2] * 24), {"seed": 3})

    data = strict_json.read((tmp_path / "tune.json").read_bytes())
    assert resolve(str(tmp_path)) == points[1].method
    assert [resolve(str(tmp_path / point["recipe"])) for point in data["front"]] == [
        one.method for one in points
    ]
    assert data["seed"] == 3
    assert data["found"]["trial"] == 1
    assert len(data["held_out_figures"]) == 2


def test_a_shorter_front_leaves_nothing_of_a_longer_one(tmp_path):
    """Continued with more trials, a search may find one setting that beats several."""
    figures = rows([0.1] * 24, [0.2] * 24)
    points = [trial(0, 0.2, 0.4), trial(1, 0.3, 0.3), trial(2, 0.5, 0.1)]
    write_result(tmp_path, points[2], points, figures, {})
    write_result(tmp_path, points[2], points[1:], figures, {})
    assert sorted(place.name for place in (tmp_path / "front").iterdir()) == ["00", "01"]

    write_result(tmp_path, points[2], points[2:], figures, {})
    assert not (tmp_path / "front").exists()


@pytest.mark.parametrize(("budget", "cost"), [("0.4", "flops"), ("0.2:0.5", "kv"), ("9", "ms")])
def test_the_plot_is_a_picture(tmp_path, budget, cost):
    trials = [trial(0, 0.4, 0.5), trial(1, 0.3, 0.6), trial(2, 0.35, 0.7, stopped=True)]
    file = tmp_path / "front.png"
    plot_front(trials, parse_budget(budget, cost), "kl", file)

    with Image.open(file) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
