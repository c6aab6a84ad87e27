"""What each patch of a scene shows, as numbers to train the tower with."""

from __future__ import annotations

import string
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from transprune.smol.kinds import Kinds, numbers_of
from transprune.smol.palette import COLORS
from transprune.smol.scenes import Scene
from transprune.smol.sign_words import WORDS
from transprune.smol.things import PATCH, SIGN, Thing

CHARACTERS = string.ascii_lowercase + string.digits
NOTHING = -100  # of a label that a patch does not have

# a box is told in units of eight patches
BOX_UNIT = 8 * PATCH  # pixels


class Labels(NamedTuple):
    """Labels of the patches of pictures with grid x grid = N patches, N = 64 or 576.

    Attributes:
        pixels: uint8 [B, side, side, 3].
        name: long [B, N], number of the name; -100 on the ground.
        color: long [B, N], number in `COLORS`, -100 on the ground and where a thing has none.
        characters: float [B, N, 37], equal shares of the characters on the patch; the last place is
            that of "none".
        box: float [B, N, 4], from the patch's middle to that of its thing, x and y, then the
            logarithm of width and height; all in units of 112 pixels.
    """

    pixels: Tensor
    name: Tensor
    color: Tensor
    characters: Tensor
    box: Tensor


def batch_labels(scenes: list[Scene], numbers: dict[str, int]) -> Labels:
    """Labels of scenes of one size; `numbers` has a number for every name that occurs."""
    columns = list(zip(*(_scene_labels(scene, numbers) for scene in scenes), strict=True))
    pixels, name, color, characters, box = (np.stack(column) for column in columns)
    return Labels(
        torch.from_numpy(pixels),
        torch.from_numpy(name),
        torch.from_numpy(color),
        torch.from_numpy(characters),
        torch.from_numpy(box),
    )


def names_in(scene: Scene, numbers: dict[str, int]) -> list[int]:
    """Numbers of the names of the things in a scene, each once."""
    return sorted({numbers[told_name(thing)] for thing in scene.things})


def told_name(thing: Thing) -> str:
    """Of a sign with a word, `sign stop`: so its patches can tell the word, as one kind among many."""
    written = thing.word is not None and not thing.word.isdigit()
    return f"{SIGN} {thing.word}" if written else thing.name


def all_names(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """The names that the tower knows, in order: every kind, the sign, then each word on one."""
    return (*kinds, SIGN, *(f"{SIGN} {word}" for word in WORDS))


def known_names(kinds: Kinds) -> list[int]:
    """Numbers of those that occur in training, ascending."""
    first = len(kinds.names)
    words = [first + 1 + number for number in numbers_of(WORDS, "train")]
    return [*kinds.by_split["train"], first, *words]


def _scene_labels(scene: Scene, numbers: dict[str, int]) -> tuple[np.ndarray, ...]:
    """As in `Labels`, of one scene."""
    # of each thing, and of the ground in the last row, which an owner of -1 selects
    names = [numbers[told_name(thing)] for thing in scene.things]
    colors = [_color_number(thing.color) for thing in scene.things]

    name = np.array([*names, NOTHING])[scene.owner]
    color = np.array([*colors, NOTHING])[scene.owner]
    return scene.pixels, name, color, _characters(scene), _boxes(scene)


def _color_number(color: str | None) -> int:
    return NOTHING if color is None else COLORS.index(color)


def _characters(scene: Scene) -> np.ndarray:
    """-> float32 [N, 37]."""
    shares = np.zeros((len(scene.letters), len(CHARACTERS) + 1), np.float32)
    shares[:, -1] = 1

    for patch, text in enumerate(scene.letters):
        if text:
            found = sorted({CHARACTERS.index(character) for character in text})
            shares[patch] = 0
            shares[patch, found] = 1 / len(found)
    return shares


def _boxes(scene: Scene) -> np.ndarray:
    """-> float32 [N, 4]; zeros on the ground."""
    boxes = np.array([*(thing.box for thing in scene.things), (0, 0, 1, 1)], np.float32)
    own = boxes[scene.owner]  # [N, 4]

    grid = round(len(scene.owner) ** 0.5)
    rows, columns = np.divmod(np.arange(grid * grid), grid)
    x = (own[:, 0] + own[:, 2]) / 2 - (columns + 0.5) * PATCH
    y = (own[:, 1] + own[:, 3]) / 2 - (rows + 0.5) * PATCH
    width = np.log(own[:, 2:] - own[:, :2]) - np.log(BOX_UNIT)

    told = np.concatenate([x[:, None] / BOX_UNIT, y[:, None] / BOX_UNIT, width], axis=1)
    return np.where(scene.owner[:, None] >= 0, told, 0).astype(np.float32)
