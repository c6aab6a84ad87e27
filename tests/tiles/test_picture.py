"""Parts of picture files: what they show, how much memory they take, and files that are refused."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiles.conftest import gradient
from transprune.errors import ImageError, PruneWarning
from transprune.models.images import open_image
from transprune.tiles import picture as module
from transprune.tiles.picture import LargePicture
from transprune.tiles.pyramid import Tile, build_pyramid
from transprune.tiles.result import peak_memory

SIZE = (230, 130)


def saved(folder: Path, name: str, image: Image.Image, **options) -> Path:
    file = folder / name
    image.save(file, **options)
    return file


def shown(file: Path, level: int, side: int = 20) -> np.ndarray:
    """A level put together from its tiles, padding cut off."""
    picture = LargePicture(file)
    chosen = build_pyramid(*picture.size, side)[level]
    whole = Image.new("RGB", (chosen.columns * side, chosen.rows * side))
    for tile in chosen.tiles():
        part = picture.cut(chosen, tile)
        assert part.size == (side, side) and part.mode == "RGB"
        whole.paste(part, (tile.column * side, tile.row * side))
    return np.asarray(whole.crop((0, 0, *chosen.size))).astype(int)


def test_the_full_size_is_the_picture_itself(tmp_path):
    file = saved(tmp_path, "p.png", gradient(*SIZE))
    assert (shown(file, -1) == np.asarray(open_image(file))).all()


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_is_the_picture_resized(tmp_path, level):
    smooth = Image.linear_gradient("L").resize(SIZE).convert("RGB")
    file = saved(tmp_path, "p.png", smooth)
    size = build_pyramid(*SIZE, 20)[level].size
    expected = np.asarray(smooth.resize(size, Image.Resampling.BICUBIC)).astype(int)
    # tiles end at whole pixels of the level, where a filter sees one side only
    assert np.abs(shown(file, level) - expected).max() <= 3


def test_tiles_beyond_the_picture_are_black_there(tmp_path):
    picture = LargePicture(saved(tmp_path, "p.png", Image.new("RGB", SIZE, "white")))
    level = build_pyramid(*picture.size, 20)[-1]
    corner = np.asarray(picture.cut(level, Tile(level.rows - 1, level.columns - 1)))
    assert corner[:10, :10].min() == 255
    assert corner[10:].max() == corner[:, 10:].max() == 0


def test_the_thumbnail_is_the_whole_picture(tmp_path):
    smooth = Image.linear_gradient("L").resize(SIZE).convert("RGB")
    picture = LargePicture(saved(tmp_path, "p.png", smooth))
    thumbnail = np.asarray(picture.thumbnail(20, build_pyramid(*SIZE, 20)[0])).astype(int)
    expected = np.asarray(smooth.resize((20, 11), Image.Resampling.BICUBIC))
    assert thumbnail.shape == (20, 20, 3)
    assert np.abs(thumbnail[:11] - expected).max() <= 4
    assert thumbnail[11:].max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.tif"])
def test_turned_pictures_are_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if name == "p.jpg" else {}
    colors = Image.merge("RGB", [Image.linear_gradient("L").resize(SIZE, box=box) for box in BOXES])
    file = saved(tmp_path, name, colors, exif=exif, **options)
    expected = np.asarray(open_image(file)).astype(int)
    result = shown(file, -1)
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= 2


BOXES = [(0, 0, 256, 256), (0, 0, 9, 256), (0, 128, 256, 130)]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_is_converted_as_a_whole_picture_is(tmp_path, mode):
    if mode == "I;16":
        ramp = np.linspace(0, 65535, SIZE[0]).astype(np.uint16)[None].repeat(SIZE[1], axis=0)
        image = Image.fromarray(ramp)
    else:
        image = gradient(*SIZE).convert(mode)
        if "A" in mode:
            image.putalpha(Image.linear_gradient("L").resize(SIZE))
    file = saved(tmp_path, "p.tif" if mode == "CMYK" else "p.png", image)
    assert (shown(file, -1) == np.asarray(open_image(file))).all()


def test_a_jpeg_is_decoded_small_for_a_coarse_level(tmp_path):
    picture = LargePicture(saved(tmp_path, "p.jpg", gradient(800, 800)))
    levels = build_pyramid(800, 800, 16)
    picture.cut(levels[0], Tile(0, 0))
    assert picture._held.size == (100, 100)
    picture.cut(levels[-1], Tile(0, 0))
    assert picture._held.size == (800, 800)


@pytest.mark.skipif(peak_memory("cpu") is None, reason="the system does not tell the peak")
def test_one_decoded_copy_and_no_floats(tmp_path):
    """4 bytes per pixel for the copy; a float copy alone would be 12."""
    side = 6000
    file = saved(tmp_path, "p.tif", Image.new("RGB", (side, side), "red"))
    tracemalloc.start()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
        before = peak_memory("cpu")
        picture = LargePicture(file)
        levels = build_pyramid(*picture.size, 96)
        for level in levels[:2]:
            for tile in level.tiles():
                picture.cut(level, tile)
        picture.thumbnail(96, levels[0])
        grown = peak_memory("cpu") - before
        _, in_python = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # less where memory that an earlier test has freed serves again
    assert grown < 1.5 * 4 * side**2
    assert in_python < 0.1 * side**2


def test_pillows_limit_stands_for_everything_else(tmp_path, monkeypatch):
    file = saved(tmp_path, "p.png", gradient(*SIZE))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageError, match=r"larger than 500 pixels.*--tiles"):
        open_image(file)
    picture = LargePicture(file)
    picture.cut(build_pyramid(*SIZE, 20)[0], Tile(0, 0))
    assert Image.MAX_IMAGE_PIXELS == 500


def test_a_header_that_promises_too_much(tmp_path):
    data = bytearray(saved(tmp_path, "p.png", gradient(8, 8)).read_bytes())
    data[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    file = tmp_path / "bomb.png"
    file.write_bytes(data)
    with pytest.raises(ImageError, match=r"pixels; tiles are cut from pictures of at most"):
        LargePicture(file)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_more_pixels_than_one_copy_may_have(tmp_path, monkeypatch):
    file = saved(tmp_path, "p.png", gradient(*SIZE))
    monkeypatch.setattr(module, "MOST_PIXELS", 29_899)
    with pytest.raises(ImageError, match="29,900 pixels"):
        LargePicture(file)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_grey_without_a_known_white_is_refused(tmp_path, mode):
    file = saved(tmp_path, "p.tif", Image.new(mode, SIZE))
    with pytest.raises(ImageError, match="32-bit grey"):
        LargePicture(file)


def test_files_that_are_none(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for name, reason in (("none.png", "no file"), ("text.png", "not an image")):
        with pytest.raises(ImageError, match=reason):
            LargePicture(tmp_path / name)
    with pytest.raises(ImageError, match="is a directory"):
        LargePicture(tmp_path)


def test_a_file_cut_short_is_damaged(tmp_path):
    file = saved(tmp_path, "p.png", gradient(*SIZE))
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(ImageError, match="damaged"):
        LargePicture(file)


def test_a_jpeg_cut_short_is_damaged(tmp_path):
    """It is decoded when a level is known, so its end is missed only then."""
    file = saved(tmp_path, "p.jpg", gradient(*SIZE))
    data = file.read_bytes()
    file.write_bytes(data[: -len(data) // 3])
    picture = LargePicture(file)
    level = build_pyramid(*SIZE, 20)[0]
    with pytest.raises(ImageError, match="damaged"):
        picture.cut(level, Tile(0, 0))


def test_the_first_of_several_frames(tmp_path):
    more = [Image.new("RGB", SIZE, "blue")]
    file = saved(
        tmp_path, "p.tif", Image.new("RGB", SIZE, "red"), save_all=True, append_images=more
    )
    with pytest.warns(PruneWarning, match="2 frames; the first is used"):
        picture = LargePicture(file)
    part = picture.cut(build_pyramid(*SIZE, 20)[0], Tile(0, 0))
    assert part.getpixel((5, 5)) == (255, 0, 0)
