"""`trace.plot(picture)`: the kept patches of a trace, and clear errors where it cannot draw them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from transprune import demo, prune
from transprune.cost.geometry import Geometry, known_geometry
from transprune.demo.questions import picture_file
from transprune.errors import ImageError, LayoutError
from transprune.models.answer import prepare
from transprune.models.checkpoint import LoadOptions, load
from transprune.models.images import open_image
from transprune.report.overlay import GAP, PANEL, as_seen, draw_kept, draw_tokens, find_grid
from transprune.trace import Trace, TraceStage

QUESTION = demo.read_questions()[0]
FILE = picture_file(QUESTION.picture)


@pytest.fixture(scope="module")
def checkpoint():
    return load("nano", LoadOptions(dtype="float32", device="cpu"))


@pytest.fixture(scope="module")
def inputs(checkpoint):
    return prepare(checkpoint, [open_image(FILE)], QUESTION.question)


@pytest.fixture(scope="module")
def trace(checkpoint, inputs):
    with prune(checkpoint.model, "transprune-high") as session:
        checkpoint.model(**inputs)
    return session.trace


def made(family, geometry, *visual, keep=5):
    """A trace with one boundary, as a prompt of `visual` tokens would leave it."""
    candidates = tuple(torch.arange(count) for count in visual)
    kept = tuple(torch.arange(min(keep, count)) for count in visual)
    return Trace(
        method="FastV()",
        family=family,
        positions="keep",
        visual_tokens=visual,
        text_tokens=(9,) * len(visual),
        instruction_tokens=(5,) * len(visual),
        stages=(TraceStage(2, "fastv", candidates, kept),),
        kv_lengths=(),
        kv_bytes=0,
        notes=(),
        geometry=geometry,
    )


LLAVA = known_geometry("llava-1.5-7b")
NEXT = known_geometry("llava-next-7b")
QWEN = known_geometry("qwen2.5-vl-7b")


def noise(width, height):
    values = np.random.default_rng(0).integers(60, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def contains(sheet, panel):
    """Whether the panel stands somewhere in the sheet, pixel for pixel."""
    sheet = np.asarray(sheet)
    panel = np.asarray(panel)
    height, width, _ = panel.shape
    step = max(width, PANEL) + GAP
    for y in range(sheet.shape[0] - height + 1):
        for x in range(GAP, sheet.shape[1] - width + 1, step):
            if (sheet[y : y + height, x : x + width] == panel).all():
                return True
    return False


# --------------------------------------------------------------------------- a real trace


def test_each_boundary_has_the_panel_of_what_it_kept(trace, checkpoint, inputs):
    picture = open_image(FILE)
    sheet = trace.plot(picture)
    grid = find_grid(checkpoint.model.config, inputs, 0, 144, cropped=checkpoint.crops)
    seen = as_seen(picture, grid)

    assert isinstance(sheet, Image.Image)
    assert len(trace.stages) == 3
    assert contains(sheet, seen)
    for stage in trace.stages:
        assert contains(sheet, draw_kept(seen, grid, stage.keep[0].tolist()))
    assert not contains(sheet, draw_kept(seen, grid, [0]))


def test_a_file_and_a_list_are_the_same_picture(trace):
    picture = open_image(FILE)
    expected = trace.plot(picture).tobytes()
    assert trace.plot(FILE).tobytes() == expected
    assert trace.plot(str(FILE)).tobytes() == expected
    assert trace.plot([picture]).tobytes() == expected


def test_it_is_written_where_a_path_is_given(trace, tmp_path):
    sheet = trace.plot(FILE, path=tmp_path / "kept.png")
    assert open_image(tmp_path / "kept.png").tobytes() == sheet.tobytes()


@pytest.mark.parametrize("name", ["kept.nonsense", "no/such/folder/kept.png"])
def test_a_file_that_cannot_be_written(trace, tmp_path, name):
    with pytest.raises(ImageError, match="cannot write the picture"):
        trace.plot(FILE, path=tmp_path / name)


def test_a_method_that_drops_nothing_shows_the_picture(checkpoint, inputs):
    with prune(checkpoint.model, "shortv") as session:
        checkpoint.model(**inputs)
    assert session.trace.plot(FILE).width >= PANEL


def test_a_prompt_without_a_picture(checkpoint):
    ids = torch.tensor([[1, 5, 6]])
    with prune(checkpoint.model, "fastv") as session:
        checkpoint.model(input_ids=ids)
    with pytest.raises(LayoutError, match="sample 0 had no picture in its prompt"):
        session.trace.plot(FILE)


# --------------------------------------------------------------------------- families


def test_pictures_of_one_size_are_counted():
    two = made("llava", LLAVA, 1152, keep=600)
    sheet = two.plot([noise(40, 40), noise(50, 50)])
    assert sheet.height > 2 * PANEL

    # the second picture keeps 24 of its own
    seen = as_seen(noise(50, 50), find_grid_of(24, 24))
    assert contains(sheet, draw_kept(seen, find_grid_of(24, 24), range(24)))

    for wrong in ([noise(40, 40)], [noise(40, 40)] * 3):
        with pytest.raises(LayoutError, match=r"had 2 picture\(s\) of 576 visual tokens; got"):
            two.plot(wrong)


def find_grid_of(rows, columns):
    from transprune.report.overlay import Grid

    return Grid(rows, columns)


def test_llava_next_shows_the_whole_picture_and_counts_its_tiles():
    sheet = made("llava_next", NEXT, 2340, keep=600).plot(noise(60, 40))
    seen = as_seen(noise(60, 40), find_grid_of(24, 24))
    assert contains(sheet, draw_kept(seen, find_grid_of(24, 24), range(600)))
    with pytest.raises(LayoutError, match="2340 tokens cannot be shared among 2"):
        made("llava_next", NEXT, 2340).plot([noise(60, 40)] * 2)


@pytest.mark.parametrize(
    ("size", "tokens", "expected"),
    [
        ((336, 336), 144, (12, 12)),
        ((672, 336), 288, (12, 24)),
        ((336, 672), 288, (24, 12)),
        ((500, 340), 216, (12, 18)),
        ((28, 280), 10, (10, 1)),
    ],
)
def test_a_picture_of_any_size_has_the_grid_of_its_proportions(size, tokens, expected):
    sheet = made("qwen2_5_vl", QWEN, tokens).plot(noise(*size))
    grid = find_grid_of(*expected)
    assert contains(sheet, draw_kept(as_seen(noise(*size), grid), grid, range(5)))


def test_another_picture_is_noticed():
    with pytest.raises(LayoutError, match="make no grid with the proportions of a picture"):
        made("qwen2_5_vl", QWEN, 49).plot(noise(400, 40))


def test_a_grid_that_is_given_counts():
    picture = noise(400, 40)
    sheet = made("qwen2_5_vl", QWEN, 144).plot(picture, grid=(4, 36))
    grid = find_grid_of(4, 36)
    assert contains(sheet, draw_kept(as_seen(picture, grid), grid, range(5)))
    for bad in ((12, 13), (0, 5)):
        with pytest.raises(LayoutError, match="a grid cannot have more cells"):
            made("qwen2_5_vl", QWEN, 144).plot(picture, grid=bad)


def test_tokens_without_a_square_are_drawn_in_prompt_order():
    sheet = made("llava", LLAVA, 577).plot(noise(40, 40))
    assert contains(sheet, draw_tokens(577, range(5)))


def test_samples_of_a_batch():
    batch = made("llava", LLAVA, 576, 0)
    assert batch.plot(noise(40, 40), sample=0).width > PANEL
    with pytest.raises(LayoutError, match="sample 1 had no picture"):
        batch.plot(noise(40, 40), sample=1)
    for wrong in (2, -1):
        with pytest.raises(LayoutError, match=r"samples 0\.\.1; got"):
            batch.plot(noise(40, 40), sample=wrong)


def test_something_that_is_no_picture():
    with pytest.raises(ImageError, match="a picture is a PIL image or a file; got int"):
        made("llava", LLAVA, 576).plot([3])


def test_a_model_without_a_square_of_its_own():
    odd = replace(LLAVA, visual_tokens=200)
    assert isinstance(odd, Geometry)
    assert made("llava", odd, 200).plot(noise(40, 40)).width > PANEL
