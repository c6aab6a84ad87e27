"""Overlays: kept patches keep their pixels, dropped ones are dimmed; every family has its grid."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from transprune import overlay
from transprune.report.overlay import (
    Grid,
    Panel,
    Strip,
    as_seen,
    draw_kept,
    draw_sheet,
    draw_tokens,
    find_grid,
)


def noise(width, height):
    return Image.fromarray(
        np.random.default_rng(0).integers(60, 255, (height, width, 3), dtype=np.uint8)
    )


def cell(array, grid, token):
    """Pixels of one token's cell, away from its border."""
    row, column = divmod(token, grid.columns)
    high = array.shape[0] / grid.rows
    wide = array.shape[1] / grid.columns
    return array[
        int(row * high) + 2 : int((row + 1) * high) - 1,
        int(column * wide) + 2 : int((column + 1) * wide) - 1,
    ]


@pytest.mark.parametrize(
    ("grid", "size"),
    [
        (Grid(12, 12), (192, 192)),
        (Grid(4, 6), (180, 120)),
        (Grid(5, 3), (100, 161)),
        (Grid(7, 7), (96, 96)),
    ],
)
def test_kept_patches_are_identical_and_dropped_ones_dimmed(grid, size):
    picture = noise(*size)
    keep = [0, 3, grid.cells - 1]
    before = np.asarray(picture)
    after = np.asarray(draw_kept(picture, grid, keep))
    assert after.shape == before.shape

    for token in range(grid.cells):
        old = cell(before, grid, token)
        new = cell(after, grid, token)
        if token in keep:
            assert (old == new).all()
        else:
            assert new.mean() < 0.5 * old.mean()


def test_keep_all_is_the_picture_and_keep_none_changes_every_pixel():
    picture = noise(96, 96)
    grid = Grid(12, 12)
    assert draw_kept(picture, grid, range(144)).tobytes() == picture.tobytes()
    changed = np.asarray(draw_kept(picture, grid, [])) != np.asarray(picture)
    assert changed.any(axis=2).all()


def test_tokens_without_a_place_are_left_out():
    picture = noise(64, 64)
    keep = torch.tensor([1, 4, 99])
    assert (
        draw_kept(picture, Grid(2, 2), keep).tobytes()
        == draw_kept(picture, Grid(2, 2), [1]).tobytes()
    )


def llava(size=336, patch=14, model_type="llava"):
    vision = SimpleNamespace(image_size=size, patch_size=patch)
    return SimpleNamespace(model_type=model_type, vision_config=vision, image_token_id=1)


def test_grid_of_llava_is_square():
    assert find_grid(llava(), {}, 0, 576, cropped=True) == Grid(24, 24, cropped=True, total=576)


def test_grid_of_llava_with_a_cls_row_is_unknown():
    assert find_grid(llava(), {}, 0, 577) is None


def test_grid_of_llava_next_is_its_base_view():
    grid = find_grid(
        llava(model_type="llava_next"),
        {"image_sizes": torch.tensor([[400, 600]])},
        0,
        2144,
        cropped=True,
    )
    assert grid == Grid(24, 24, cropped=False, total=2144)
    assert grid.partial


def test_grid_of_qwen_comes_from_the_processor():
    vision = SimpleNamespace(spatial_merge_size=2)
    config = SimpleNamespace(model_type="qwen2_5_vl", vision_config=vision, image_token_id=1)
    shapes = {"image_grid_thw": torch.tensor([[1, 8, 8], [1, 6, 10]])}
    assert find_grid(config, shapes, 0, 16) == Grid(4, 4, total=16)
    assert find_grid(config, shapes, 1, 15) == Grid(3, 5, total=15)
    assert find_grid(config, shapes, 1, 14) is None


def test_unknown_vision_tower_has_no_grid():
    config = SimpleNamespace(model_type="llava", vision_config=SimpleNamespace(), image_token_id=1)
    assert find_grid(config, {}, 0, 10) is None
    assert find_grid(llava(size=[336, 336]), {}, 0, 576) is None


def test_cropped_grids_show_the_centre():
    picture = Image.new("RGB", (300, 100), "white")
    picture.paste("black", (100, 0, 200, 100))
    assert np.asarray(as_seen(picture, Grid(4, 4, cropped=True))).max() == 0
    assert np.asarray(as_seen(picture, Grid(4, 4))).max() == 255


@pytest.mark.parametrize(
    "grid", [Grid(12, 12), Grid(24, 24), Grid(3, 5), Grid(1, 40), Grid(60, 80), None]
)
def test_panels_have_whole_cells(grid):
    seen = as_seen(noise(90, 70), grid)
    if grid is None:
        assert max(seen.size) == overlay.PANEL
    else:
        assert seen.width % grid.columns == 0
        assert seen.height % grid.rows == 0


def test_small_pictures_keep_hard_pixels():
    picture = noise(96, 96)
    assert (
        as_seen(picture, Grid(12, 12)).tobytes()
        == picture.resize((192, 192), Image.Resampling.NEAREST).tobytes()
    )


@pytest.mark.parametrize("total", [1, 2, 17, 100])
def test_tokens_in_prompt_order(total):
    block = np.asarray(draw_tokens(total, {0}, cell=8))
    assert tuple(block[1, 1]) == overlay.KEPT_CELL
    kept = (block == overlay.KEPT_CELL).all(axis=2).sum()
    dropped = (block == overlay.DROPPED_CELL).all(axis=2).sum()
    assert (kept, dropped) == (49, 49 * (total - 1))


def test_sheet_holds_every_panel_untouched():
    picture = noise(96, 96)
    grid = Grid(12, 12, total=144)
    strip = Strip("a method", picture, grid, (Panel(range(144), "all"), Panel([0], "one")), 144)
    sheet = draw_sheet("a question", [strip, strip], "below the title")
    seen = np.asarray(as_seen(picture, grid))
    array = np.asarray(sheet)
    assert sheet.width == 3 * overlay.PANEL + 4 * overlay.GAP

    # the image, then the panel that keeps everything, then the one that does not
    top = next(y for y in range(sheet.height) if (array[y : y + 192, 12:204] == seen).all())
    left = 12 + overlay.PANEL + overlay.GAP
    assert (array[top : top + 192, left : left + 192] == seen).all()
    assert not (array[top : top + 192, left + 204 : left + 396] == seen).all()


@pytest.mark.parametrize("grid", [None, Grid(2, 2, total=9)])
def test_sheet_of_unknown_and_partial_grids(grid):
    strip = Strip("method", noise(50, 80), grid, (Panel([0, 8], "two"),), 9)
    sheet = draw_sheet(
        "a question that is much wider than the panels below it, and even a little wider than that "
        * 2,
        [strip],
    )
    assert sheet.width > 800
