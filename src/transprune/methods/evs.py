"""EVS: of a video, the tokens that differ from the frame before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from transprune.algebra.grids import allocate
from transprune.algebra.select import select_even, select_top
from transprune.core.frames import Frames, Numbers
from transprune.core.plan import Reading
from transprune.core.rows import upload
from transprune.core.schedule import count_kept
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MethodError
from transprune.methods.common.checks import check_ratio
from transprune.methods.common.method import Fidelity, ProjectorPruner
from transprune.methods.common.recipe import register

NEW = 2.0  # the largest dissimilarity there is: 1 - cosine of opposite vectors


@register("evs")
@dataclass(frozen=True)
class EVS(ProjectorPruner):
    """Keep the tokens of a video that are least like the one at their place a frame earlier.

    Bagrov et al., "Efficient Video Sampling: Pruning Temporally Redundant Tokens for Faster VLM
    Inference", 2025. https://arxiv.org/abs/2510.14624

    The paper compares the pixels of patches; the serving engines that ship it compare projected
    features by 1 - cosine, and so does this. Tokens are ranked over a whole video. All of its first
    frame are new and rank first. Every video and picture keeps the same share, wherever else it
    stands in the prompt. A still picture has no frame before it, so all of it is new: of new tokens
    that are more than the budget those at even distances stay.

    Args:
        keep_ratio: share of the tokens of each video that stays, rounded down. Default 0.25, the
            paper's pruning rate of 0.75.

    Raises:
        ScheduleError: a ratio outside (0, 1].
        MethodError: when run with `pool="frame"`, whose pools hold nothing to compare a frame with.
    """

    keep_ratio: float = 0.25

    title: ClassVar[str] = "EVS: of a video, what differs from the frame before"
    paper: ClassVar[str] = "Bagrov et al., 2025, arXiv 2510.14624"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "a budget below one frame thins the first frame evenly; serving engines keep it whole"
    )
    reads: ClassVar[Reads] = Reads(signals=("frames",))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ratio("keep_ratio", self.keep_ratio)

    def count(self, visual_tokens: int) -> int:
        """`int(N * ratio)`."""
        return count_kept(visual_tokens, self.keep_ratio)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Each token is compared with one other."""
        return (Reading(0, similarity="previous_frame"),)

    def select(self, view: ProjectorView) -> Selection:
        """The most dissimilar of every clip; the score is the dissimilarity, 2 of new tokens."""
        frames: Frames = view.read("frames")
        if not frames.whole:
            raise MethodError(
                "evs compares the frames of a video, and with pool='frame' it is shown one at a "
                "time; use pool='sample' or 'image'"
            )

        score = dissimilarity(view.features, frames.previous)

        clips, sizes = np.unique(frames.clip, return_counts=True)
        parts = []
        # each video has its share: one that moves more must not take the tokens of another
        for clip, count in zip(clips, allocate(view.count, sizes.tolist()), strict=True):
            own = (frames.clip == clip).nonzero()[0]
            parts.append(_most_dissimilar(score, own, frames.previous[own] < 0, count))

        return Selection(torch.cat(parts).sort().values, scores={"score": score})


def dissimilarity(features: Tensor, previous: Numbers) -> Tensor:
    """1 - cosine between each token and the one a frame earlier; 2 where there is none.

    Args:
        features: [N, D].
        previous: number of the earlier token, -1 for none. long [N], on the host.

    Returns:
        float32 [N].
    """
    rows = features.float()
    index = upload(previous, features.device)
    distance = 1 - cosine_similarity(rows, rows[index.clamp(min=0)], dim=-1)
    return torch.where(index < 0, NEW, distance)


def _most_dissimilar(score: Tensor, own: Numbers, is_new: Numbers, count: int) -> Tensor:
    """Numbers of the `count` tokens of a clip that stay, in any order. -> long [count]."""
    new = own[is_new]
    if count <= len(new):
        return upload(new[select_even(len(new), count).numpy()], score.device)

    # all new ones, and the best of those that have an earlier frame
    old = upload(own[~is_new], score.device)
    best = old[select_top(score[old], count - len(new))]
    return torch.cat([upload(new, score.device), best])
