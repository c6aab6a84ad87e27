"""The arithmetic of the pyramid, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transprune.errors import MethodError
from transprune.tiles.pyramid import Level, Tile, build_pyramid, fit


def sizes(levels):
    return [level.size for level in levels]


def grids(levels):
    return [(level.rows, level.columns) for level in levels]


def test_the_papers_pyramid_of_8000_pixels():
    """1008 / 8000 lies between 1/4 and 1/8, so 1/4 is the first halving."""
    levels = build_pyramid(8000, 8000, 336)
    assert sizes(levels) == [(1008, 1008), (2000, 2000), (4000, 4000), (8000, 8000)]
    assert grids(levels) == [(3, 3), (6, 6), (12, 12), (24, 24)]


def test_the_bundled_models_pyramid():
    levels = build_pyramid(8000, 8000, 96)
    assert [level.size[0] for level in levels] == [288, 500, 1000, 2000, 4000, 8000]
    assert [level.rows for level in levels] == [3, 6, 11, 21, 42, 84]


def test_a_base_that_is_a_halving_is_there_once():
    assert sizes(build_pyramid(4032, 4032, 336)) == [(1008, 1008), (2016, 2016), (4032, 4032)]


def test_the_longer_side_counts():
    levels = build_pyramid(10_000, 500, 96)
    assert sizes(levels)[:2] == [(288, 14), (312, 16)]
    assert grids(levels)[0] == (1, 3)
    tall = build_pyramid(500, 10_000, 96)
    assert [(height, width) for width, height in sizes(levels)] == sizes(tall)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (96, 96), (288, 288), (288, 5)])
def test_a_tiny_picture_has_no_pyramid(width, height):
    assert build_pyramid(width, height, 96) == ()
    assert build_pyramid(289, height, 96) != ()


@pytest.mark.parametrize("size", [(0, 5, 5), (5, 0, 5), (5, 5, 0), (5, -1, 5)])
def test_sizes_below_one_are_errors(size):
    with pytest.raises(MethodError, match="at least 1 pixel"):
        build_pyramid(*size)


def test_the_last_tile_is_padded():
    level = Level((8000, 8000), (500, 500), 96)
    assert level.content(Tile(0, 0)) == (96, 96)
    assert level.content(Tile(5, 4)) == (96, 20)
    assert level.box(Tile(5, 4)) == (6144, 7680, 7680, 8000)


def test_a_point_belongs_to_the_tile_that_shows_it():
    level = Level((8000, 8000), (500, 500), 96)
    assert level.tile_at(0, 0) == Tile(0, 0)
    assert level.tile_at(1535.9, 1536) == Tile(1, 0)
    assert level.tile_at(8000, 8000) == Tile(5, 5)


def test_the_thumbnail_fits_into_a_tile():
    assert fit(8000, 8000, 96) == (96, 96)
    assert fit(10_000, 500, 96) == (96, 5)
    assert fit(100_000, 10, 96) == (96, 1)


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    side=st.integers(8, 400),
)
def test_tiles_cover_each_level_once(width, height, side):
    for level in build_pyramid(width, height, side)[:3]:
        area = 0.0
        for tile in level.tiles():
            left, top, right, bottom = level.box(tile)
            area += (right - left) * (bottom - top)
            assert level.tile_at((left + right) / 2, (top + bottom) / 2) == tile
        assert area == pytest.approx(width * height)
        assert right == pytest.approx(width) and bottom == pytest.approx(height)
