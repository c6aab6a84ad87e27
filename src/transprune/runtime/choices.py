"""What the methods chose for the pools of a batch, put together sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from transprune.core.views import Selection
from transprune.methods.common.method import Method
from transprune.trace import TraceStage


@dataclass(frozen=True)
class Choice:
    """What the method chose for one pool."""

    rows: Tensor
    selection: Selection

    @property
    def kept(self) -> Tensor:
        """Row numbers of the kept tokens, ascending. long [k]."""
        return self.rows[self.selection.keep]


def merged_features(choices: list[Choice], stay: Tensor, hidden: Tensor) -> Tensor | None:
    """Contents of the rows that stay, [k, D], if some of them are merged; else None."""
    if all(choice.selection.features is None for choice in choices):
        return None

    features = hidden[stay].clone()  # [k, D]
    for choice in choices:
        merged = choice.selection.features
        if merged is not None:  # pools of one sample are chosen one by one, so some may not merge
            features[torch.searchsorted(stay, choice.kept)] = merged.to(features.dtype)
    return features


def joined_bias(choices: list[Choice], stay: Tensor) -> Tensor | None:
    """Key biases of the rows that stay, float32 [k], if a pool has some; else None."""
    if all(choice.selection.key_bias is None for choice in choices):
        return None

    bias = torch.zeros(len(stay), dtype=torch.float32, device=stay.device)
    for choice in choices:
        own = choice.selection.key_bias
        if own is not None:
            bias[torch.searchsorted(stay, choice.kept)] = own.float()
    return bias


def scores_of(choices: list[Choice], visual: Tensor) -> dict[str, Tensor]:
    """Scores of all pools of a sample in the order of its candidates."""
    names = {name for choice in choices for name in choice.selection.scores}
    merged = {}
    for name in sorted(names):
        merged[name] = torch.full((len(visual),), float("nan"), dtype=torch.float32)

    for choice in choices:
        # the pool's rows among all candidates of the sample; both ascend
        places = torch.searchsorted(visual, choice.rows).cpu()
        for name, score in choice.selection.scores.items():
            merged[name][places] = score.detach().float().cpu()
    return merged


def trace_stage(
    boundary: int,
    method: Method,
    candidates: list[Tensor],
    keep: list[Tensor],
    scores: list[dict[str, Tensor]],
) -> TraceStage:
    """The entry of the trace for one boundary; one tensor per sample in every list."""
    # a sample without an image has no scores: an empty tensor keeps the samples in step
    names = sorted({name for of_sample in scores for name in of_sample})
    nothing = torch.empty(0, dtype=torch.float32)
    by_name = {}
    for name in names:
        by_name[name] = tuple(of_sample.get(name, nothing) for of_sample in scores)

    return TraceStage(
        boundary=boundary,
        method=method.name,
        candidates=tuple(candidates),
        keep=tuple(keep),
        scores=by_name or None,
    )
