"""Where a picture file ends, by the structure of its format.

A file that is a picture and something else at once (a ZIP archive behind a PNG) is refused: its
other half has no business here. Pillow ignores what follows a picture, so the end is found here.
"""

from __future__ import annotations

from collections.abc import Callable

CUT = "it is cut short"


def end_of(data: bytes, form: str) -> int:
    """Number of bytes that belong to the picture at the start of `data`.

    Args:
        data: the file.
        form: its format as Pillow names it: PNG, JPEG, MPO, GIF or WEBP.

    Raises:
        ValueError: the file breaks off, or is not of that format.
    """
    try:
        return _ENDS[form](data)
    except IndexError:
        raise ValueError(CUT) from None


def _number(data: bytes, start: int, size: int, order: str = "big") -> int:
    field = data[start : start + size]
    if len(field) < size:
        raise ValueError(CUT)
    return int.from_bytes(field, order)  # type: ignore[arg-type]


def _png(data: bytes) -> int:
    """Chunks of length, type, content and checksum; the last is IEND."""
    at = 8
    while True:
        length = _number(data, at, 4)
        kind = data[at + 4 : at + 8]
        at += 12 + length
        if at > len(data):
            raise ValueError(CUT)
        if kind == b"IEND":
            return at


def _jpeg(data: bytes) -> int:
    """Segments up to the end marker. A phone's file goes on with further pictures."""
    at = 0
    while data[at : at + 2] == b"\xff\xd8":
        at = _one_jpeg(data, at + 2)
    return at


def _one_jpeg(data: bytes, at: int) -> int:
    """The end of one picture, whose start marker lies in front of `at`."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise ValueError(CUT)

        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
        elif marker == 0xD9:  # end of image
            return at + 2
        # an escaped byte of the compressed data, a restart, or a marker without content
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + _number(data, at + 2, 2)


def _gif(data: bytes) -> int:
    """Extensions and images of sub-blocks, up to the trailer."""
    at = 13 + _colours(data[10])
    while True:
        block = data[at]
        if block == 0x3B:
            return at + 1
        if block == 0x21:
            at = _sub_blocks(data, at + 2)
        elif block == 0x2C:
            at = _sub_blocks(data, at + 11 + _colours(data[at + 9]))
        else:
            raise ValueError("a block of an unknown kind")


def _colours(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _sub_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1


def _webp(data: bytes) -> int:
    """A RIFF container says its own length, and is filled up to an even one."""
    size = _number(data, 4, 4, "little")
    end = 8 + size + size % 2
    if end > len(data):
        raise ValueError(CUT)
    return end


_ENDS: dict[str, Callable[[bytes], int]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "GIF": _gif,
    "WEBP": _webp,
}
