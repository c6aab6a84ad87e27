"""Image files as people hand them over, each made here with Pillow."""

from __future__ import annotations

import os
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from transprune.errors import ImageError, PruneWarning
from transprune.models.images import open_image

RED = (255, 0, 0)
WHITE = (255, 255, 255)


def photo(size=(40, 20)):
    """Left half dark red, right half light grey, so that turning it is noticed."""
    picture = Image.new("RGB", size, (230, 230, 230))
    picture.paste((120, 10, 10), (0, 0, size[0] // 2, size[1]))
    return picture


def save(folder, name, picture, **options):
    file = folder / name
    picture.save(file, **options)
    return file


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.webp", "p.bmp", "p.gif", "p.tif", "p.ppm"])
def test_usual_formats(tmp_path, name):
    picture = open_image(save(tmp_path, name, photo()))
    assert picture.mode == "RGB"
    assert picture.size == (40, 20)
    assert np.abs(np.asarray(picture).astype(int)[10, 5] - (120, 10, 10)).max() < 12


def test_accepts_text_and_path(tmp_path):
    file = save(tmp_path, "p.png", photo())
    assert open_image(str(file)).tobytes() == open_image(file).tobytes() == photo().tobytes()


def test_missing_file_says_so(tmp_path):
    with pytest.raises(ImageError, match="no file"):
        open_image(tmp_path / "nothing.png")


def test_directory(tmp_path):
    with pytest.raises(ImageError, match="directory"):
        open_image(tmp_path)


@pytest.mark.parametrize("name", ["x" * 400 + ".png", "a\0b.png"])
def test_impossible_names(name):
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(name)


def test_empty_file(tmp_path):
    file = tmp_path / "empty.png"
    file.touch()
    with pytest.raises(ImageError, match="0 bytes"):
        open_image(file)


def test_not_an_image(tmp_path):
    file = tmp_path / "text.png"
    file.write_text("this is a shopping list, not a picture\n" * 20)
    with pytest.raises(ImageError, match="not an image"):
        open_image(file)


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.webp", "p.gif", "p.bmp", "p.tif"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    file = save(tmp_path, name, Image.fromarray(noise))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"damaged|not an image"):
        open_image(file)


@pytest.mark.parametrize("name", ["p.gif", "p.png", "p.webp", "p.tif"])
def test_first_frame_of_several(tmp_path, name):
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, (0, 255, 0), (0, 0, 255))]
    options = {} if name == "p.tif" else {"duration": 100}
    if name == "p.webp":
        options["lossless"] = True
    file = save(tmp_path, name, frames[0], save_all=True, append_images=frames[1:], **options)
    with pytest.warns(PruneWarning, match="3 frames; the first is used"):
        picture = open_image(file)
    assert picture.getpixel((8, 8)) == RED


def test_phone_pictures_with_a_second_view_do_not_warn(tmp_path):
    file = save(tmp_path, "p.mpo", photo(), save_all=True, append_images=[photo()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_image(file).size == (40, 20)


def test_one_pixel(tmp_path):
    picture = open_image(save(tmp_path, "p.png", Image.new("RGB", (1, 1), RED)))
    assert picture.size == (1, 1)
    assert picture.getpixel((0, 0)) == RED


def test_cmyk(tmp_path):
    file = save(tmp_path, "p.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=100)
    picture = open_image(file)
    assert picture.mode == "RGB"
    assert np.abs(np.array(picture.getpixel((8, 8))) - RED).max() < 8


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path, name):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None].repeat(4, axis=0)
    picture = open_image(save(tmp_path, name, Image.fromarray(ramp)))
    assert picture.mode == "RGB"
    assert np.asarray(picture)[0, :, 0].tolist() == list(range(256))


@pytest.mark.parametrize("top", [255, 65535, 10_000_000])
def test_wide_integer_grey(tmp_path, top):
    ramp = np.linspace(0, top, 256).round().astype(np.int32)[None].repeat(4, axis=0)
    picture = open_image(save(tmp_path, "p.tif", Image.fromarray(ramp)))
    assert np.abs(np.asarray(picture)[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_float_grey(tmp_path, top):
    ramp = np.linspace(0, top, 256, dtype=np.float32)[None].repeat(4, axis=0)
    ramp[0, 0] = np.nan
    picture = open_image(save(tmp_path, "p.tif", Image.fromarray(ramp)))
    assert np.abs(np.asarray(picture)[1, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_transparent_palette_on_white(tmp_path):
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([0, 0, 0, *RED] + [0] * 762)
    picture.putpixel((3, 3), 1)
    result = open_image(save(tmp_path, "p.png", picture, transparency=0))
    assert result.getpixel((0, 0)) == WHITE
    assert result.getpixel((3, 3)) == RED


def test_rgb_with_a_transparent_colour(tmp_path):
    picture = Image.new("RGB", (4, 4), (1, 2, 3))
    picture.putpixel((1, 1), RED)
    result = open_image(save(tmp_path, "p.png", picture, transparency=(1, 2, 3)))
    assert result.getpixel((0, 0)) == WHITE
    assert result.getpixel((1, 1)) == RED


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composed_on_white(tmp_path, mode):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 1), (0, 0, 0, 255))
    picture.putpixel((2, 2), (0, 0, 0, 128))
    result = open_image(save(tmp_path, "p.png", picture.convert(mode)))
    assert result.getpixel((0, 0)) == WHITE
    assert result.getpixel((1, 1)) == (0, 0, 0)
    assert 120 <= result.getpixel((2, 2))[0] <= 135


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white(tmp_path, mode):
    assert open_image(save(tmp_path, "p.png", photo().convert(mode))).mode == "RGB"


TURNED = {
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_270,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("name", ["p.jpg", "p.png", "p.tif"])
def test_exif_rotation(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path, name, photo(), exif=exif)
    turn = TURNED[orientation]
    expected = photo() if turn is None else photo().transpose(turn)
    result = open_image(file)
    assert result.size == expected.size
    assert np.abs(np.asarray(result).astype(int) - np.asarray(expected)).max() < 40


def test_decompression_bomb(tmp_path, monkeypatch):
    file = save(tmp_path, "p.png", photo())
    for limit in (
        500,
        300,
    ):  # 800 pixels: above the limit Pillow warns, above twice the limit it raises
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ImageError, match="scale it down"):
            open_image(file)


def test_a_picture_of_a_hundred_megapixels(tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "p.png")
    with pytest.raises(ImageError, match=r"larger than 89,478,485 pixels.*scale it down"):
        open_image(tmp_path / "p.png")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="no regular file"):
        open_image(pipe)


def test_a_header_that_promises_too_much(tmp_path):
    """The size of a picture is only a claim; nothing may be allocated for it."""
    data = bytearray(save(tmp_path, "p.png", photo()).read_bytes())
    data[16:24] = (2**31 - 1).to_bytes(4, "big") * 2  # width and height
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    file = tmp_path / "bomb.png"
    file.write_bytes(data)
    with pytest.raises(ImageError, match="scale it down"):
        open_image(file)


@pytest.mark.parametrize("error", [zlib.error("bad"), ZeroDivisionError(), RecursionError("deep")])
def test_whatever_a_reader_raises_is_our_error(tmp_path, monkeypatch, error):
    def fail(*arguments):
        raise error

    file = save(tmp_path, "p.png", photo())
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError, match="damaged or cut short"):
        open_image(file)
