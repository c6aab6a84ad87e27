"""Things before they have a place: their pictures, resized, tilted and in some light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.smol.kinds import Split
from transprune.smol.sign_words import draw_word
from transprune.smol.signs import BOARDS, draw_sign
from transprune.smol.things import NO_KIND, SIGN, Canvas
from transprune.smol.world import World

_SIGNS = 0.3  # share of the things, at most two
_REPEATED = 0.35  # share of the scenes in which a kind comes several times
_TILT = 25.0  # degrees, of things; signs tilt a fifth of it
_SIZES = (44, 150)  # pixels, of the longer side of a thing


@dataclass(frozen=True, eq=False)
class Stamp:
    """A thing before it has a place.

    Attributes:
        name, kind, word, color, size: as of a `Thing`.
        picture: uint8 [H, W, 4], red, green, blue and opacity.
        letters: uint8 [H, W], 1 + number of the letter of the word that a pixel belongs to, or 0.
    """

    name: str
    kind: int
    word: str | None
    color: str | None
    size: int
    picture: NDArray[np.uint8]
    letters: NDArray[np.uint8]


def make_stamps(
    world: World, split: Split, rng: np.random.Generator, canvas: Canvas, unseen: bool
) -> list[Stamp]:
    """The things of a scene, in the order they are drawn."""
    count = int(rng.integers(canvas.things[0], canvas.things[1] + 1))
    pool = world.kinds.by_split[split if unseen else "train"]
    chosen = rng.choice(pool, count, replace=len(pool) < count).tolist()
    if count > 1 and rng.random() < _REPEATED:
        times = int(rng.integers(2, min(4, count) + 1))
        chosen[:times] = [chosen[0]] * times

    # room for all of them: the more things, the smaller the largest
    largest = min(_SIZES[1] * (1.15 - 0.07 * count), canvas.side * 0.9)
    stamps = []
    signs = 0
    for kind in chosen:
        is_sign = rng.random() < _SIGNS and signs < 2
        signs += is_sign
        if is_sign:
            stamps.append(_sign_stamp(world, split, rng, canvas.side, unseen))
        else:
            stamps.append(_kind_stamp(world, kind, rng, largest, canvas.side))
    return [stamps[number] for number in rng.permutation(len(stamps))]


def _kind_stamp(
    world: World, kind: int, rng: np.random.Generator, largest: float, side: int
) -> Stamp:
    """A thing of a kind, resized, tilted, in another light."""
    size = int(np.exp(rng.uniform(np.log(_SIZES[0]), np.log(largest))))
    angle = rng.uniform(-_TILT, _TILT)

    # smaller first: turning costs by the pixel
    image = Image.fromarray(world.kinds.pictures[kind])
    image = image.resize((size, size), Image.Resampling.BICUBIC)
    image = image.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    image = image.crop(image.getchannel("A").getbbox())
    image.thumbnail((side, side))  # a tilted thing may be larger than a small picture
    picture = np.array(image)
    light = picture[..., :3] * np.float32(rng.uniform(0.8, 1.15))
    picture[..., :3] = np.clip(light, 0, 255).astype(np.uint8)

    name = world.kinds.names[kind]
    letters = np.zeros(picture.shape[:2], np.uint8)
    return Stamp(name, kind, None, world.kinds.colors[kind], size, picture, letters)


def _sign_stamp(
    world: World, split: Split, rng: np.random.Generator, side: int, unseen: bool
) -> Stamp:
    """A sign in a font of the split, a little tilted."""
    fonts = world.fonts[split]
    word = draw_word(rng, split, unseen)
    color = list(BOARDS)[rng.integers(len(BOARDS))]
    board, ends = draw_sign(rng, word, color, fonts[rng.integers(len(fonts))])

    # column by column, the letter that stands there
    columns = np.searchsorted(ends, np.arange(board.shape[1]) + 0.5, side="right")
    numbers = np.where(columns <= len(word), columns, 0).astype(np.uint8)
    letters = np.broadcast_to(numbers, board.shape[:2])

    angle = rng.uniform(-_TILT, _TILT) / 5
    image = Image.fromarray(board).rotate(angle, Image.Resampling.BILINEAR, expand=True)
    turned = Image.fromarray(np.ascontiguousarray(letters)).rotate(angle, expand=True)
    fits = slice(0, side - 2)  # a long word loses its end rather than its place
    picture = np.array(image)[:, fits]
    return Stamp(
        SIGN, NO_KIND, word, color, max(picture.shape[:2]), picture, np.array(turned)[:, fits]
    )
