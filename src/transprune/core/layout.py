"""Layout: the role of each row of the running sequence, and the slot it came from.

A method reads "the visual tokens" from its view, which finds them in the layout; nobody counts
system-prompt tokens by hand. A layout is never changed: pruning makes a shorter one. How many rows
there are of each kind is known on the host, so nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from transprune.core.prompt import PromptTable
from transprune.core.rows import Rows, last_rows, rows_where, upload, without_last


@dataclass(frozen=True)
class Layout:
    """Rows of a batch at one depth. Shapes: B samples, L rows.

    Attributes:
        prompt: the slots of the unpruned prompt.
        origin: long [B, L], slot of each row in the unpruned sequence of this forward, which gives
            its position and what it may attend to. A filler of a ragged batch has the slot of a
            token that was dropped.
        lengths: real rows per sample.
        visual_counts: visual rows per sample.
        images: visual rows of each image of each sample; None where only the device knows.
        whole: nothing was dropped yet.
        own: long [B, L], the slot where the token of each row stood; None where that is `origin`.
            A method with an order of its own puts its tokens into each other's slots.
    """

    prompt: PromptTable
    origin: Tensor
    lengths: tuple[int, ...]
    visual_counts: tuple[int, ...]
    images: tuple[tuple[int, ...], ...] | None = None
    whole: bool = False
    own: Tensor | None = None

    @classmethod
    def of_prompt(cls, prompt: PromptTable) -> Layout:
        """The layout of an unpruned prompt."""
        return cls(
            prompt=prompt,
            origin=prompt.slots_there,
            lengths=prompt.lengths,
            visual_counts=prompt.visual_counts,
            images=prompt.image_counts,
            whole=True,
        )

    @property
    def tokens(self) -> Tensor:
        """Slot where the token of each row stood. long [B, L]."""
        return self.origin if self.own is None else self.own

    @property
    def drafts(self) -> int:
        """Rows at the end that are no part of the prompt."""
        return self.prompt.drafts

    @property
    def batch(self) -> int:
        """Samples in the batch."""
        return len(self.lengths)

    @property
    def rows_total(self) -> int:
        """Rows per sample, fillers included."""
        return self.origin.shape[1]

    @cached_property
    def dense(self) -> bool:
        """Every row of every sample is a real token."""
        return all(length == self.rows_total for length in self.lengths)

    @property
    def aligned(self) -> bool:
        """The real rows of every sample are its last ones."""
        return not self.whole or self.prompt.aligned

    @property
    def text_counts(self) -> tuple[int, ...]:
        """Rows of the prompt per sample that are real and not visual."""
        pairs = zip(self.lengths, self.visual_counts, strict=True)
        return tuple(length - visual - self.drafts for length, visual in pairs)

    @cached_property
    def image_counts(self) -> tuple[tuple[int, ...], ...]:
        """Visual rows of each image of each sample.

        Waits for the device where images were ranked together and their shares are now needed.
        """
        if self.images is not None:
            return self.images
        counts = []
        for image, whole in zip(self.image.cpu(), self.prompt.image_counts, strict=True):
            counts.append(tuple(image[image >= 0].bincount(minlength=len(whole)).tolist()))
        return tuple(counts)

    # ------------------------------------------------------------------- rows of one sample

    def rows(self, sample: int) -> Rows:
        """Rows of the real tokens of one sample."""
        if not self.aligned:
            return rows_where(self.prompt.valid[sample], self.prompt.device)
        return slice(self.rows_total - self.lengths[sample], self.rows_total)

    def prompt_rows(self, sample: int) -> Rows:
        """The same without drafts."""
        return without_last(self.rows(sample), self.drafts)

    def visual_rows(self, sample: int) -> Rows:
        """Rows of the visual tokens of one sample."""
        if self.whole:
            return rows_where(self.prompt.visual[sample], self.prompt.device)

        count = self.visual_counts[sample]
        behind = self.prompt.behind_block[sample]
        if behind is None:
            return self._visual_first[sample, :count]

        # nothing stands between the visual tokens, so their place follows from what is behind them
        last = self.rows_total - behind
        return slice(last - count, last)

    def instruction_rows(self, sample: int) -> Rows:
        """Rows of the instruction of one sample, which stands at the end of its prompt."""
        return last_rows(self.prompt_rows(sample), self.prompt.instruction_counts[sample])

    @cached_property
    def _visual_first(self) -> Tensor:
        """Row numbers of each sample, those of visual tokens first, each kind in order."""
        return self.visual.argsort(dim=1, descending=True, stable=True)

    # ------------------------------------------------------------------------------- tables

    @cached_property
    def valid(self) -> Tensor:
        """Rows that are real; False on padding and fillers. bool [B, L]."""
        if self.whole:
            return self.prompt.valid_there
        if self.dense:
            return torch.ones_like(self.origin, dtype=torch.bool)

        first = self.rows_total - np.array(self.lengths)[:, None]  # [B, 1]
        return upload(np.arange(self.rows_total) >= first, self.origin.device)

    @cached_property
    def visual(self) -> Tensor:
        """Rows of visual tokens. bool [B, L]."""
        if self.whole:
            return self.prompt.visual_there
        if None in self.prompt.behind_block:
            return self.prompt.visual_there.gather(1, self.origin) & self.valid

        flags = np.zeros((self.batch, self.rows_total), dtype=bool)
        for sample in range(self.batch):
            flags[sample, self.visual_rows(sample)] = True
        return upload(flags, self.origin.device)

    @cached_property
    def token(self) -> Tensor:
        """Number of the visual token within its sample; -1 for text and fillers. long [B, L]."""
        return self._of_slots(self.prompt.token_there)

    @cached_property
    def image(self) -> Tensor:
        """Number of the image within its sample; -1 for text and fillers. long [B, L]."""
        return self._of_slots(self.prompt.image_there)

    def _of_slots(self, there: Tensor) -> Tensor:
        """The numbers of the slots of all rows; -1 for fillers."""
        if self.whole:
            return there
        own = there.gather(1, self.tokens)
        return own if self.dense else torch.where(self.valid, own, -1)

    # ------------------------------------------------------------------------------ pruning

    def survivors(
        self,
        stay: Tensor,
        kept: tuple[int, ...],
        kept_visual: tuple[int, ...],
        images: tuple[tuple[int, ...], ...] | None = None,
    ) -> tuple[Tensor, Layout]:
        """The rows that stay.

        Samples that keep fewer rows than the longest one are filled up on the left with rows of the
        same sample that were dropped anyway: the newest token stays last in every sample, and
        nothing real is ever written twice.

        Args:
            stay: bool [B, L], real rows that stay.
            kept: their number per sample.
            kept_visual: how many of them are visual.
            images: the same for each image, where it is known.

        Returns:
            Gather index [B, P], and the layout of these rows.
        """
        # rows that go first, rows that stay last, each in order: the tail holds all that stay
        order = stay.argsort(dim=1, stable=True)
        index = order[:, self.rows_total - max(kept) :]
        return index, self.take(index, kept, kept_visual, images)

    def survivors_of_block(
        self, block: slice, rows: Tensor, images: tuple[tuple[int, ...], ...] | None
    ) -> tuple[Tensor, Layout]:
        """The same where each sample of a dense batch keeps `rows` [B, K] of the rows `block`."""
        every = self.prompt.slots_there
        parts = [every[:, : block.start], rows, every[:, block.stop : self.rows_total]]
        index = torch.cat(parts, dim=1)

        count = rows.shape[1]
        kept = (index.shape[1],) * self.batch
        return index, self.take(index, kept, (count,) * self.batch, images)

    def take(
        self,
        index: Tensor,
        kept: tuple[int, ...],
        kept_visual: tuple[int, ...],
        images: tuple[tuple[int, ...], ...] | None,
    ) -> Layout:
        """The layout of the rows `index` [B, P], the last `kept` of which are real."""
        origin = index if self.whole else self.origin.gather(1, index)
        own = None if self.own is None else self.own.gather(1, index)
        return Layout(self.prompt, origin, kept, kept_visual, images, own=own)

    def in_order(self, before: Layout, rows: Tensor) -> Layout:
        """The same places, taken by the rows `rows` [B, L] of `before` in the order given."""
        return replace(self, own=before.tokens.gather(1, rows))


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [B, P] of `rows` [B, L, D] (or [1, L, D], shared by the batch). -> [B, P, D]."""
    if index.shape[0] == 1 and rows.shape[0] == 1:
        return rows.index_select(1, index[0])

    width = rows.shape[-1]
    rows = rows.expand(index.shape[0], -1, -1)
    return rows.gather(1, index[..., None].expand(-1, -1, width))
