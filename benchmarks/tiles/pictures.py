"""Drawn pictures of 8,000 x 8,000 pixels with a few small objects, and questions about them.

The bundled model knows objects of 24 x 24 pixels in the cells of a board of four by four, and that
is what a tile of 96 pixels shows at one level of the pyramid: every object lies in a cell of the
board that the tiles of this level make. A cell is 384 pixels of the picture where that level is the
sixteenth (500 pixels), 192 where it is the eighth. Scaled to 96 pixels as a whole, a cell is 4.6 or
2.3 pixels wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.nano.questions import Question, ask_with_retries
from transprune.nano.scenes import OBJECTS, PAIR_ODDS, PAIRS, Scene, SceneObject
from transprune.nano.sprites import CELL, character_mask, shape_edge, shape_mask
from transprune.nano.words import CHARACTERS, COLORS, LIGHT, SIZES
from transprune.tiles.pyramid import Box

SIDE = 8000
CATEGORIES = ("read", "shape", "color")
SPLITS = ("choose", "test")  # settings are chosen on the first; figures are of the second

_SEED = 50307588
_EMPTY = np.zeros((96, 96, 3), np.uint8)

Pixels = NDArray[np.uint8]
Rng = np.random.Generator


@dataclass(frozen=True)
class LargeScene:
    """A large picture.

    Attributes:
        pixels: uint8 [8000, 8000, 3].
        boxes: of each object, pixels.
        questions: about single objects, at most one of each category.
    """

    pixels: Pixels
    boxes: tuple[Box, ...]
    questions: tuple[Question, ...]


def draw_large(split: str, number: int, scale: int, side: int = SIDE) -> LargeScene:
    """Draw picture `number` of a split.

    Args:
        split: one of `SPLITS`.
        number: of the picture.
        scale: size of its objects over that of the bundled world's.
        side: of the picture, pixels.
    """
    rng = np.random.default_rng((_SEED, SPLITS.index(split), scale, number))
    pixels = _background(rng, side)
    things = _place(rng, side // (CELL * scale))

    boxes = []
    for thing in things:
        cell = CELL * scale
        left = thing.col * cell
        top = thing.row * cell
        _stamp(pixels[top : top + cell, left : left + cell], thing, scale, rng)
        boxes.append((left, top, left + cell, top + cell))

    scene = Scene(things, _EMPTY, np.full(144, -1, np.int64))
    found = (ask_with_retries(scene, category, rng) for category in CATEGORIES)
    return LargeScene(pixels, tuple(boxes), tuple(q for q in found if q is not None))


def _background(rng: Rng, side: int) -> Pixels:
    """A tint under clouds and grain. uint8 [side, side, 3]."""
    tint = rng.uniform(70, 180) + rng.uniform(-18, 18, 3)
    clouds = Image.fromarray(rng.normal(0, 1, (8, 8)).astype(np.float32))
    texture = np.asarray(clouds.resize((500, 500), Image.Resampling.BICUBIC))
    texture = texture * rng.uniform(8, 22) + rng.normal(0, 1, (500, 500)) * rng.uniform(4, 14)

    # enlarged in 8 bits: the large picture never exists in floats
    small = np.clip(tint + texture[..., None], 0, 255).astype(np.uint8)
    large = Image.fromarray(small).resize((side, side), Image.Resampling.BILINEAR)
    return np.array(large)


def _place(rng: Rng, cells: int) -> tuple[SceneObject, ...]:
    """Three to eight objects with different colour-shape pairs in different cells."""
    count = int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))
    pairs = rng.choice(len(PAIRS), count, replace=False, p=PAIR_ODDS)
    places = rng.permutation(cells * cells)[:count]

    things = []
    for pair, place in zip(pairs, places, strict=True):
        color, shape = PAIRS[pair]
        row, col = divmod(int(place), cells)
        size = SIZES[rng.integers(len(SIZES))]
        character = CHARACTERS[rng.integers(len(CHARACTERS))]
        things.append(SceneObject(color, shape, size, character, row, col))
    return tuple(things)


def _stamp(region: Pixels, thing: SceneObject, scale: int, rng: Rng) -> None:
    """Draw an object into its cell, in place: dark outline, body, character."""
    new = region.astype(np.float32)
    color = np.asarray(COLORS[thing.color], np.float32) + rng.uniform(-14, 14, 3)

    # `+= mask * (value - new)` blends towards the value by the mask
    new += 0.8 * _enlarge(shape_edge(thing.shape, thing.size), scale) * (25 - new)
    new += _enlarge(shape_mask(thing.shape, thing.size), scale) * (color - new)
    assert thing.character is not None
    ink = 10 if thing.color in LIGHT else 250
    new += _enlarge(character_mask(thing.character, thing.size, thing.shape), scale) * (ink - new)
    region[:] = np.clip(new, 0, 255).astype(np.uint8)


def _enlarge(mask: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    """A mask of one cell at the size of the picture, [side, side, 1]."""
    side = CELL * scale
    small = Image.fromarray((mask * 255).astype(np.uint8))
    large = small.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32)[..., None] / np.float32(255)
