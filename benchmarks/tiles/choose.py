"""Which layer, rows and rank find the tile of an object: on pictures that no figure is about.

The pictures have 500 x 500 pixels and objects of the bundled world's size. Their two levels are the
first two of a picture of 8,000 x 8,000 with objects sixteen times as large.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from transprune.core.schedule import Schedule
from transprune.models.checkpoint import Checkpoint
from transprune.tiles import LargePicture, Tiles
from transprune.tiles.choice import RANKS, count_votes, token_points
from transprune.tiles.look import Looker
from transprune.tiles.pyramid import Level, Tile, build_pyramid
from transprune.tiles.scorer import InstructionAttention, LastAttention, score_prompt
from transprune.tiles.search import tile_side

from .pictures import draw_large

LAYERS = (3, 4, 5, 6, 7, 8, 9, 10, 11)  # of 16, 0-based
SIDE = 500
SETTINGS = Tiles()

Key = tuple[str, str, int, str]  # look, rows, layer, rank


@dataclass(frozen=True)
class EachInstruction(InstructionAttention):
    """The attention of the instruction in many layers of one prefill, which keeps all tokens."""

    def schedule(self, num_layers: int) -> Schedule:
        return Schedule(dict.fromkeys(LAYERS, 1.0))


@dataclass(frozen=True)
class EachLast(LastAttention):
    """The same of the last token."""

    def schedule(self, num_layers: int) -> Schedule:
        return Schedule(dict.fromkeys(LAYERS, 1.0))


ROWS = {"instruction": EachInstruction(), "last": EachLast()}


def choose(checkpoint: Checkpoint, pictures: int) -> None:
    """Print how often the object's tile is among the best, for each setting of a look.

    `first`: among the best nine of the second level after a look at the base. `last`: the best one
    after a look at the nine tiles that the default settings chose.
    """
    hits: dict[Key, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        for number in range(pictures):
            scene = draw_large("choose", number, 1, SIDE)
            Image.fromarray(scene.pixels).save(file)
            picture = LargePicture(file)
            base, second = build_pyramid(*picture.size, tile_side(checkpoint))

            for question in scene.questions:
                left, top, right, bottom = scene.boxes[question.objects[0]]
                target = second.tile_at((left + right) / 2, (top + bottom) / 2)
                looker = Looker(checkpoint, picture, question.text, SETTINGS, None)
                everything = tuple(base.tiles())
                chosen = looker.look(base, everything, second, last=False).chosen

                _try(looker, base, everything, second, target, "first", hits)
                _try(looker, second, tuple(sorted(chosen)), second, target, "last", hits)

    _print(hits)


def _try(
    looker: Looker,
    level: Level,
    tiles: Sequence[Tile],
    next_level: Level,
    target: Tile,
    name: str,
    hits: dict[Key, list[bool]],
) -> None:
    """Score tiles with every layer and row, and rank the next tiles in every way."""
    most = SETTINGS.most if name == "first" else 1
    for rows, method in ROWS.items():
        scores = defaultdict(list)
        points = []
        for tile in tiles:
            picture = looker.source.cut(level, tile)
            seen = score_prompt(looker.checkpoint, [picture], looker.question, method)
            points.append(token_points(level, tile, seen.grids[0].rows, seen.grids[0].columns))
            for layer, stage in zip(LAYERS, seen.trace.stages, strict=True):
                scores[layer].append(stage.scores["score"][0])

        for layer in LAYERS:
            joined = torch.cat(scores[layer]), torch.cat(points)
            for rank in RANKS:
                votes = count_votes(*joined, next_level, SETTINGS.share, rank)
                best = [vote.tile for vote in votes[:most]]
                hits[name, rows, layer, rank].append(target in best)


def _print(hits: dict[Key, list[bool]]) -> None:
    for look, most in (("first", SETTINGS.most), ("last", 1)):
        print(f"\n{look} look: the object's tile is among the best {most}, in %")
        print(f"{'layer':18s}", *(f"{layer:5d}" for layer in LAYERS))
        for rows in ROWS:
            for rank in RANKS:
                found = [hits[look, rows, layer, rank] for layer in LAYERS]
                shares = [f"{100 * sum(own) / len(own):5.1f}" for own in found]
                print(f"{rows:12s} {rank:5s}", *shares)
    print(f"\n{len(next(iter(hits.values())))} questions")
