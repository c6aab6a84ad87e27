"""Scenes: fixed by split and number, different between splits, with the right tokens per object."""

from __future__ import annotations

import numpy as np
import pytest

from transprune.errors import SceneError
from transprune.nano.scenes import BOARD, GRID, SIDE, SPLITS, draw, question_rng
from transprune.nano.words import COLORS


def test_a_scene_is_its_split_and_number() -> None:
    first = draw("train", 7)
    again = draw("train", 7)
    assert first.objects == again.objects
    assert np.array_equal(first.pixels, again.pixels)

    draw("train", 3)  # drawing another one in between changes nothing
    assert np.array_equal(draw("train", 7).pixels, first.pixels)


def test_splits_share_no_scene_and_no_background() -> None:
    drawn = {(split, number): draw(split, number) for split in SPLITS for number in range(30)}
    assert len({scene.pixels.tobytes() for scene in drawn.values()}) == len(drawn)
    assert len({scene.objects for scene in drawn.values()}) == len(drawn)


def test_scenes_are_as_described() -> None:
    for number in range(60):
        scene = draw("validation", number)
        assert scene.pixels.shape == (SIDE, SIDE, 3)
        assert scene.pixels.dtype == np.uint8
        assert scene.owner.shape == (GRID * GRID,)
        assert 3 <= len(scene.objects) <= 8
        assert len(scene.pairs) == len(scene.objects)  # no two share colour and shape
        assert len({(thing.row, thing.col) for thing in scene.objects}) == len(scene.objects)


def test_every_object_owns_tokens_in_its_cell() -> None:
    for number in range(40):
        scene = draw("validation", number)
        for index, thing in enumerate(scene.objects):
            tokens = scene.tokens([index])
            assert 1 <= len(tokens) <= 9

            # their mean lies near the middle of the object's cell
            rows, columns = np.divmod(tokens, GRID)
            per_cell = GRID // BOARD
            assert abs(rows.mean() / per_cell - (thing.row + 0.33)) < 0.6
            assert abs(columns.mean() / per_cell - (thing.col + 0.33)) < 0.6


def test_tokens_of_several_objects_are_a_sorted_union() -> None:
    scene = draw("validation", 0)
    both = scene.tokens([0, 1])
    assert both == sorted({*scene.tokens([0]), *scene.tokens([1])})
    assert scene.tokens([]) == []


def test_an_object_has_its_colour() -> None:
    """The middle pixel of a square or circle without a character has the named colour."""
    checked = 0

    for number in range(40):
        scene = draw("validation", number)
        for thing in scene.objects:
            if thing.character is None and thing.shape in ("square", "circle"):
                y = thing.row * 24 + 12 + thing.dy
                x = thing.col * 24 + 12 + thing.dx
                assert np.abs(scene.pixels[y, x].astype(int) - COLORS[thing.color]).max() <= 15
                checked += 1

    assert checked > 10


def test_questions_have_a_random_stream_of_their_own() -> None:
    before = question_rng("test", 4).random()
    draw("test", 4)
    assert question_rng("test", 4).random() == before
    assert question_rng("test", 5).random() != before


@pytest.mark.parametrize(("split", "number"), [("tset", 0), ("test", -1)])
def test_unknown_splits_and_negative_numbers_are_refused(split, number) -> None:
    with pytest.raises(SceneError, match="numbered from 0"):
        draw(split, number)


def test_more_objects_than_cells_are_refused() -> None:
    with pytest.raises(SceneError, match="16 objects"):
        draw("train", 0, (3, 17))
