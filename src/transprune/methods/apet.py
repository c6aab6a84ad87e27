"""ApET: drop the tokens that a few others explain, in front of the language model and inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.approximation import approximation_error, farthest_points
from transprune.algebra.select import assign_nearest, group_mean, others, select_top
from transprune.core.plan import Reading
from transprune.core.schedule import Schedule, ScheduleLike
from transprune.core.signals import Reads
from transprune.core.views import LayerView, ProjectorView, Scores, Selection
from transprune.methods.common.checks import check_count, check_keep
from transprune.methods.common.method import Fidelity, Method, Positions
from transprune.methods.common.projector import (
    KeepPruner,
    keep_all_if_fits,
    merge_into,
    pre_projector_rows,
    split_budget,
    to_feature_space,
)
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner
from transprune.methods.common.two_stages import TwoStages

THIRD = Schedule({16: 1 / 3}, depth=32)


@dataclass(frozen=True)
class Approximated(KeepPruner):
    """ApET's first stage, on the tower's rows in front of the projector."""

    keep: int | float = 96
    basis: int = 10

    name: ClassVar[str] = "apet"
    # which tokens are patches, and their rows in the tower; no attention
    reads: ClassVar[Reads] = Reads(vision=("place",))

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The rows against the basis, and those that go against those that stay.

        The cost model counts all pairs, which is more from five times `basis` tokens on.
        """
        return (Reading(0, similarity="features"),)

    def select(self, view: ProjectorView) -> Selection:
        """Means in front of the projector, at the places of the tokens that others joined."""
        vision = view.vision
        patches, newlines = split_budget(vision, view.count)
        rows = pre_projector_rows(view, vision)[patches]  # [n, V]
        error, chosen = _error(rows, self.basis)

        score = torch.full_like(view.candidates, 0, dtype=torch.float32)
        scores = {"score": score.index_copy(0, patches, error)}
        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        keep, means, alone = compress(rows, error, chosen, view.count - len(newlines))
        slots = patches[keep]
        merged = to_feature_space(view, vision, means)
        # a token that nothing joined keeps its own feature
        merged = torch.where(alone[:, None], view.features[slots], merged)
        return merge_into(view, torch.cat([slots, newlines]), [(slots, merged)], scores)


@dataclass(frozen=True)
class ApproximatedAgain(ScheduledPruner):
    """ApET's second stage, the same on the hidden states between two layers."""

    basis: int = 10

    name: ClassVar[str] = "apet"

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """As in the first stage."""
        readings = super().reads_at(num_layers)
        return tuple(replace(reading, similarity="features") for reading in readings)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """How badly the basis explains each token."""
        return {"score": _error(view.hidden.float(), self.basis)[0]}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """The worst explained and the basis, with the means of what joined them."""
        rows = view.hidden.float()
        error, chosen = _error(rows, self.basis)
        scores = {"score": error}
        if view.count >= len(rows):
            return Selection(select_top(error, view.count), scores=scores)

        keep, means, alone = compress(rows, error, chosen, view.count)
        own = view.hidden[keep]
        features = torch.where(alone[:, None], own, means.to(own.dtype))
        return Selection(keep, features=features, scores=scores)


@register("apet")
@dataclass(frozen=True)
class ApET(TwoStages):
    """Keep the tokens that a linear mixture of a few others approximates worst; merge the rest.

    Ma et al., "ApET: Approximation-Error Guided Token Compression for Efficient VLMs", CVPR 2026.
    https://arxiv.org/abs/2602.19870

    The basis are tokens far from each other (farthest point sampling). Every token is approximated
    by a ridge regression on them, and the error ranks. Of those that would stay, the ones with the
    least error give way to the basis itself. Each token that goes joins the most similar (cosine)
    of the others that stay, which becomes the plain mean. Both stages do the same: on the tower's
    rows in front of the projector, and on the hidden states at the boundary. No attention is read.

    Args:
        keep: tokens of the first stage, an int (count) or a float (share). Default 96, which with
            the second stage is the README's average of 64.
        then: the second stage: boundary -> share of the tokens the first one left. Default a third
            (96 to 32, as in the README) after 16 of 32 layers, scaling with depth. None leaves it
            out, to put another method there.
        basis: tokens of the basis, at most one less than stay. Default 10, as in the README.
        positions: default `"renumber"`; ours.

    Raises:
        MethodError, ScheduleError: settings out of range, boundaries that make no schedule.
        MissingSignal: when run on a model whose vision tower nobody described.
    """

    keep: int | float = 96
    then: ScheduleLike | None = THIRD
    basis: int = 10

    title: ClassVar[str] = "ApET: what a few tokens explain goes, in front and halfway"
    paper: ClassVar[str] = "Ma et al., CVPR 2026, arXiv 2602.19870"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "algorithm and numbers from a summary of paper and README; the first token of the basis "
        "(drawn there, here the one farthest from the mean), positions and one pool for all crops "
        "are ours"
    )
    kind: ClassVar[str] = "hybrid"
    default_positions: ClassVar[Positions] = "renumber"
    reads: ClassVar[Reads] = Approximated.reads

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep("keep", self.keep)
        check_count("basis", self.basis, "the number of tokens that explain the others")
        if self.then is not None:
            object.__setattr__(self, "then", Schedule.of(self.then))

    @property
    def first(self) -> Method:
        """In front of the language model."""
        return Approximated(self.keep, self.basis, positions=self.positions)

    @property
    def second(self) -> ApproximatedAgain | None:
        """The same again inside it, if it is asked for."""
        if self.then is None:
            return None
        return ApproximatedAgain(self.then, self.basis, positions=self.positions)


def _error(rows: Tensor, basis: int) -> tuple[Tensor, Tensor]:
    """The error of every row [n] float32, and the rows of the basis in the order of sampling."""
    # which tokens stay is a choice; gradients flow through the means only
    rows = rows.detach()
    chosen = farthest_points(rows, min(basis, len(rows)))
    return approximation_error(rows, chosen), chosen


def compress(rows: Tensor, error: Tensor, basis: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the basis and the rows of the largest error, and merge every other into the nearest.

    Args:
        rows: float32 [n, D].
        error: [n].
        basis: long [b], first ones first; the first k - 1 of them stay.
        k: rows that stay, less than n.

    Returns:
        Rows that stay, ascending [k] long; what becomes of them, float32 [k, D]; and which of them
        nothing joined, bool [k].

    Source: ApET (arXiv 2602.19870), as a summary of paper and README gives it.
    """
    basis = basis[: k - 1]
    best = select_top(error.index_fill(0, basis, float("-inf")), k - len(basis))
    keep = torch.cat([best, basis])

    # the basis stays as it is: what goes joins the others only
    gone = others(len(rows), keep)
    group = assign_nearest(rows[gone].detach(), rows[best].detach())
    every = torch.cat([torch.arange(len(best), device=rows.device), group])
    means = group_mean(torch.cat([rows[best], rows[gone]]), every, len(best))

    alone = torch.ones_like(keep, dtype=torch.bool).index_fill(0, group, False)
    order = keep.argsort()
    return keep[order], torch.cat([means, rows[basis]])[order], alone[order]
