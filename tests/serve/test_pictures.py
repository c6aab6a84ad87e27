"""Hostile picture files: each is refused, and no pixel of a bomb is decoded."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import pytest
from PIL import Image

from serve.conftest import data_url, small, to_bytes
from transprune.serve.ends import end_of
from transprune.serve.limits import Limits
from transprune.serve.pictures import decode_data_url, read_picture
from transprune.serve.refusal import Refusal

FILES = {
    "PNG": to_bytes(small(), "PNG"),
    "JPEG": to_bytes(small(), "JPEG"),
    "progressive": to_bytes(small(size=(200, 160)), "JPEG", progressive=True),
    "GIF": to_bytes(small(), "GIF"),
    "WEBP": to_bytes(small(), "WEBP"),
    "lossless": to_bytes(small(), "WEBP", lossless=True),
    "noise": to_bytes(Image.effect_noise((120, 90), 80), "JPEG", quality=95),
}
ZIP = b"PK\x03\x04" + b"\0" * 18 + b"PK\x05\x06" + b"\0" * 18


def read(data, **limits):
    return read_picture(data, "messages.0.content.0.image_url", Limits(**limits))


def refusal(data, **limits):
    with pytest.raises(Refusal) as caught:
        read(data, **limits)
    assert caught.value.status == 400
    assert caught.value.param == "messages.0.content.0.image_url"
    return str(caught.value)


def png_of(width, height):
    """A PNG whose header claims a size, with hardly any data."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_read(name):
    image = read(FILES[name])
    assert image.mode == "RGB" and image.width >= 20


@pytest.mark.parametrize("name", FILES)
def test_the_end_is_found_and_nothing_may_follow(name):
    data = FILES[name]
    with Image.open(io.BytesIO(data)) as image:
        assert end_of(data + ZIP, image.format) == len(data)
    assert "something else follows" in refusal(data + ZIP)
    assert "something else follows" in refusal(data + b"<script>alert(1)</script>")
    assert read(data + b"\0\0\0\0").mode == "RGB"  # fillers are harmless


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_is_refused_wherever_it_is_cut(name):
    data = FILES[name]
    for length in [*range(0, len(data), max(1, len(data) // 40)), len(data) - 1]:
        refusal(data[:length])


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_are_refused_or_read_but_never_crash(name):
    data = FILES[name]
    for place in range(0, len(data), max(1, len(data) // 60)):
        damaged = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        with contextlib.suppress(Refusal):  # anything else is a crash
            read(damaged)


@pytest.mark.parametrize("size", [(5_001, 5_000), (65_535, 65_535), (2**31 - 1, 1)])
def test_a_bomb_is_refused_by_its_header(size):
    assert "pixels" in refusal(png_of(*size))


def test_the_limit_of_pixels_is_the_server_s(monkeypatch):
    assert "20 x 16 are more than 319 pixels" in refusal(FILES["PNG"], pixels=319)
    assert read(FILES["PNG"], pixels=320).size == (20, 16)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 51), (5_000, 99)])
def test_a_line_of_pixels_is_refused(size):
    assert "longer than 50 times" in refusal(to_bytes(small(size=size)))
    assert read(to_bytes(small(size=(1, 50)))).size == (1, 50)


def test_compressed_text_does_not_fill_the_memory():
    data = FILES["PNG"]
    text = b"k\0\0" + zlib.compress(b"x" * 200_000_000, 9)
    chunk = (
        struct.pack(">I", len(text))
        + b"zTXt"
        + text
        + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    )
    refusal(data[:33] + chunk + data[33:])


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PPM", "ICO", "PDF", "EPS", "TGA", "PCX"])
def test_other_formats_are_not_opened(form):
    assert "no readable PNG, JPEG, WEBP, GIF" in refusal(to_bytes(small(), form))


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"<svg/>", ZIP, b"RIFF\0\0\0\0WEBP"],
)
def test_what_is_no_picture_is_refused(data):
    refusal(data)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused(form):
    frames = [small("red"), small("blue"), small("green")]
    data = to_bytes(frames[0], form, save_all=True, append_images=frames[1:])
    assert "has 3 frames" in refusal(data)


def test_two_pictures_of_a_phone_in_one_jpeg_are_read():
    data = to_bytes(small(), "MPO", save_all=True, append_images=[small("blue")])
    assert read(data).size == (20, 16)
    assert "something else follows" in refusal(data + ZIP)


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP"])
def test_an_empty_file_has_no_end(form):
    with pytest.raises(ValueError, match="cut short"):
        end_of(b"", form)


# ---------------------------------------------------------------- data URLs


def test_a_data_url_is_decoded():
    assert decode_data_url(data_url(b"abc"), "p") == b"abc"
    assert decode_data_url("DATA:image/PNG;base64,YWJj", "p") == b"abc"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data:",
        "data:image/png,abc",
        "data:text/html;base64,YWJj",
        "data:image/png;base64;base64,YWJj",
        "data:image/svg+xml;utf8,<svg/>",
        "data:image/png;base64,%%%",
        "data:image/png;base64,YWJ",
        "data:image/png;base64,YW Jj",
        "data:image/png;base64,YWJj\n",
        "data:image/png;base64,ÄÖÜ",
        "file:///etc/passwd",
        "/etc/passwd",
        "..\\..\\secret.png",
    ],
)
def test_another_kind_of_url_is_refused(url):
    with pytest.raises(Refusal) as caught:
        decode_data_url(url, "p")
    assert caught.value.status == 400 and caught.value.param == "p"
