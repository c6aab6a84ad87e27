"""What is known of a prompt before anything runs: which slot is what. It lies on the host.

The prompt is copied from the device once (`runtime.taps.prompt`). Everything that can be counted is
counted here, so that no later step has to ask the device how many tokens there are. NumPy and not
torch: on a few hundred flags a call of torch costs more than its work.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.rows import Flags, upload

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class PromptTable:
    """The slots of a prompt. Shapes: B samples, L slots; arrays are on the host.

    Attributes:
        visual: bool [B, L], slots that hold image or video features.
        valid: bool [B, L]; False on padding.
        image: long [B, L], number of the image within its sample, which is what `pool="image"` tells
            apart; with `pool="frame"` the number of the frame. -1 for text.
        device: where the model's inputs are.
        drafts: slots at the end that are no part of the prompt: assisted decoding lets the first
            forward verify drafts too. They take no part in any choice.
        asked: slots at the end, in front of any drafts, that are the instruction; 0 for all behind
            the last visual slot.
        consecutive: the position of each real token is that of the one before, plus one.
        ids: long [B, L], or None where the call passed embeddings only.
        clip: long [B, L], number of the picture or whole video within its sample, whatever the pool
            is; None: the same as `image`.
        frame: long [B, L], number of the frame within its sample, counted through all clips; None:
            every clip is a single frame.
        tiling: long [B, L], how the picture of each slot was cut (`families.tilings`), where a
            method reads it.
    """

    visual: Flags
    valid: Flags
    image: Numbers
    device: torch.device
    drafts: int = 0
    asked: int = 0
    consecutive: bool = True
    ids: Numbers | None = None
    clip: Numbers | None = None
    frame: Numbers | None = None
    tiling: Numbers | None = None

    @cached_property
    def token(self) -> Numbers:
        """Number of the visual token within its sample, 0..N-1; -1 for text. [B, L]."""
        return np.where(self.visual, self.visual.cumsum(axis=1) - 1, -1)

    @cached_property
    def instruction(self) -> Flags:
        """Prompt slots after the last visual one; the last slot where there is none. [B, L].

        The whole prompt where there is no visual token.
        """
        slots = np.arange(self.visual.shape[1])
        prompt = self.valid & (slots < len(slots) - self.drafts)
        last_visual = np.where(self.visual, slots, -1).max(axis=1, keepdims=True)  # [B, 1]
        behind = prompt & (slots > last_visual)
        if self.asked:
            behind &= slots >= len(slots) - self.drafts - self.asked

        # a prompt that ends with its image: the last token stands in for the instruction
        last = np.where(prompt, slots, -1).max(axis=1, keepdims=True)
        return behind | ((slots == last) & ~behind.any(axis=1, keepdims=True))

    @cached_property
    def text(self) -> Flags:
        """Real slots that are neither visual nor drafts. [B, L]."""
        slots = np.arange(self.visual.shape[1])
        return self.valid & ~self.visual & (slots < len(slots) - self.drafts)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Real slots of each sample, drafts included."""
        return tuple(self.valid.sum(axis=1).tolist())

    @cached_property
    def visual_counts(self) -> tuple[int, ...]:
        """Visual tokens of each sample."""
        return tuple(self.visual.sum(axis=1).tolist())

    @cached_property
    def instruction_counts(self) -> tuple[int, ...]:
        """Instruction tokens of each sample."""
        return tuple(self.instruction.sum(axis=1).tolist())

    @cached_property
    def image_counts(self) -> tuple[tuple[int, ...], ...]:
        """Visual tokens of each image of each sample."""
        samples = zip(self.image, self.visual, strict=True)
        return tuple(tuple(np.bincount(image[visual]).tolist()) for image, visual in samples)

    def clip_of_token(self, sample: int) -> Numbers:
        """Number of the picture or video of each visual token of a sample. [N]."""
        table = self.image if self.clip is None else self.clip
        return table[sample][self.visual[sample]]

    def frame_of_token(self, sample: int) -> Numbers:
        """Number of the frame of each visual token of a sample. [N]."""
        if self.frame is None:
            return self.clip_of_token(sample)
        return self.frame[sample][self.visual[sample]]

    def frame_counts(self, sample: int) -> tuple[tuple[int, ...], ...]:
        """Visual tokens of each frame of each picture or video of a sample, in prompt order.

        Empty where one stands between the tokens of another.
        """
        clip = self.clip_of_token(sample)
        frame = self.frame_of_token(sample)
        # counts in order would then name other tokens than those of the frame
        if (np.diff(frame) < 0).any() or (np.diff(clip) < 0).any():
            return ()

        counts = []
        for number in np.unique(clip):
            own = frame[clip == number]
            counts.append(tuple(np.unique(own, return_counts=True)[1].tolist()))

        return tuple(counts)

    @cached_property
    def ends_with_image(self) -> tuple[bool, ...]:
        """Whether the last prompt token of each sample is a visual one."""
        both = self.instruction & self.visual
        return tuple(bool(sample.any()) for sample in both)

    @cached_property
    def images_in_order(self) -> bool:
        """No image stands between the tokens of another one."""
        samples = zip(self.image, self.visual, strict=True)
        return not any((np.diff(image[visual]) < 0).any() for image, visual in samples)

    @cached_property
    def behind_block(self) -> tuple[int | None, ...]:
        """Real slots behind the visual tokens of each sample, where nothing stands between these.

        None where something does.
        """
        counts: list[int | None] = []
        for visual, valid in zip(self.visual, self.valid, strict=True):
            slots = visual.nonzero()[0]
            together = len(slots) > 0 and slots[-1] - slots[0] + 1 == len(slots)
            counts.append(int(valid[slots[-1] + 1 :].sum()) if together else None)
        return tuple(counts)

    @cached_property
    def aligned(self) -> bool:
        """All padding stands in front of all real slots, in every sample."""
        return not (self.valid[:, :-1] & ~self.valid[:, 1:]).any()

    # --------------------------------------------------------------------- on the device

    @cached_property
    def slots_there(self) -> Tensor:
        """Numbers of the slots. long [B, L]."""
        batch, length = self.visual.shape
        return torch.arange(length, device=self.device).expand(batch, length)

    @cached_property
    def visual_there(self) -> Tensor:
        """`visual` on the device."""
        return upload(self.visual, self.device)

    @cached_property
    def valid_there(self) -> Tensor:
        """`valid` on the device."""
        return upload(self.valid, self.device)

    @cached_property
    def token_there(self) -> Tensor:
        """`token` on the device."""
        return upload(self.token, self.device)

    @cached_property
    def image_there(self) -> Tensor:
        """`image` on the device."""
        return upload(np.where(self.visual, self.image, -1), self.device)
