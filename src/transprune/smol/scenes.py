"""Scenes: pictures of one to eight things and signs, each fixed by its split and number.

Things have sizes of three to ten patches, any place, a tilt, and may cover each other in part. In
a third of the scenes a kind comes several times. Validation and test have photographs, fonts and
words of their own, and draw known kinds, or with `unseen=True` those that no training picture has.
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
from transprune.smol.sign_words import draw_word
from transprune.smol.signs import BOARDS, draw_sign
from transprune.smol.world import World

PATCH = 14  # pixels
SIDE = 336  # pixels of an ordinary picture: 24 x 24 patches, as LLaVA-1.5 has
SIGN = "sign"  # the name of every sign
NO_KIND = -1  # of a sign

_SEED = 2507  # three streams per split follow from it
_TRIES = 25  # places tried for a thing before it is left out
_COVER = 0.2  # most that a later thing covers, of what is visible of an earlier one
_COVER_SIGN = 0.02  # the same for a sign, which must stay readable
_COVERED = 0.2  # of a patch, from which on it belongs to a thing
_SIGNS = 0.3  # share of the things, at most two
_REPEATED = 0.35  # share of the scenes in which a kind comes several times
_TILT = 25.0  # degrees, of things; signs tilt a fifth of it
_SIZES = (44, 150)  # pixels, of the longer side of a thing


@dataclass(frozen=True)
class Canvas:
    """Size and contents of a picture. Defaults: an ordinary one.

    Attributes:
        side: pixels, a multiple of 14.
        things: fewest and most things.
    """

    side: int = SIDE
    things: tuple[int, int] = (1, 8)

    @property
    def grid(self) -> int:
        """Patches per row and column."""
        return self.side // PATCH


@dataclass(frozen=True)
class Thing:
    """One thing in a picture.

    Attributes:
        name: of its kind, or `"sign"`.
        kind: number of its kind, or -1.
        word: on a sign, in lower case; None on anything else.
        color: by which a person would name it, if there is one.
        size: longer side before it was tilted, pixels.
        box: left, top, right, bottom, pixels.
    """

    name: str
    kind: int
    word: str | None
    color: str | None
    size: int
    box: tuple[int, int, int, int]

    @property
    def middle(self) -> tuple[float, float]:
        """x and y, pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


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


@dataclass(frozen=True, eq=False)
class _Stamp:
    """A thing before it has a place: its picture [H, W, 4], and of each letter, which pixels."""

    name: str
    kind: int
    word: str | None
    color: str | None
    size: int
    picture: NDArray[np.uint8]
    letters: NDArray[np.uint8]  # [H, W], 1 + number of the letter in the word; 0 elsewhere


def draw(
    world: World, split: Split, index: int, canvas: Canvas = Canvas(), unseen: bool = False
) -> Scene:
    """Draw scene number `index` of a split.

    Args:
        world: what to draw from.
        split: `"train"`, `"validation"` or `"test"`.
        index: 0 or more; there is no last one.
        canvas: size and contents.
        unseen: draw kinds that no training picture has; of validation and test only.

    Raises:
        SceneError: no such split, a negative number, an impossible canvas, or unseen kinds for
            training.
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

    rng = np.random.default_rng((_SEED, SPLITS.index(split), index, unseen, canvas.side))
    pixels = draw_background(rng, world.photographs[split], split, canvas.side)

    # which thing each pixel shows, and which letter of it
    top = np.full((canvas.side, canvas.side), -1, np.int64)
    inked = np.zeros((canvas.side, canvas.side), np.uint8)
    things: list[Thing] = []
    for stamp in _stamps(world, split, rng, canvas, unseen):
        if box := _find_place(stamp, top, things, rng):
            _press(stamp, box, pixels, top, inked, len(things))
            things.append(
                Thing(stamp.name, stamp.kind, stamp.word, stamp.color, stamp.size, box)
            )

    grain = rng.standard_normal(pixels.shape[:2], dtype=np.float32) * np.float32(rng.uniform(0, 5))
    pixels += grain[..., None]
    finished = np.clip(pixels, 0, 255).astype(np.uint8)
    return Scene(tuple(things), finished, _owners(top), _letters(things, top, inked))


def question_rng(split: Split, index: int, unseen: bool = False) -> np.random.Generator:
    """The random generator for questions about a scene, a stream of its own."""
    return np.random.default_rng((_SEED, len(SPLITS) + SPLITS.index(split), index, unseen))


def _stamps(
    world: World, split: Split, rng: np.random.Generator, canvas: Canvas, unseen: bool
) -> list[_Stamp]:
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
            stamps.append(_sign_stamp(world, split, rng, canvas.side))
        else:
            stamps.append(_kind_stamp(world, kind, rng, largest, canvas.side))
    return [stamps[number] for number in rng.permutation(len(stamps))]


def _kind_stamp(
    world: World, kind: int, rng: np.random.Generator, largest: float, side: int
) -> _Stamp:
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
    return _Stamp(name, kind, None, world.kinds.colors[kind], size, picture, letters)


def _sign_stamp(world: World, split: Split, rng: np.random.Generator, side: int) -> _Stamp:
    """A sign with a word of the split, a little tilted."""
    fonts = world.fonts[split]
    word = draw_word(rng, split)
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
    return _Stamp(
        SIGN, NO_KIND, word, color, max(picture.shape[:2]), picture, np.array(turned)[:, fits]
    )


def _find_place(
    stamp: _Stamp, top: NDArray[np.int64], things: list[Thing], rng: np.random.Generator
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
    stamp: _Stamp,
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


def _owners(top: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each patch the thing that most of it shows, if that is more than a fifth of the patch."""
    grid = top.shape[0] // PATCH
    # [side, side] -> [grid * grid, 196]
    patches = top.reshape(grid, PATCH, grid, PATCH).swapaxes(1, 2).reshape(grid * grid, -1)
    count = int(top.max()) + 1
    if count == 0:
        return np.full(grid * grid, -1, np.int64)

    # count pairs of patch and thing; number 0 is the ground
    pairs = (patches + 1) + (count + 1) * np.arange(grid * grid)[:, None]
    counts = np.bincount(pairs.ravel(), minlength=(count + 1) * grid * grid)
    counts = counts.reshape(grid * grid, count + 1)[:, 1:]
    return np.where(counts.max(axis=1) > _COVERED * PATCH * PATCH, counts.argmax(axis=1), -1)


def _letters(
    things: list[Thing], top: NDArray[np.int64], inked: NDArray[np.uint8]
) -> tuple[str, ...]:
    """The characters of signs on each patch, of which at least a fifth of the patch is covered."""
    grid = top.shape[0] // PATCH
    texts = [""] * (grid * grid)

    for number, thing in enumerate(things):
        if thing.word is None:
            continue
        # whole patches around the sign
        first_row, last_row = thing.box[1] // PATCH, -(-thing.box[3] // PATCH)
        window = slice(first_row * PATCH, last_row * PATCH)
        places = np.where(top[window] == number, inked[window], 0)
        places = places.reshape(-1, PATCH, grid, PATCH)

        for place, character in enumerate(thing.word, start=1):
            share = (places == place).mean(axis=(1, 3)).ravel()
            for patch in np.flatnonzero(share > _COVERED).tolist():
                texts[first_row * grid + patch] += character

    return tuple(texts)
