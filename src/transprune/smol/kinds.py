"""Kinds of things: a name and a picture each, and to which split a kind belongs."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from transprune.smol.palette import COLORS, main_color

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SIDE = 128  # pixels of a picture
FLAG = "flag of "  # how the names of flags begin

# Of a hundred names, how many are never trained on: they belong to validation and test alone.
_HELD_OUT = {"validation": 5, "test": 10}


def split_of(name: str) -> Split:
    """The split that a name belongs to, from the name alone: the same in every version of a list."""
    place = zlib.crc32(name.encode()) % 100
    first = 0

    for split, size in _HELD_OUT.items():
        first += size
        if place < first:
            return "validation" if split == "validation" else "test"
    return "train"


@cache
def numbers_of(names: tuple[str, ...], split: Split) -> tuple[int, ...]:
    """Numbers of the names that belong to a split."""
    return tuple(number for number, name in enumerate(names) if split_of(name) == split)


@dataclass(frozen=True, eq=False)
class Kinds:
    """Names and pictures.

    Attributes:
        names: one per kind, no two alike.
        pictures: uint8 [K, 128, 128, 4], red, green, blue and opacity.
    """

    names: tuple[str, ...]
    pictures: NDArray[np.uint8]

    @cached_property
    def colors(self) -> tuple[str | None, ...]:
        """The colour of each kind; None where it has no main one, or its name says another.

        Flags have none: their main colour is seldom what one would call them.
        """
        found: list[str | None] = []
        for name, picture in zip(self.names, self.pictures, strict=True):
            color = main_color(picture)
            said = set(COLORS) & set(name.split())
            other = bool(said) and color not in said
            found.append(None if other or name.startswith(FLAG) else color)
        return tuple(found)

    @cached_property
    def by_split(self) -> dict[Split, tuple[int, ...]]:
        """Numbers of the kinds of each split."""
        return {split: numbers_of(self.names, split) for split in SPLITS}
