"""The bundled weights answer as well as their card says."""

from __future__ import annotations

import json

import pytest

from transprune import nano
from transprune.nano.evaluate import evaluate, load_trained
from transprune.nano.train.recipe import EYES_FIRST

SCENES = 200
TOLERANCE = 2  # answers that rounding on another machine may change

# category -> (right, asked) on the first 200 validation scenes
PINNED = {
    "exist": (400, 400),
    "color": (397, 399),
    "shape": (399, 400),
    "size": (400, 400),
    "relation": (398, 400),
    "count": (386, 400),
    "read": (398, 400),
    "position": (400, 400),
    "mc": (597, 600),
}


@pytest.fixture(scope="module")
def model():
    return load_trained(nano.path())


@pytest.fixture(scope="module")
def card():
    return json.loads((nano.path() / "scores.json").read_text(encoding="utf-8"))


def test_scores_on_200_scenes_are_the_pinned_ones(model) -> None:
    scores = evaluate(model, "validation", SCENES)
    assert list(scores.categories) == list(PINNED)

    for name, (right, asked) in PINNED.items():
        assert scores.categories[name].asked == asked, name
        assert abs(scores.categories[name].right - right) <= TOLERANCE, name


def test_without_the_picture_it_can_only_guess(model) -> None:
    scores = evaluate(model, "validation", 40, blank=True)
    for name, tally in scores.categories.items():
        assert tally.percent < 75, name
    assert scores.mean < 50


def test_the_card_is_about_these_weights(card) -> None:
    # the card has earlier names of the stages, so their steps and scenes identify them
    expected = [(EYES_FIRST.vision.steps, EYES_FIRST.vision.batch)]
    for stage in EYES_FIRST.language:
        expected.append((stage.steps, stage.batch))

    found = []
    for stage in card["stages"]:
        found.append((stage["steps"], stage["scenes"] // stage["steps"]))
    assert found == expected

    assert card["scores"]["split"] == "test"
    assert card["scores"]["scenes"] >= 2000

    text = (nano.path() / "README.md").read_text(encoding="utf-8")
    for name, tally in card["scores"]["families"].items():
        assert f"| {name} | {tally['asked']} | {tally['percent']:.1f} |" in text


def test_it_is_small() -> None:
    sizes = [file.stat().st_size for file in nano.path().rglob("*.safetensors")]
    assert sum(sizes) <= 20 * 2**20
