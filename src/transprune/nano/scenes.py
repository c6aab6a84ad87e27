"""Scenes: an endless supply of pictures of coloured shapes, each a pure function of a split and a number.

3 to 8 objects lie on a board of 4 x 4 cells, on a noisy ground. No two share colour and shape, so "the red circle"
means one thing. Colours and shapes are drawn with unequal odds, so that "popular" negatives mean something. Three
quarters of the objects carry a digit or a letter.

Training, validation, test and demo scenes come from different seeds, and so do their backgrounds. The test split is for
reporting only; whatever is chosen, is chosen on validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.errors import SceneError
from transprune.nano.sprites import CELL, character_mask, shape_edge, shape_mask
from transprune.nano.words import CHARACTERS, COLOR_NAMES, COLORS, LIGHT, SHAPES, SIZES

Split = Literal["train", "validation", "test", "demo"]
SPLITS: tuple[Split, ...] = get_args(Split)

SIDE = 96  # pixels
PATCH = 8
GRID = SIDE // PATCH  # visual tokens per row and column
BOARD = SIDE // CELL  # cells per row and column
OBJECTS = (3, 8)  # fewest and most of an ordinary scene
COVERED = 0.2  # a visual token belongs to an object that covers more than this share of its patch

_SEED = 20630  # the splits are streams of this one seed
_COLOR_ODDS = np.array([1.7, 1.5, 1.2, 1.0, 1.0, 0.8, 0.7, 0.6])
_SHAPE_ODDS = np.array([1.6, 1.4, 1.1, 0.9, 0.7, 0.7])
PAIRS = tuple((color, shape) for color in COLOR_NAMES for shape in SHAPES)
PAIR_ODDS = np.outer(_COLOR_ODDS, _SHAPE_ODDS).ravel() / (_COLOR_ODDS.sum() * _SHAPE_ODDS.sum())


@dataclass(frozen=True)
class SceneObject:
    """One object: what it is, the character on it (or None), and its cell, missed by dy, dx pixels."""

    color: str
    shape: str
    size: str
    character: str | None
    row: int
    col: int
    dy: int = 0
    dx: int = 0


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it.

    Attributes:
        objects: in no particular order.
        pixels: uint8 [96, 96, 3].
        owner: int64 [144], number of the object each visual token shows, row by row; -1 for the ground.
    """

    objects: tuple[SceneObject, ...]
    pixels: NDArray[np.uint8]
    owner: NDArray[np.int64]

    def tokens(self, objects: Iterable[int]) -> list[int]:
        """Numbers of the visual tokens that show any of these objects, ascending."""
        return np.flatnonzero(np.isin(self.owner, list(objects))).tolist()

    def image(self) -> Image.Image:
        """The picture, RGB."""
        return Image.fromarray(self.pixels)

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Colour and shape of everything that is there."""
        return frozenset((thing.color, thing.shape) for thing in self.objects)


def draw(split: Split, index: int, objects: tuple[int, int] = OBJECTS) -> Scene:
    """Scene number `index` of a split.

    Args:
        split: `"train"`, `"validation"`, `"test"` or `"demo"`.
        index: 0 or more; there is no last one.
        objects: fewest and most objects, within 1 and 16.

    Raises:
        SceneError: no such split, a negative number, or more objects than cells.
    """
    if split not in SPLITS or index < 0:
        raise SceneError(
            f"scenes are numbered from 0 in the splits {', '.join(SPLITS)}; got {split!r}, {index}"
        )
    if not 1 <= objects[0] <= objects[1] <= BOARD * BOARD:
        raise SceneError(f"between 1 and {BOARD * BOARD} objects fit on the board; got {objects}")
    rng = np.random.default_rng((_SEED, SPLITS.index(split), index))
    things = _place(rng, int(rng.integers(objects[0], objects[1] + 1)))
    pixels = _ground(rng, _banks(split))
    for thing in things:
        _stamp(pixels, thing, rng)
    return Scene(things, np.clip(pixels, 0, 255).astype(np.uint8), _owners(things))


def question_rng(split: Split, index: int) -> np.random.Generator:
    """The source of chance for the questions about a scene; its own stream, so pictures never depend on questions."""
    return np.random.default_rng((_SEED, len(SPLITS) + SPLITS.index(split), index))


def _place(rng: np.random.Generator, count: int) -> tuple[SceneObject, ...]:
    pairs = rng.choice(len(PAIRS), count, replace=False, p=PAIR_ODDS)
    cells = rng.permutation(BOARD * BOARD)[:count]
    characters = np.where(rng.random(count) < 0.75, rng.integers(0, len(CHARACTERS), count), -1)
    sizes, offsets = rng.integers(0, len(SIZES), count), rng.integers(-2, 3, (count, 2))
    return tuple(
        SceneObject(
            color=PAIRS[pair][0],
            shape=PAIRS[pair][1],
            size=SIZES[size],
            character=CHARACTERS[character] if character >= 0 else None,
            row=int(cell) // BOARD,
            col=int(cell) % BOARD,
            dy=int(dy),
            dx=int(dx),
        )
        for pair, cell, character, size, (dy, dx) in zip(
            pairs, cells, characters, sizes, offsets, strict=True
        )
    )


@dataclass(frozen=True)
class _Banks:
    """Textures that grounds are mixed from, float32 [n, 96, 96]: making noise anew for each scene would be slow."""

    clouds: NDArray[np.float32]
    grain: NDArray[np.float32]
    stripes: NDArray[np.float32]


@cache
def _banks(split: Split) -> _Banks:
    rng = np.random.default_rng((_SEED, 2 * len(SPLITS) + SPLITS.index(split)))
    coarse = rng.normal(0, 1, (64, 8, 8)).astype(np.float32)
    clouds = [
        np.asarray(Image.fromarray(c).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for c in coarse
    ]
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = zip(rng.uniform(0, np.pi, 32), rng.uniform(0.2, 1.2, 32), strict=True)
    stripes = [np.sin((x * np.cos(angle) + y * np.sin(angle)) * pitch) for angle, pitch in waves]
    grain = rng.normal(0, 1, (64, SIDE, SIDE)).astype(np.float32)
    return _Banks(np.stack(clouds), grain, np.stack(stripes).astype(np.float32))


def _ground(rng: np.random.Generator, banks: _Banks) -> NDArray[np.float32]:
    """A tinted ground of clouds, grain and stripes. -> float32 [96, 96, 3]."""
    tint = (rng.uniform(70, 180) + rng.uniform(-18, 18, 3)).astype(np.float32)
    grain = banks.grain[rng.integers(64)][:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
    texture = (
        banks.clouds[rng.integers(64)] * np.float32(rng.uniform(8, 22))
        + grain * np.float32(rng.uniform(4, 14))
        + banks.stripes[rng.integers(32)] * np.float32(rng.uniform(0, 14))
    )
    return tint + texture[..., None]


def _window(thing: SceneObject) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where an object lies on the picture, and which part of its stamp that is."""
    spans = []
    for cell, offset in ((thing.row, thing.dy), (thing.col, thing.dx)):
        start = cell * CELL + offset
        first, last = max(start, 0), min(start + CELL, SIDE)
        spans.append((slice(first, last), slice(first - start, last - start)))
    (rows, stamp_rows), (cols, stamp_cols) = spans
    return (rows, cols), (stamp_rows, stamp_cols)


def _stamp(pixels: NDArray[np.float32], thing: SceneObject, rng: np.random.Generator) -> None:
    """Draw an object into the picture: dark outline, body, character."""
    where, part = _window(thing)
    region = pixels[where]
    color = np.asarray(COLORS[thing.color], np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
    region += shape_edge(thing.shape, thing.size)[part][..., None] * 0.8 * (25 - region)
    region += shape_mask(thing.shape, thing.size)[part][..., None] * (color - region)
    if thing.character is not None:
        ink = np.float32(10 if thing.color in LIGHT else 250)
        region += character_mask(thing.character, thing.size, thing.shape)[part][..., None] * (
            ink - region
        )


def _owners(things: tuple[SceneObject, ...]) -> NDArray[np.int64]:
    """The object that covers most of each patch, where it covers enough of it."""
    owner, most = np.full((GRID, GRID), -1, np.int64), np.full((GRID, GRID), COVERED, np.float32)
    for number, thing in enumerate(things):
        where, part = _window(thing)
        body = np.zeros((SIDE, SIDE), np.float32)
        body[where] = shape_mask(thing.shape, thing.size)[part]
        covered = body.reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3))
        owner[covered > most] = number
        most = np.maximum(most, covered)
    return owner.ravel()
