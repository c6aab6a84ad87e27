"""GridPrune: the question gives each zone of the picture its budget, the best of it stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.grids import allocate
from transprune.algebra.select import group_mean
from transprune.algebra.zones import (
    number_blocks,
    rescale_by_group,
    select_by_group,
    share_seats,
)
from transprune.core.rows import upload
from transprune.core.signals import Reads, VisionSignals
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.checks import check_choice, check_count, check_share
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import KeepPruner, keep_all_if_fits, split_budget
from transprune.methods.common.recipe import register
from transprune.methods.common.relevance import (
    QUESTION,
    Space,
    cosines_with_question,
)


@register("gridprune")
@dataclass(frozen=True)
class GridPrune(KeepPruner):
    """Let the question share the budget among zones, and keep the best patches of each.

    Duan et al., GridPrune, 2025. https://arxiv.org/abs/2511.10081

    A zone is a block of 2 x 2 patches. Its relevance is the mean cosine between its patches and the
    question in CLIP's space; a softmax over the zones shares the budget, rounded so that it adds
    up. Within a zone the score is (1 - alpha) (cosine + 1) / 2 + alpha a, a the CLS attention. The
    softmax of numbers so close together is nearly flat, so the rounding decides much: with 64
    tokens for 144 zones, one stays in each of the 64 most relevant zones.

    Each crop of LLaVA-NeXT has its proportional part of the budget, and a softmax and a scale of
    the attention of its own. Where the tower is not CLIP's, the cosine is that between a visual
    token and the instruction's input embeddings, mean over the instruction; where it has no CLS
    token, a is the mean attention a patch receives.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 64, the 11.1 % of the
            paper's abstract.
        alpha: weight of the attention. Default 0.5, which a third party names as the paper's.
        side: of a zone, in patches. Default 2, from the same source.
        relevance: `"clip"`, `"embedding"` (the substitute), or None: whichever the model allows.
        sign: of the relevance, 1 or -1. Default 1, as in the paper; CDPruner's authors found that
            the patches a text names score low in CLIP's space.

    Raises:
        MethodError, ScheduleError: settings out of range.
        MissingSignal: a CLIP tower without its text half, `"clip"` on a model without CLIP, or a
            vision tower that has no attention to read.
    """

    keep: int | float = 64
    alpha: float = 0.5
    side: int = 2
    relevance: Space | None = None
    sign: int = 1

    title: ClassVar[str] = "GridPrune: zones share the budget by relevance, the best of each stay"
    paper: ClassVar[str] = "Duan et al., 2025, arXiv 2511.10081"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "formulas from summaries of the paper; largest remainder, attention rescaled to 0..1, "
        "seats of full zones passed on by relevance, the budget of crops and the substitute "
        "without CLIP are ours"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("alpha", self.alpha, "weighs relevance (0) against attention (1)")
        check_count("side", self.side, "the side of a zone in patches")
        check_choice("relevance", self.relevance, ("clip", "embedding", None))
        check_choice("sign", self.sign, (-1, 1))

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        """Attention and places of the patches, and the question."""
        return Reads(vision=("saliency", "place"), question=QUESTION[self.relevance])

    def select(self, view: ProjectorView) -> Selection:
        """The best of each zone, crop by crop, in raster order."""
        relevance = self.sign * cosines_with_question(view, self.relevance).mean(dim=-1)  # [N]
        saliency = _rescaled(view.vision)
        score = (1 - self.alpha) * (relevance + 1) / 2 + self.alpha * saliency
        scores = {"score": score, "relevance": relevance}

        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        _, newlines = split_budget(view.vision, view.count)
        kept = self._select_patches(view, score, relevance, view.count - len(newlines))
        return Selection(torch.cat([*kept, newlines]).sort().values, scores=scores)

    def _select_patches(
        self, view: ProjectorView, score: Tensor, relevance: Tensor, budget: int
    ) -> list[Tensor]:
        """Kept tokens of each crop, long. Where a crop's patches are is known on the host."""
        vision = view.vision
        crop = torch.from_numpy(vision.on_host("crop"))
        place = torch.from_numpy(vision.on_host("place"))
        members = [(crop == number).nonzero()[:, 0] for number in range(int(crop.max()) + 1)]
        counts = allocate(budget, [len(tokens) for tokens in members])

        kept = []
        for tokens, count in zip(members, counts, strict=True):
            block = number_blocks(place[tokens], crop[tokens], self.side)
            zones = int(block.max()) + 1
            own = upload(tokens.numpy(), score.device)
            zone = upload(block.numpy(), score.device)
            kept.append(own[select_zones(score[own], relevance[own], zone, zones, count)])

        return kept


def _rescaled(vision: VisionSignals) -> Tensor:
    """The attention moved to 0..1 within each crop, as all of the method is done crop by crop. [N]."""
    crops = int(vision.on_host("crop").max()) + 1
    # tokens without a patch behind all others: their attention is NaN, and stays it
    crop = torch.where(vision.crop < 0, crops, vision.crop)
    return rescale_by_group(vision["saliency"], crop, crops + 1)


def select_zones(score: Tensor, relevance: Tensor, zone: Tensor, zones: int, k: int) -> Tensor:
    """The `k` tokens that stay of one crop: score, relevance, zone [n] -> ascending [k] long.

    Source: GridPrune (arXiv 2511.10081), as its summaries give the two formulas.
    """
    mean = group_mean(relevance[:, None], zone, zones)[:, 0]  # [Z]
    share = mean.softmax(dim=0)
    return select_by_group(score, zone, share_seats(share, k), share, k)
