"""Layout: the role of each row of the running sequence, and the slot it came from.

A method reads "the visual tokens" from its view, which finds them in the layout; nobody counts
system-prompt tokens by hand. A layout is never changed: pruning makes a shorter one with `take`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Rows of a batch at one depth. Shapes: B samples, L rows.

    Attributes:
        valid: bool [B, L]; False on padding and on the fillers of ragged batches.
        visual: bool [B, L], slots that hold image or video features.
        instruction: bool [B, L], valid tokens after the last visual one (the last token where there
            is none).
        origin: long [B, L], slot in the unpruned sequence of this forward.
        token: long [B, L], number of the visual token within its sample, 0..N-1; -1 for text.
        image: long [B, L], number of the image within its sample; -1 for text.
        lengths: valid rows per sample, as Python ints, so that nothing later has to wait for the
            device.
        visual_counts: visual rows per sample, likewise.
        drafts: rows at the end that are no part of the prompt: assisted decoding lets the first
            forward verify drafts too. They take no part in any choice.
    """

    valid: Tensor
    visual: Tensor
    instruction: Tensor
    origin: Tensor
    token: Tensor
    image: Tensor
    lengths: tuple[int, ...]
    visual_counts: tuple[int, ...]
    drafts: int = 0

    @classmethod
    def of_prompt(cls, visual: Tensor, valid: Tensor, image: Tensor, drafts: int = 0) -> Layout:
        """The layout of an unpruned prompt; `visual`, `valid` bool [B, L], `image` long [B, L]."""
        batch, length = visual.shape
        visual = visual & valid
        slots = torch.arange(length, device=visual.device).expand(batch, length)

        # everything after the last visual token: the whole prompt where there is none
        last_visual = torch.where(visual, slots, -1).amax(dim=1, keepdim=True)  # [B, 1]
        prompt = valid & (slots < length - drafts)
        instruction = prompt & (slots > last_visual)

        # a prompt that ends with its image: the last token stands in for the instruction
        last_valid = torch.where(prompt, slots, -1).amax(dim=1, keepdim=True)
        fallback = (slots == last_valid) & ~instruction.any(dim=1, keepdim=True)

        return cls(
            valid=valid,
            visual=visual,
            instruction=instruction | fallback,
            origin=slots,
            token=torch.where(visual, visual.cumsum(dim=1) - 1, -1),
            image=torch.where(visual, image, -1),
            lengths=tuple(valid.sum(dim=1).tolist()),
            visual_counts=tuple(visual.sum(dim=1).tolist()),
            drafts=drafts,
        )

    @property
    def text_counts(self) -> tuple[int, ...]:
        """Rows of the prompt per sample that are real and not visual."""
        pairs = zip(self.lengths, self.visual_counts, strict=True)
        return tuple(length - visual - self.drafts for length, visual in pairs)

    @property
    def text(self) -> Tensor:
        """Rows of the prompt that are real and not visual. bool [B, L]."""
        text = self.valid & ~self.visual
        text[:, self.rows_total - self.drafts :] = False
        return text

    @property
    def instruction_counts(self) -> tuple[int, ...]:
        """Instruction rows per sample."""
        return tuple(self.instruction.sum(dim=1).tolist())

    @property
    def batch(self) -> int:
        """Samples in the batch."""
        return len(self.lengths)

    @property
    def rows_total(self) -> int:
        """Rows per sample, fillers included."""
        return self.valid.shape[1]

    @property
    def dense(self) -> bool:
        """Every row of every sample is a real token."""
        return all(length == self.rows_total for length in self.lengths)

    def rows(self, sample: int) -> Tensor:
        """Row numbers of the real tokens of one sample, ascending. -> [n] long."""
        if self.lengths[sample] == self.rows_total:
            return torch.arange(self.rows_total, device=self.valid.device)

        return self.valid[sample].nonzero().flatten()

    def prompt_rows(self, sample: int) -> Tensor:
        """The same without drafts. -> [n] long."""
        rows = self.rows(sample)
        return rows[: len(rows) - self.drafts]

    def visual_rows(self, sample: int) -> Tensor:
        """Row numbers of the visual tokens of one sample, ascending. -> [N] long."""
        return self.visual[sample].nonzero().flatten()

    def take(self, index: Tensor, kept: tuple[int, ...], kept_visual: tuple[int, ...]) -> Layout:
        """The layout of the rows `index` [B, P].

        The last `kept[b]` rows of a sample are real, the rest are fillers.
        """
        width = index.shape[1]
        first_real = (
            width - torch.tensor(kept, dtype=torch.long, device=index.device)[:, None]
        )  # [B, 1]
        real = torch.arange(width, device=index.device) >= first_real  # [B, P]

        def gather(values: Tensor) -> Tensor:
            return values.gather(1, index)  # [B, L] -> [B, P]

        return Layout(
            valid=gather(self.valid) & real,
            visual=gather(self.visual) & real,
            instruction=gather(self.instruction) & real,
            origin=gather(self.origin),
            token=torch.where(real, gather(self.token), -1),
            image=torch.where(real, gather(self.image), -1),
            lengths=kept,
            visual_counts=kept_visual,
            drafts=self.drafts,
        )

    def survivors(self, dropped: list[Tensor]) -> tuple[Tensor, Layout]:
        """The rows that stay when `dropped[b]` (row numbers, long) go.

        Samples that keep fewer rows than the longest one are filled up on the left with rows of the
        same sample that were dropped anyway: the newest token stays last in every sample, and
        nothing real is ever written twice.

        Returns:
            Gather index [B, P], and the layout of these rows.
        """
        keep = self.valid.clone()
        kept = []
        kept_visual = []
        for sample, rows in enumerate(dropped):
            keep[sample, rows] = False
            kept.append(self.lengths[sample] - len(rows))
            kept_visual.append(self.visual_counts[sample] - len(rows))

        # dropped rows first, kept rows last, each in order: the tail holds all kept rows
        order = torch.argsort(keep.to(torch.uint8), dim=1, stable=True)
        index = order[:, self.rows_total - max(kept) :]
        return index, self.take(index, tuple(kept), tuple(kept_visual))


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [B, P] of `rows` [B, L, D] (or [1, L, D], shared by the batch). -> [B, P, D]."""
    if index.shape[0] == 1 and rows.shape[0] == 1:
        return rows.index_select(1, index[0])

    width = rows.shape[-1]
    rows = rows.expand(index.shape[0], -1, -1)
    return rows.gather(1, index[..., None].expand(-1, -1, width))
