"""Pictures that are held out: no question about them is learnt from or searched on."""

from __future__ import annotations

import posixpath
import random
from collections.abc import Sequence

from transprune.bench.data.tasks.base import Item


def hold_out_pictures(items: Sequence[Item], share: float, draw: random.Random) -> frozenset[str]:
    """Some of the pictures that the questions are about: at least one of them, and never all.

    Questions about several pictures hold these together: all of them are held out, or none.

    Args:
        items: questions; pictures that fall into fewer than two groups leave none to hold out.
        share: of these groups, in (0, 1); a picture that no question shows with others is one.
        draw: which ones; it is advanced.

    Returns:
        Names as in `Item.image`.
    """
    groups = groups_of(list(dict.fromkeys(item.image for item in items)))
    draw.shuffle(groups)
    count = min(len(groups) - 1, max(1, round(share * len(groups))))
    return frozenset(name for group in groups[: max(0, count)] for name in group)


def groups_of(names: Sequence[str]) -> list[list[str]]:
    """Names as `"1.png"` or `"1.png|2.png"`, in groups of which no two share a picture.

    Groups and their names are in the order of their first.
    """
    linked: dict[str, str] = {}  # picture -> another one of its group, at last itself
    for name in names:
        first, *others = _pictures(name)
        linked.setdefault(first, first)
        for other in others:
            linked.setdefault(other, other)
            linked[_root(linked, other)] = _root(linked, first)

    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_root(linked, _pictures(name)[0]), []).append(name)
    return list(groups.values())


def _pictures(name: str) -> list[str]:
    """The pictures of a name; one may be written in two ways, `1.png` and `./1.png`."""
    return [posixpath.normpath(part) for part in name.split("|")]


def _root(linked: dict[str, str], picture: str) -> str:
    """The picture by which its group is known."""
    while linked[picture] != picture:
        linked[picture] = linked[linked[picture]]  # the way is shorter the next time
        picture = linked[picture]
    return picture
