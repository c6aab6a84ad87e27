"""Which layer, rows and rank find the tile of an object: on pictures that no figure is about."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from PIL import Image

from transprune.models.checkpoint import Checkpoint
from transprune.tiles import LargePicture, Scorer, Tiles
from transprune.tiles.choice import RANKS, count_votes
from transprune.tiles.look import Looker
from transprune.tiles.pyramid import Level, Tile, build_pyramid
from transprune.tiles.search import tile_side

from .pictures import draw_large

LAYERS = (4, 5, 6, 7, 8, 9, 10)  # of 16
MOST = Tiles().most


def choose(checkpoint: Checkpoint, pictures: int, scale: int) -> None:
    """Print how often the object's tile is among the best, for each setting of a look.

    `first`: among the best nine of the second level after a look at the base. `last`: the best one
    after a look at the nine tiles that the default settings chose.
    """
    hits: dict[tuple[str, str, int, str], list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.tif"
        for number in range(pictures):
            scene = draw_large("choose", number, scale)
            Image.fromarray(scene.pixels).save(file)
            picture = LargePicture(file)
            base, second = build_pyramid(*picture.size, tile_side(checkpoint))[:2]

            for question in scene.questions:
                left, top, right, bottom = scene.boxes[question.objects[0]]
                target = second.tile_at((left + right) / 2, (top + bottom) / 2)
                looker = Looker(checkpoint, picture, question.text, Tiles(), None)
                chosen = looker.look(base, tuple(base.tiles()), second, last=False).chosen

                everything = tuple(base.tiles())
                _try(looker, base, everything, second, target, MOST, "first", hits)
                _try(looker, second, tuple(sorted(chosen)), second, target, 1, "last", hits)

    for look in ("first", "last"):
        print(f"\n{look} look, object's tile among the best {MOST if look == 'first' else 1}, in %")
        for rows in ("instruction", "last"):
            for rank in RANKS:
                found = [hits[look, rows, layer, rank] for layer in LAYERS]
                shares = [f"{100 * sum(own) / len(own):5.1f}" for own in found]
                print(f"{rows:12s} {rank:5s}", *shares)
    print("layers", *LAYERS)


def _try(
    looker: Looker,
    level: Level,
    tiles: tuple[Tile, ...],
    target_level: Level,
    target: Tile,
    most: int,
    name: str,
    hits: dict[tuple[str, str, int, str], list[bool]],
) -> None:
    """Score tiles with every layer and row, and rank the next tiles in every way."""
    for rows in ("instruction", "last"):
        for layer in LAYERS:
            seen = looker.score(level, tiles, Scorer(rows, "peak", layer / 16))
            scores, points = looker.place(level, tiles, seen)
            for rank in RANKS:
                votes = count_votes(scores, points, target_level, looker.settings.share, rank)
                found = target in [vote.tile for vote in votes[:most]]
                hits[name, rows, layer, rank].append(found)
