"""Scenes: pictures of one to eight things and signs, each fixed by its split and number.

Things have sizes of three to ten patches, any place, a tilt, and may cover each other in part. In
a third of the scenes a kind comes several times. Validation and test have photographs and fonts of
their own, and draw known kinds and words, or with `unseen=True` those that no training picture has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.errors import SceneError
from transprune.nano.backgrounds import Pixels
from transprune.smol.backgrounds import draw_background
from transprune.smol.kinds import SPLITS, Split
from transprune.smol.patches import letters_on, owners
from transprune.smol.stamps import Stamp, make_stamps
from transprune.smol.things import ORDINARY, PATCH, Canvas, Thing
from transprune.smol.world import World

_SEED = 2507  # three streams per split follow from it
_TRIES = 25  # places tried for a thing before it is left out
_COVER = 0.2  # most that a later thing covers, of what is visible of an earlier one
_COVER_SIGN = 0.02  # the same for a sign, which must stay readable


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and the things in it.

    Attributes:
        things: in the order they were drawn.
        pixels: uint8 [side, side, 3].
        owner: int64 [grid * grid], number of the thing on each patch, row by row; -1 on the ground.
        letters: per patch the characters that begin, end or stand on it, or an empty text.
    """

    things: tuple[Thing, ...]
    pixels: NDArray[np.uint8]
    owner: NDArray[np.int64]
    letters: tuple[str, ...]

    def image(self) -> Image.Image:
        """The picture, RGB."""
        return Image.fromarray(self.pixels)


def draw(
    world: World, split: Split, index: int, canvas: Canvas = ORDINARY, unseen: bool = False
) -> Scene:
    """Draw scene number `index` of a split.

    Args:
        world: what to draw from.
        split: `"train"`, `"validation"` or `"test"`.
        index: 0 or more; there is no last one.
        canvas: size and contents.
        unseen: draw kinds and words that no training picture has; of validation and test only.

    Raises:
        SceneError: no such split, a negative number, an impossible canvas, or unseen kinds for
            training.
    """
    _check(split, index, canvas, unseen)
    rng = np.random.default_rng((_SEED, SPLITS.index(split), index, unseen, canvas.side))
    pixels = draw_background(rng, world.photographs[split], split, canvas.side)

    # which thing each pixel shows, and which letter of it
    top = np.full((canvas.side, canvas.side), -1, np.int64)
    inked = np.zeros((canvas.side, canvas.side), np.uint8)
    things: list[Thing] = []
    for stamp in make_stamps(world, split, rng, canvas, unseen):
        if box := _find_place(stamp, top, things, rng):
            _press(stamp, box, pixels, top, inked, len(things))
            things.append(Thing(stamp.name, stamp.kind, stamp.word, stamp.color, stamp.size, box))

    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32) * np.float32(rng.uniform(0, 5))
    pixels += grain[..., None]
    finished = np.clip(pixels, 0, 255).astype(np.uint8)
    return Scene(tuple(things), finished, owners(top), letters_on(things, top, inked))


def question_rng(
    split: Split, index: int, unseen: bool = False, seed: int = 0
) -> np.random.Generator:
    """The random generator for questions about a scene, a stream of its own for every seed."""
    stream = (_SEED, len(SPLITS) + SPLITS.index(split), index, unseen)
    return np.random.default_rng((*stream, seed) if seed else stream)


def _check(split: Split, index: int, canvas: Canvas, unseen: bool) -> None:
    """Refuse what cannot be drawn.

    Raises:
        SceneError: as of `draw`.
    """
    if split not in SPLITS or index < 0:
        raise SceneError(
            f"scenes are numbered from 0 in the splits {', '.join(SPLITS)}; got {split!r}, {index}"
        )
    if canvas.side % PATCH or not 1 <= canvas.things[0] <= canvas.things[1]:
        raise SceneError(
            f"a side is a multiple of {PATCH} pixels, and a scene has at least one thing; got "
            f"{canvas}"
        )
    if unseen and split == "train":
        raise SceneError("training scenes have no unseen kinds: take validation or test")


def _find_place(
    stamp: Stamp, top: NDArray[np.int64], things: list[Thing], rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """A place where the thing leaves enough of all earlier ones uncovered; None if none is found."""
    side = top.shape[0]
    height, width = stamp.picture.shape[:2]
    if height > side or width > side:
        return None

    number = len(things)
    solid = stamp.picture[..., 3] > 128
    before = np.bincount(top[top >= 0], minlength=number)
    limits = np.array([_COVER_SIGN if thing.word else _COVER for thing in things]) * before
    for _ in range(_TRIES):
        row = int(rng.integers(side - height + 1))
        column = int(rng.integers(side - width + 1))
        under = top[row : row + height, column : column + width][solid]
        covered = np.bincount(under[under >= 0], minlength=number)
        if (covered <= limits).all():
            return column, row, column + width, row + height
    return None


def _press(
    stamp: Stamp,
    box: tuple[int, int, int, int],
    pixels: Pixels,
    top: NDArray[np.int64],
    inked: NDArray[np.uint8],
    number: int,
) -> None:
    """Draw a thing in place, and note which pixels and letters are its."""
    window = (slice(box[1], box[3]), slice(box[0], box[2]))
    opacity = stamp.picture[..., 3:].astype(np.float32) / 255
    region = pixels[window]  # a view, so the picture itself changes
    region += opacity * (stamp.picture[..., :3] - region)

    solid = stamp.picture[..., 3] > 128
    top[window][solid] = number
    inked[window][solid] = stamp.letters[solid]
