"""What a stage chose for a batch: which rows stay, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.rows import upload
from transprune.core.views import Selection
from transprune.runtime.pools import PoolGroup


@dataclass(frozen=True)
class Choice:
    """What the method chose for a group of pools. Shapes: G pools, K tokens kept of each.

    Attributes:
        group: the pools.
        selection: its tensors have a leading dimension [G].
    """

    group: PoolGroup
    selection: Selection

    @cached_property
    def rows(self) -> Tensor:
        """Row numbers of the kept tokens, ascending. long [G, K]."""
        return self.group.pick(self.selection.keep)

    @property
    def kept(self) -> int:
        """Tokens kept of each pool, K."""
        return self.selection.keep.shape[-1]


@dataclass(frozen=True)
class StageResult:
    """What a stage chose for the batch.

    Attributes:
        choices: of all pools.
        layout: the rows that arrived.
        stay: bool [B, L], real rows that stay; None where `block` says it.
        block: the visual rows, where each sample of a dense batch has the same ones and keeps the
            rows of the only choice, and all others.
        kept: number of rows that stay, per sample.
        kept_visual: how many of them are visual.
        image_counts: visual tokens that stay of each image of each sample; None where that is not
            known.
    """

    choices: Sequence[Choice]
    layout: Layout
    stay: Tensor | None
    block: slice | None
    kept: tuple[int, ...]
    kept_visual: tuple[int, ...]
    image_counts: tuple[tuple[int, ...], ...] | None

    @property
    def changes_nothing(self) -> bool:
        """Every token of every sample stays, untouched."""
        return self.kept == self.layout.lengths and not (self.merges or self.has_biases)

    def survivors(self) -> tuple[Tensor, Layout]:
        """Gather index [B, P] of the rows that stay, fillers on the left, and their layout."""
        if self.block is not None:
            return self.layout.survivors_of_block(
                self.block, self.choices[0].rows, self.image_counts
            )
        assert self.stay is not None
        return self.layout.survivors(self.stay, self.kept, self.kept_visual, self.image_counts)

    @property
    def reorders(self) -> bool:
        """Some method has an order of its own for the tokens it keeps."""
        return any(choice.selection.order is not None for choice in self.choices)

    def in_own_order(self, index: Tensor) -> Tensor:
        """The rows `index` [B, P] of `survivors`, with kept tokens in the order of their method."""
        ordered = index.clone()
        for choice in self.choices:
            order = choice.selection.order
            if order is None:
                continue
            samples = choice.group.sample_index
            ordered[samples, self._places(choice, index.shape[1])] = choice.rows.gather(1, order)

        return ordered

    def _places(self, choice: Choice, width: int) -> Tensor:
        """Where the kept tokens of a choice stand among the `width` survivors. long [G, K]."""
        if self.block is not None:
            first = self.block.start
            every = self.layout.prompt.slots_there[:1, first : first + choice.kept]
            return every.expand(len(choice.rows), -1)

        assert self.stay is not None
        samples = choice.group.sample_index
        rank = self.stay.cumsum(dim=1)[samples, choice.rows] - 1
        # fillers stand in front of all that stay
        fillers = [width - self.kept[sample] for sample in choice.group.samples]
        return rank + upload(np.array(fillers)[:, None], rank.device)

    @property
    def merges(self) -> bool:
        """Some kept rows get new contents."""
        return any(choice.selection.features is not None for choice in self.choices)

    @property
    def has_biases(self) -> bool:
        """Some kept rows count more, or less, as keys."""
        return any(choice.selection.key_bias is not None for choice in self.choices)

    def with_merged(self, hidden: Tensor) -> Tensor:
        """The rows [B, L, D] with the contents of merged tokens."""
        if not self.merges:
            return hidden

        hidden = hidden.clone()  # what entered belongs to the model
        for choice in self.choices:
            merged = choice.selection.features
            if merged is not None:
                hidden[choice.group.sample_index, choice.rows] = merged.to(hidden.dtype)

        return hidden
