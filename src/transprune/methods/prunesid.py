"""PruneSID: groups by principal components, and the salient of each that are not alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transprune.algebra.select import cosine_matrix, count_members, rankable
from transprune.algebra.zones import rank_in_group, select_by_group
from transprune.core.plan import Reading
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.methods.common.checks import check_count, check_number
from transprune.methods.common.method import Fidelity
from transprune.methods.common.projector import (
    KeepPruner,
    keep_all_if_fits,
    pre_projector_rows,
    split_budget,
)
from transprune.methods.common.recipe import register

SMALLEST = 1e-6  # of the largest eigenvalue: components below it are rounding


@dataclass(frozen=True)
class Groups:
    """Groups of tokens, and which of them are too like a better one. Shapes: n tokens.

    Attributes:
        group: long [n].
        groups: how many there are at most; some may be empty.
        suppressed: bool [n].
    """

    group: Tensor
    groups: int
    suppressed: Tensor


@register("prunesid")
@dataclass(frozen=True)
class PruneSID(KeepPruner):
    """Group the patches by principal components, and drop within a group what is like a better one.

    Fang et al., "Prune Redundancy, Preserve Essence: Vision Token Compression in VLMs via
    Synergistic Importance-Diversity", ICLR 2026. https://arxiv.org/abs/2603.09480

    Of the sigmoid of the features in front of the projector the first K / 4 principal components
    are taken, the tokens being the variables; a patch belongs to the component on which its loading
    is largest. In each group patches go by falling CLS attention, and one whose cosine to a
    better one that stays is above (K / 32) times the mean over all pairs is suppressed. Every group
    has one seat, the others are shared in proportion to what is left of each. The paper's budget
    that changes with the picture is left out.

    Args:
        keep: tokens that stay, an int (count) or a float (share). Default 64, the 11.1 % of the
            paper's abstract.
        per_group: seats for each component, the paper's 4.
        scale: budget at which the threshold is the mean cosine itself, the paper's 32.

    Raises:
        MethodError, ScheduleError: settings out of range.
        MissingSignal: when run on a model whose vision tower has no attention to read.
    """

    keep: int | float = 64
    per_group: int = 4
    scale: float = 32.0

    title: ClassVar[str] = "PruneSID: groups by principal components, the unlike of each"
    paper: ClassVar[str] = "Fang et al., ICLR 2026, arXiv 2603.09480"
    fidelity: ClassVar[Fidelity] = "reconstructed"
    reconstructed: ClassVar[str] = (
        "algorithm and constants from a summary of paper and code; the axis of the components, the "
        "mean over distinct pairs, ties, and one pool for all crops are ours"
    )
    differs_from_code: ClassVar[str] = (
        "exact components instead of a random low-rank search; the CLS token is not one of those "
        "that stay; no budget that changes with the picture"
    )
    reads: ClassVar[Reads] = Reads(vision=("saliency",))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("per_group", self.per_group, "the number of seats for each component")
        check_number("scale", self.scale, above=0)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """All patches are compared pairwise, once for the components and once for likeness.

        The cost model counts the width of the language model, an upper bound of the tower's; the
        eigenvectors are not in it.
        """
        return (Reading(0, similarity="features", pairs=2.0),)

    def select(self, view: ProjectorView) -> Selection:
        """The best of each group in raster order; the score is the attention."""
        vision = view.vision
        saliency = vision["saliency"]
        scores = {"score": saliency}
        whole = keep_all_if_fits(view, scores)
        if whole is not None:
            return whole

        patches, newlines = split_budget(vision, view.count)
        count = view.count - len(newlines)
        # which patches stay is a choice: nothing here is differentiated
        rows = pre_projector_rows(view, vision)[patches].detach()

        attention = saliency[patches].detach()
        found = self._groups(rows, attention, count)
        keep = patches[fill_seats(found, attention, count)]
        return Selection(torch.cat([keep, newlines]).sort().values, scores=scores)

    def _groups(self, rows: Tensor, attention: Tensor, count: int) -> Groups:
        """Groups of the patches, and what is suppressed in them. rows [n, V], attention [n]."""
        groups = min(max(1, count // self.per_group), len(rows))
        group = principal_groups(rows, groups)

        cosine = cosine_matrix(rows)
        pairs = len(rows) * (len(rows) - 1)
        mean = (cosine.sum() - cosine.diagonal().sum()) / max(1, pairs)
        alike = cosine > count / self.scale * mean
        near = alike & (group[:, None] == group)
        return Groups(group, groups, suppress(near, attention))


def principal_groups(rows: Tensor, groups: int) -> Tensor:
    """The principal component on which each token's loading is largest. [n, V] -> [n] long.

    The tokens are the variables and the V channels of their sigmoid the samples.
    """
    samples = rows.float().sigmoid()
    samples = samples - samples.mean(dim=1, keepdim=True)

    # ascending eigenvalues, eigenvectors in the columns
    values, vectors = torch.linalg.eigh(samples @ samples.T)
    values, loadings = values.flip(0)[:groups], vectors.flip(1)[:, :groups].abs()

    # equal tokens have one component; the others of theirs are arbitrary
    empty = values <= SMALLEST * values[:1]
    empty = empty & (torch.arange(groups, device=rows.device) > 0)
    return loadings.masked_fill(empty, -1.0).argmax(dim=1)


def suppress(near: Tensor, score: Tensor) -> Tensor:
    """Greedy non-maximum suppression: which tokens are near a better one that stays. -> bool [n].

    near: bool [n, n]; score [n], of equal ones the first is better.
    """
    order = rankable(score).argsort(descending=True, stable=True)
    worse = near[order][:, order].triu(diagonal=1)

    gone = torch.zeros_like(order, dtype=torch.bool)
    for place in range(len(order)):
        gone = gone | (worse[place] & ~gone[place])

    return torch.zeros_like(gone).index_copy(0, order, gone)


def fill_seats(found: Groups, attention: Tensor, count: int) -> Tensor:
    """The `count` tokens that stay, ascending long: one of each group, the rest in proportion.

    Groups give suppressed tokens back only if there are not enough others.
    """
    size = count_members(found.group, found.groups + 1)[:-1]
    # the last one collects what is suppressed
    left = found.group.masked_fill(found.suppressed, found.groups)
    survivors = count_members(left, found.groups + 1)[:-1]

    first = (size > 0).long()
    rest = count - first.sum()
    # rounded cumulatively, so that they add up
    upto = (survivors.cumsum(0) * rest / survivors.sum()).round().long()
    seats = first + upto.diff(prepend=upto.new_zeros(1))
    seats = torch.minimum(seats, survivors)

    # what is suppressed is behind everything else in its group
    rank = rank_in_group(attention, torch.zeros_like(found.group))
    score = -(rank + len(rank) * found.suppressed)
    return select_by_group(score, found.group, seats, survivors, count, found.suppressed)
