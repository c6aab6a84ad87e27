"""The drawn pictures of the benchmark: fixed by their number, objects where the boxes say."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.tiles.pictures import CATEGORIES, draw_large

from transprune.nano.sprites import CELL
from transprune.tiles.pyramid import build_pyramid


def test_a_number_fixes_a_picture_and_splits_differ():
    first = draw_large("test", 3, 1, 500)
    again = draw_large("test", 3, 1, 500)
    assert (first.pixels == again.pixels).all()
    assert first.boxes == again.boxes and first.questions == again.questions
    assert (draw_large("choose", 3, 1, 500).pixels != first.pixels).any()


@pytest.mark.parametrize("scale", [1, 2])
def test_objects_lie_in_cells_that_no_tile_cuts(scale):
    scene = draw_large("test", 0, scale, 1000)
    levels = build_pyramid(1000, 1000, 96)
    level = levels[-scale]  # at which an object has the size that the model knows
    assert 3 <= len(scene.boxes) <= 8
    for left, top, right, bottom in scene.boxes:
        assert (right - left, bottom - top) == (CELL * scale, CELL * scale)
        assert level.tile_at(left, top) == level.tile_at(right - 1, bottom - 1)


def test_the_objects_are_there():
    scene = draw_large("test", 1, 1, 500)
    surroundings = scene.pixels.astype(int).mean(axis=(0, 1))
    for left, top, _, _ in scene.boxes:
        middle = scene.pixels[top + 8 : top + 16, left + 8 : left + 16].astype(int)
        assert np.abs(middle - surroundings).max() > 40


def test_questions_are_about_one_object():
    for number in range(5):
        questions = draw_large("test", number, 1, 500).questions
        assert questions
        for question in questions:
            assert question.category in CATEGORIES
            assert len(question.objects) == 1
