"""Scenes: an endless supply of pictures of coloured shapes, each fixed by its split and number.

3 to 8 objects lie on a board of 4 x 4 cells, on a noisy background. No two objects share both
colour and shape, so "the red circle" is unambiguous. Colours and shapes are drawn with unequal
odds, so that "popular" negatives mean something. Three quarters of the objects carry a digit or
a letter.

Training, validation, test and demo scenes come from different seeds, and so do their backgrounds.
The test split is for reporting only; every choice is made on validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.errors import SceneError
from transprune.nano.backgrounds import Pixels, background, make_textures
from transprune.nano.sprites import CELL, character_mask, shape_edge, shape_mask
from transprune.nano.words import CHARACTERS, COLOR_NAMES, COLORS, LIGHT, SHAPES, SIZES

Split = Literal["train", "validation", "test", "demo"]
SPLITS: tuple[Split, ...] = get_args(Split)

SIDE = 96  # pixels
PATCH = 8  # pixels
GRID = SIDE // PATCH  # visual tokens per row and column
BOARD = SIDE // CELL  # cells per row and column
OBJECTS = (3, 8)  # fewest and most objects of an ordinary scene
COVERED = 0.2  # a visual token belongs to an object that covers more than this share of its patch

# Three random streams per split follow from this one seed: scenes, questions, backgrounds.
_SEED = 20630
_COLOR_ODDS = np.array([1.7, 1.5, 1.2, 1.0, 1.0, 0.8, 0.7, 0.6])
_SHAPE_ODDS = np.array([1.6, 1.4, 1.1, 0.9, 0.7, 0.7])
PAIRS = tuple((color, shape) for color in COLOR_NAMES for shape in SHAPES)
PAIR_ODDS = np.outer(_COLOR_ODDS, _SHAPE_ODDS).ravel() / (_COLOR_ODDS.sum() * _SHAPE_ODDS.sum())

_CHARACTER_SHARE = 0.75  # of the objects


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        color, shape, size: its looks.
        character: the digit or letter on it, or None.
        row, col: its cell on the board, from 0.
        dy, dx: its offset from the middle of the cell, pixels.
    """

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
    """A picture and the objects on it.

    Attributes:
        objects: in no particular order.
        pixels: uint8 [96, 96, 3].
        owner: int64 [144], number of the object on each visual token, row by row; -1 where only
            the background is.
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
        """Colour and shape of every object."""
        return frozenset((thing.color, thing.shape) for thing in self.objects)


def draw(split: Split, index: int, objects: tuple[int, int] = OBJECTS) -> Scene:
    """Draw scene number `index` of a split.

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

    # a scene depends on nothing but its split and number, however many are drawn
    rng = np.random.default_rng((_SEED, SPLITS.index(split), index))
    count = int(rng.integers(objects[0], objects[1] + 1))
    things = _place_objects(rng, count)

    # textures differ between splits, so that test backgrounds were never trained on
    texture_seed = (_SEED, 2 * len(SPLITS) + SPLITS.index(split))
    pixels = background(rng, make_textures(texture_seed, SIDE))
    for thing in things:
        _stamp(pixels, thing, rng)

    finished = np.clip(pixels, 0, 255).astype(np.uint8)
    return Scene(things, finished, _owners(things))


def question_rng(split: Split, index: int) -> np.random.Generator:
    """The random generator for questions about a scene.

    It is a stream of its own, so that pictures never depend on questions.
    """
    return np.random.default_rng((_SEED, len(SPLITS) + SPLITS.index(split), index))


def _place_objects(rng: np.random.Generator, count: int) -> tuple[SceneObject, ...]:
    """Draw `count` objects with different colour-shape pairs in different cells."""
    # The order of these draws defines every scene; changing it changes all of them.
    pairs = rng.choice(len(PAIRS), count, replace=False, p=PAIR_ODDS)
    cells = rng.permutation(BOARD * BOARD)[:count]
    has_character = rng.random(count) < _CHARACTER_SHARE
    characters = rng.integers(0, len(CHARACTERS), count)
    sizes = rng.integers(0, len(SIZES), count)
    offsets = rng.integers(-2, 3, (count, 2))  # pixels

    things = []
    for number in range(count):
        color, shape = PAIRS[pairs[number]]
        character = CHARACTERS[characters[number]] if has_character[number] else None
        row, col = divmod(int(cells[number]), BOARD)
        dy, dx = offsets[number].tolist()
        things.append(SceneObject(color, shape, SIZES[sizes[number]], character, row, col, dy, dx))

    return tuple(things)


Window = tuple[slice, slice]  # rows, columns


def _window(thing: SceneObject) -> tuple[Window, Window]:
    """Rows and columns of the picture that an object covers, and the same part of its stamp.

    An object at the rim may reach beyond the picture; then only a part of its stamp is drawn.
    """
    on_picture = []
    on_stamp = []

    for cell, offset in ((thing.row, thing.dy), (thing.col, thing.dx)):
        start = cell * CELL + offset
        first = max(start, 0)
        last = min(start + CELL, SIDE)
        on_picture.append(slice(first, last))
        on_stamp.append(slice(first - start, last - start))

    return (on_picture[0], on_picture[1]), (on_stamp[0], on_stamp[1])


def _stamp(pixels: Pixels, thing: SceneObject, rng: np.random.Generator) -> None:
    """Draw an object into the picture, in place: dark outline, body, character."""
    where, part = _window(thing)
    region = pixels[where]  # a view, so the picture itself changes

    base = np.asarray(COLORS[thing.color], np.float32)
    color = base + rng.uniform(-14, 14, 3).astype(np.float32)

    # `+= mask * (new - region)` blends towards the new colour by the mask
    edge = shape_edge(thing.shape, thing.size)[part][..., None]
    region += edge * 0.8 * (25 - region)
    body = shape_mask(thing.shape, thing.size)[part][..., None]
    region += body * (color - region)

    if thing.character is not None:
        ink = np.float32(10 if thing.color in LIGHT else 250)
        strokes = character_mask(thing.character, thing.size, thing.shape)[part][..., None]
        region += strokes * (ink - region)


def _owners(things: tuple[SceneObject, ...]) -> NDArray[np.int64]:
    """For each patch, the object that covers most of it, if that is more than `COVERED`."""
    owner = np.full((GRID, GRID), -1, np.int64)
    most = np.full((GRID, GRID), COVERED, np.float32)

    for number, thing in enumerate(things):
        where, part = _window(thing)
        body = np.zeros((SIDE, SIDE), np.float32)
        body[where] = shape_mask(thing.shape, thing.size)[part]

        # [96, 96] -> [12, 8, 12, 8] -> mean coverage of each patch [12, 12]
        covered = body.reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3))
        owner[covered > most] = number  # a tie stays with the earlier object
        most = np.maximum(most, covered)

    return owner.ravel()
