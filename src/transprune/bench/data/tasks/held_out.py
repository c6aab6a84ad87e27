"""Pictures that are held out: no question about them is learnt from or searched on."""

from __future__ import annotations

import random
from collections.abc import Sequence

from transprune.bench.data.tasks.base import Item


def hold_out_pictures(items: Sequence[Item], share: float, draw: random.Random) -> frozenset[str]:
    """Some of the pictures that the questions are about: at least one of them, and never all.

    Args:
        items: questions; fewer than two pictures leave none to hold out.
        share: of the pictures, in (0, 1).
        draw: which ones; it is advanced.
    """
    images = list(dict.fromkeys(item.image for item in items))
    draw.shuffle(images)
    count = min(len(images) - 1, max(1, round(share * len(images))))
    return frozenset(images[: max(0, count)])
