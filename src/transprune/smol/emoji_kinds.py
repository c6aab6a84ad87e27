"""Kinds of things with their pictures: the emoji of the font Noto Color Emoji, by Unicode's names.

The font is under the SIL Open Font License 1.1, which lets pictures made with it be used freely. The
names come from the package `emoji`, which has them from Unicode.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.errors import MissingExtra
from transprune.smol.kinds import FLAG, SIDE, Kinds

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")  # where Debian's package puts it
WORDS = 3  # of the longest name

_STRIKE = 109  # the one size in which the font has pictures
_CANVAS = 160  # pixels
_TONES = range(0x1F3FB, 0x1F400)  # skin tones, which the names do not say
_FLAGS = range(0x1F1E6, 0x1F200)  # the letters that country flags are written with

# Near-copies of other pictures, symbols that are no things, and names that are no descriptions.
_LEFT_OUT = re.compile(
    r"keycap|button|arrow|facing|o.clock|thirty|family|\bholding hands\b|symbol|mark\b|square\b|zone"
    r"|[^a-zA-Z' -]"
)

_SMALL = 32  # pixels: side of the pictures that are compared
_SAME = 0.045  # mean difference below which two pictures count as one, of 1


def emoji_kinds(font: Path = FONT) -> Kinds:
    """Draw every emoji that is a thing with a name of at most three words.

    Flags are called "flag of ...". Of pictures that look the same, the first one stays.

    Raises:
        MissingExtra: the font, the package `emoji` or the text layout library is missing.
    """
    names = []
    pictures = []

    drawer = _drawer(font)
    for character, name in _candidates():
        picture = _draw(drawer, character)
        if picture is not None and name not in names:
            names.append(name)
            pictures.append(picture)

    stack = np.stack(pictures)
    kept = _without_copies(stack)
    return Kinds(tuple(names[number] for number in kept), stack[kept])


def _candidates() -> Iterator[tuple[str, str]]:
    """Emoji with their names, in the order of their code points."""
    try:
        import emoji
    except ImportError as error:
        raise MissingExtra("names of emoji: pip install 'transprune[smol]'") from error

    for character in sorted(emoji.EMOJI_DATA):
        entry = emoji.EMOJI_DATA[character]
        if entry["status"] != emoji.STATUS["fully_qualified"]:
            continue

        codes = [ord(part) for part in character]
        if any(code in _TONES for code in codes):
            continue

        name = entry["en"].strip(":").replace("_", " ").replace("\u2019", "'")
        is_flag = codes[0] in _FLAGS
        fits = len(name.split()) <= WORDS and not _LEFT_OUT.search(name)
        if fits:
            yield character, FLAG + name if is_flag else name.lower()


def _drawer(font: Path) -> Any:
    """The font, with a layout that joins the characters of a sequence into one picture."""
    from PIL import ImageFont, features

    if not features.check("raqm"):
        raise MissingExtra(
            "this Pillow has no text layout (raqm), and would draw some emoji in pieces: install "
            "Pillow's own wheel"
        )
    if not font.is_file():
        raise MissingExtra(
            f"no font {font}. On Debian: apt-get install fonts-noto-color-emoji; elsewhere give "
            "NotoColorEmoji.ttf with --font FILE"
        )
    return ImageFont.truetype(str(font), _STRIKE, layout_engine=ImageFont.Layout.RAQM)


def _draw(font: Any, character: str) -> NDArray[np.uint8] | None:
    """One picture, centred, as large as fits. -> uint8 [128, 128, 4], or None if the font has none.

    A sequence that the font does not know comes out as several pictures side by side: left out.
    """
    from PIL import ImageDraw

    if font.getlength(character) > 1.3 * font.getlength("\U0001f34e"):
        return None

    canvas = Image.new("RGBA", (_CANVAS, _CANVAS), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((8, 8), character, font=font, embedded_color=True)
    box = canvas.getchannel("A").getbbox()
    if box is None:
        return None

    picture = canvas.crop(box)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    framed = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    framed.paste(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return np.asarray(framed)


def _without_copies(pictures: NDArray[np.uint8]) -> list[int]:
    """Numbers of the pictures that look like none before them. uint8 [K, 128, 128, 4]."""
    step = SIDE // _SMALL
    shape = (len(pictures), _SMALL, step, _SMALL, step, 4)
    small = pictures.reshape(shape).mean(axis=(2, 4)).astype(np.float32) / 255  # [K, 32, 32, 4]
    # colours count where something is drawn
    flat = (small * small[..., 3:]).reshape(len(pictures), -1)

    kept: list[int] = []
    for number, picture in enumerate(flat):
        differences = np.abs(flat[kept] - picture).mean(axis=1)
        if not (differences < _SAME).any():
            kept.append(number)
    return kept
