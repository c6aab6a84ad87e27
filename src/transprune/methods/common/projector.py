"""Shared parts of the projector-side methods: their budget, and features that are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from transprune.core.rows import upload
from transprune.core.views import ProjectorView, Scores, Selection, VisionSignals
from transprune.methods.common.checks import check_keep, resolve_count
from transprune.methods.common.method import Positions, ProjectorPruner

# slots of the pool [n] long, and the features [n, D] that replace theirs
Merged = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class KeepPruner(ProjectorPruner):
    """A projector-side method with the budget `keep`, a count (int) or a share (float).

    The released codes of these methods hand the language model a shorter prompt, so positions are
    renumbered.
    """

    keep: int | float = 192

    default_positions: ClassVar[Positions] = "renumber"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep("keep", self.keep)

    def count(self, visual_tokens: int) -> int:
        """The count, or the share of the tokens."""
        return resolve_count(self.keep, visual_tokens)


def keep_all_if_fits(view: ProjectorView, scores: Scores | None = None) -> Selection | None:
    """The whole pool, unchanged, if it fits into the budget; else None.

    Without `scores` every token has the score 1.
    """
    total = len(view.candidates)
    if view.count < total:
        return None

    keep = torch.arange(total, device=view.candidates.device)
    if scores is None:
        return control_selection(view, keep)
    return Selection(keep, scores=scores)


def control_selection(
    view: ProjectorView, keep: Tensor, merged: Sequence[Merged] = ()
) -> Selection:
    """The selection of a control that reads no scores: 1 where a token stays, else 0."""
    score = torch.zeros(len(view.candidates), dtype=torch.float32, device=keep.device)
    score = score.index_fill(0, keep, 1.0)
    scores = {"score": score}

    if merged:
        return merge_into(view, keep, merged, scores)
    return Selection(keep, scores=scores)


def merge_into(
    view: ProjectorView,
    keep: Tensor,
    merged: Sequence[Merged],
    scores: Scores,
    own_order: bool = False,
) -> Selection:
    """The selection `keep` (in any order), some of whose features are replaced by merged ones.

    With `own_order` the order of `keep` is that of the rows, where positions are renumbered.
    """
    # a clone: the view keeps the features as the model made them
    features = view.features.clone()  # [N, D]
    for slots, rows in merged:
        features[slots] = rows.to(features.dtype)

    ascending = keep.sort().values
    order = torch.searchsorted(ascending, keep) if own_order else None
    return Selection(ascending, features=features[ascending], scores=scores, order=order)


def split_budget(vision: VisionSignals, count: int) -> tuple[Tensor, Tensor]:
    """Tokens that show a patch, and the newline tokens for which the budget has room.

    A newline token (LLaVA-NeXT) stays only if all patches do.
    """
    patches = vision.patches
    newlines = np.setdiff1d(np.arange(len(vision.crop)), patches)
    newlines = newlines[: max(0, count - len(patches))]

    device = vision.crop.device
    return upload(patches, device), upload(newlines, device)


def pre_projector_rows(view: ProjectorView, vision: VisionSignals) -> Tensor:
    """Rows in front of the projector, fp32 [N, V].

    Behind it where the projector itself merges patches (Qwen2.5-VL), [N, D].
    """
    rows = view.features if vision.states is None else vision.states
    return rows.float()


def to_feature_space(view: ProjectorView, vision: VisionSignals, rows: Tensor) -> Tensor:
    """Features [n, D] of rows made from `pre_projector_rows`.

    Rows that are features already only change their dtype.
    """
    if vision.states is None or vision.project is None:
        return rows.to(view.features.dtype)

    # the projector runs in the dtype of the tower, the means are fp32
    return vision.project(rows.to(vision.states.dtype))
