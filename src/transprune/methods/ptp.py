"""PTP: salient tiles keep more, and within a tile salience and the instruction choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from transprune.algebra.footprints import overlaps
from transprune.algebra.zones import rescale_by_group, select_by_group, share_seats
from transprune.core.rows import upload
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads, Tile, VisionSignals
from transprune.core.views import LayerView, Scores, Selection
from transprune.errors import MissingSignal
from transprune.methods.common.checks import check_count, check_flag, check_ratio, check_share
from transprune.methods.common.method import Fidelity, LayerPruner
from transprune.methods.common.recipe import register

LEAST_SPREAD = 1e-12  # of the salience on all tiles of a picture


@register("ptp")
@dataclass(frozen=True)
class PTP(LayerPruner):
    """Share the budget among tiles by salience, and keep in each what tower and text attend to.

    Liang et al., "Pyramid Token Pruning for High-Resolution Large Vision-Language Models via
    Region, Token, and Instruction-Guided Importance", TCSVT. https://arxiv.org/abs/2509.15704

    The score of a token is (1 - alpha) b + alpha c: b its attention in the vision tower (the CLS
    row, or the mean a patch receives without a CLS token), moved to 0..1 within its tile; c the
    attention of the instruction in the language model, mean over heads, the largest over the
    instruction's tokens. Each tile keeps its best.

    How salient a tile is, the public sources do not say. The mean attention within a tile that is
    encoded by itself is the same for all tiles. So here it is the attention that falls on the place
    of the tile in the view of the whole picture, which has its proportional part of the budget
    itself; largest remainders, and what a tile is too small for goes to the others by salience. A
    picture in one piece is one region. Newline tokens stay only where all patches do.

    The savings that are published for InternVL2-2B (K/V halved, 6.40 to 3.04 TFLOPs) leave no layer
    with every token; read behind two of 24 layers, the instruction's term cannot save more than 46 %
    of the K/V. They are not reproduced.

    Args:
        keep_ratio: share of the visual tokens that stays. Default 0.5, the paper's.
        alpha: weight of the instruction. Default 0.5; a third party names it as the paper's.
        layer: so many layers see every token, and the last of them is read. Default 2, the paper's.
        tiles: share the budget among tiles. Default True; without, every input of the tower has its
            proportional part.
        match_scales: move c to 0..1 within its tile, too. Default False; a third party's addition.
        positions: default `"keep"`; ours.

    Raises:
        MethodError, ScheduleError: settings out of range.
        MissingSignal: when run on a model whose vision tower has no attention to read, or with
            `tiles` on a picture of which nothing tells how it was cut.
    """

    keep_ratio: float = 0.5
    alpha: float = 0.5
    layer: int = 2
    tiles: bool = True
    match_scales: bool = False

    title: ClassVar[str] = "PTP: tiles share the budget, tower and instruction choose in each"
    paper: ClassVar[str] = "Liang et al., TCSVT, arXiv 2509.15704"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "the three terms from the abstract and notes on the paper; the salience of a tile, "
        "rounding, the scale of the first term and the part of the whole view are ours"
    )
    reads: ClassVar[Reads] = Reads(
        vision=("saliency", "place", "grid", "tiles"), rows="instruction", source="previous"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("keep_ratio", self.keep_ratio)
        check_share("alpha", self.alpha, "weighs the tower (0) against the instruction (1)")
        check_count("layer", self.layer, "the number of layers that see every token")
        check_flag("tiles", self.tiles)
        check_flag("match_scales", self.match_scales)

    def schedule(self, num_layers: int) -> Schedule:
        """One boundary, `layer`."""
        return Schedule({self.layer: self.keep_ratio})

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Both terms, and their weighted sum. [N] each."""
        vision = view.vision
        group, groups = _groups(vision)
        saliency = rescale_by_group(vision["saliency"].nan_to_num(nan=0.0), group, groups)

        # mean over heads, then the word that attends most: [H, T, N] -> [N]
        asked = view.attention("instruction").mean(dim=0).amax(dim=0)
        if self.match_scales:
            asked = rescale_by_group(asked, group, groups)

        score = (1 - self.alpha) * saliency + self.alpha * asked
        return {"score": score, "saliency": vision["saliency"], "instruction": asked}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The best of each tile."""
        scores = self.score(view, carry)
        vision = view.vision
        group, _ = _groups(vision)
        share = region_shares(vision.unpruned, self.tiles)

        # the last group is that of the newline tokens, which have no share
        share = torch.cat([share, share.new_zeros(1)])
        seats = share_seats(share, view.count)
        newline = vision.crop < 0
        keep = select_by_group(scores["score"], group, seats, share, view.count, reserve=newline)
        return Selection(keep, scores=scores)


def _groups(vision: VisionSignals) -> tuple[Tensor, int]:
    """The crop of each token, those without a patch behind all others; and how many groups. [N]."""
    crops = len(vision.tiles)
    return torch.where(vision.crop < 0, crops, vision.crop), crops + 1


def region_shares(vision: VisionSignals, by_tile: bool = True) -> Tensor:
    """Which share of the budget each crop of a pool has, fp32 [Z] on the device; they add up to 1.

    Its share of the tokens; with `by_tile` the tiles of a picture share what they have together by
    the attention that falls on them in the view of the whole.

    Raises:
        MissingSignal: nothing tells how a picture was cut.
    """
    crop = vision.on_host("crop")
    counts = np.bincount(crop[crop >= 0])
    sizes = upload((counts / counts.sum()).astype(np.float32), vision.crop.device)
    if not by_tile:
        return sizes

    tiles = vision.tiles
    _check_known(tiles)
    parts = []
    for picture in dict.fromkeys(tile.picture for tile in tiles):
        own = [number for number, tile in enumerate(tiles) if tile.picture == picture]
        whole = [number for number in own if tiles[number].is_overview]
        if not whole:
            parts.append(sizes[own[0] : own[-1] + 1])
            continue

        # the view of the whole comes first (LLaVA-NeXT) or last (InternVL)
        overview = whole[0]
        first = own[1] if overview == own[0] else own[0]
        last = first + len(own) - 1
        mass = attention_on_tiles(vision, overview, first, tiles[first])
        of_tiles = sizes[first:last].sum() * mass
        of_view = sizes[overview : overview + 1]
        parts += [of_view, of_tiles] if overview < first else [of_tiles, of_view]

    return torch.cat(parts)


def attention_on_tiles(vision: VisionSignals, overview: int, begin: int, tile: Tile) -> Tensor:
    """The share of the whole view's attention that falls on each tile of its picture. [Z].

    Args:
        vision: the signals of the whole pool.
        overview: number of the crop that shows the whole.
        begin: number of the first tile; the others follow line by line.
        tile: the first tile.
    """
    crop = vision.on_host("crop")
    place = vision.on_host("place")
    grid = vision.on_host("grid")

    # a picture is put into whole tiles, and its padding is not in the prompt
    of_tiles = (crop >= begin) & (crop < begin + tile.rows * tile.columns)
    number = crop[of_tiles] - begin
    corner = np.stack([number // tile.columns, number % tile.columns], axis=1)
    shown = place[of_tiles] + corner * grid[of_tiles]
    first, last = shown.min(axis=0), shown.max(axis=0) + 1

    whole = (crop == overview).nonzero()[0]
    size = grid[of_tiles][0]
    cells = grid[whole[0]]
    down = overlaps(tile.rows, int(size[0]), (int(first[0]), int(last[0])), int(cells[0]))
    across = overlaps(tile.columns, int(size[1]), (int(first[1]), int(last[1])), int(cells[1]))

    # on the device from here on; a view without all of its patches counts those that it has
    device = vision.crop.device
    saliency = vision["saliency"][upload(whole, device)].float()
    row, column = upload(place[whole], device).unbind(dim=1)
    on_tile = upload(down, device)[:, None, row] * upload(across, device)[None, :, column]
    mass = (on_tile.flatten(0, 1) * saliency).sum(dim=1)  # [Z, n] -> [Z]
    return mass / mass.sum().clamp(min=LEAST_SPREAD)


def _check_known(tiles: tuple[Tile, ...]) -> None:
    """Raise MissingSignal unless it is known of every crop where it lies."""
    unknown = sum(tile.rows == 0 for tile in tiles)
    if unknown:
        raise MissingSignal(
            f"{unknown} of {len(tiles)} inputs of the vision tower may be tiles of a picture, but "
            "nothing in this call tells how it was cut; ptp:tiles=false gives each of them its "
            "proportional part of the budget"
        )
