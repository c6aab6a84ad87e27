"""One look: score the visual tokens of some tiles, and choose tiles of the next level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from transprune.cost.geometry import Geometry
from transprune.families.base import Grid
from transprune.models.checkpoint import Checkpoint
from transprune.models.clock import clock
from transprune.tiles.choice import count_votes, token_points
from transprune.tiles.picture import LargePicture
from transprune.tiles.pyramid import Level, Tile
from transprune.tiles.result import Look
from transprune.tiles.scorer import Seen, score_prompt, scorer_method
from transprune.tiles.settings import Scorer, Tiles


@dataclass(frozen=True)
class Looker:
    """What all looks of one search share.

    Attributes:
        checkpoint, source, question, settings: as in `find_tiles`.
        thumbnail: shown in front of the tiles, all in one prompt; None for one prompt per tile.
    """

    checkpoint: Checkpoint
    source: LargePicture
    question: str
    settings: Tiles
    thumbnail: Image.Image | None

    def run(self, levels: Sequence[Level]) -> tuple[Look, ...]:
        """Look at the first `rounds` levels, one after the other."""
        levels = levels[: self.settings.rounds]
        tiles = tuple(levels[0].tiles())
        looks = []

        for number, level in enumerate(levels):
            # the last look has no next level: it chooses among its own tiles
            last = number == len(levels) - 1
            target = level if last else levels[number + 1]
            look = self.look(level, tiles, target, last=last)
            looks.append(look)
            tiles = tuple(sorted(look.chosen))

        return tuple(looks)

    def look(self, level: Level, tiles: tuple[Tile, ...], target: Level, *, last: bool) -> Look:
        """Score tiles of a level, and choose tiles of `target`."""
        settings = self.settings
        scorer = settings.final if last else settings.search
        start = clock(self.checkpoint.model.device)
        seen = self.score(level, tiles, scorer)

        scores, points = self.place(level, tiles, seen)
        votes = count_votes(scores, points, target, settings.share, scorer.rank)
        seconds = clock(self.checkpoint.model.device) - start

        return Look(
            level=level,
            tiles=tiles,
            target=target,
            votes=tuple(votes[: settings.most]),
            prompts=len(seen),
            visual_tokens=sum(one.trace.visual_tokens[0] for one in seen),
            flops=sum(one.trace.cost("exact").prefill for one in seen),
            seconds=seconds,
        )

    def score(self, level: Level, tiles: Sequence[Tile], scorer: Scorer) -> list[Seen]:
        """Prefill all tiles behind the thumbnail, or each alone."""
        geometry = Geometry.from_config(self.checkpoint.model.config)
        method = scorer_method(scorer, geometry.layers)
        cut = (self.source.cut(level, tile) for tile in tiles)

        if self.thumbnail is not None:
            pictures = [self.thumbnail, *cut]
            return [score_prompt(self.checkpoint, pictures, self.question, method)]
        return [score_prompt(self.checkpoint, [tile], self.question, method) for tile in cut]

    def place(
        self, level: Level, tiles: Sequence[Tile], seen: Sequence[Seen]
    ) -> tuple[Tensor, Tensor]:
        """Scores of all tokens of the tiles [N], and where they lie [N, 2]."""
        pictures: list[tuple[Tensor, Grid]] = []
        for one in seen:
            pictures += zip(one.scores, one.grids, strict=True)

        # the thumbnail shows everything, so its tokens choose no tile
        own = pictures[1:] if self.thumbnail is not None else pictures

        scores = []
        points = []
        for tile, (score, grid) in zip(tiles, own, strict=True):
            scores.append(score)
            points.append(_points(level, tile, grid, len(score)))

        return torch.cat(scores), torch.cat(points)


def _points(level: Level, tile: Tile, grid: Grid, tokens: int) -> Tensor:
    """Where a tile's tokens lie, NaN for those without a place in its grid. [tokens, 2]."""
    points = torch.full((tokens, 2), torch.nan, dtype=torch.float64)
    points[: grid.cells] = token_points(level, tile, grid.rows, grid.columns)
    return points
