"""What the projector-side methods with one budget share: a count or a share, and a pool that fits into it untouched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.core.views import ProjectorView, Selection, VisionSignals
from transprune.methods.common.method import Positions, ProjectorPruner, check_keep, resolve_count


@dataclass(frozen=True)
class KeepPruner(ProjectorPruner):
    """A projector-side method with the budget `keep`, an int (count) or a float (share of the visual tokens).

    The released codes of these methods hand the language model a shorter prompt, so positions are renumbered.
    """

    keep: int | float = 192

    default_positions: ClassVar[Positions] = "renumber"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep("keep", self.keep)

    def count(self, visual_tokens: int) -> int:
        """The count, or the share of the tokens."""
        return resolve_count(self.keep, visual_tokens)


def everything(view: ProjectorView) -> Selection | None:
    """The whole pool, untouched, if it fits into the budget."""
    total = len(view.candidates)
    return (
        without_looking(view, torch.arange(total, device=view.candidates.device))
        if view.count >= total
        else None
    )


def without_looking(view: ProjectorView, keep: Tensor, features: Tensor | None = None) -> Selection:
    """The selection of a control that looks at nothing: its score is 1 where a token stays, else 0."""
    score = torch.zeros(len(view.candidates), device=keep.device).index_fill(0, keep, 1.0)
    return Selection(keep, features=features, scores={"score": score})


def split_budget(vision: VisionSignals, count: int) -> tuple[Tensor, Tensor]:
    """Tokens that show a patch, and as many others (newline tokens) as the budget has room for beside all patches."""
    patches = (vision.crop >= 0).nonzero().flatten()
    others = (vision.crop < 0).nonzero().flatten()
    return patches, others[: max(0, count - len(patches))]


def project(view: ProjectorView, vision: VisionSignals, states: Tensor) -> Tensor:
    """Features of states [n, V] made in front of the projector, or the given rows where they are features already."""
    if vision.states is None or vision.project is None:
        return states.to(view.features.dtype)
    return vision.project(states.to(vision.states.dtype))


def metric(view: ProjectorView, vision: VisionSignals) -> Tensor:
    """Rows in front of the projector, fp32 [N, V]; behind it where patches are merged there (Qwen2.5-VL), [N, D]."""
    return (view.features if vision.states is None else vision.states).float()
