"""What a family under test consists of: a tiny configuration, and images as its processor would hand them over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PAD, IMAGE, VIDEO, VISION_START, VISION_END = 0, 90, 91, 92, 93
SPECIAL = [IMAGE, VIDEO, VISION_START, VISION_END]
VOCAB, LAYERS = 100, 8


@dataclass(frozen=True)
class Image:
    """One image: the visual tokens it becomes, and the model inputs that carry it (first dimension joins images)."""

    tokens: int
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """One prompt: token ids and the images in it, in order."""

    ids: tuple[int, ...]
    images: tuple[Image, ...] = ()

    @property
    def visual_tokens(self) -> int:
        return sum(image.tokens for image in self.images)


@dataclass(frozen=True)
class FamilyCase:
    """One family.

    Attributes:
        config: makes the tiny configuration.
        image: makes image number 0, 1 or 2; image 0 and 2 become equally many tokens, image 1 fewer.
        brackets: the chat template puts start and end tokens around an image.
        token_types: the processor also returns `mm_token_type_ids`.
        positions: the policies that have a definition; M-RoPE positions cannot be renumbered.
        clip: one layer of a CLIP tower becomes the features, and CLIP's text half lies beside the
            checkpoint.
        packing: how patches become tokens: `"patches"` one by one, `"tiles"` with newlines between
            their rows, `"merged"` four by four.
    """

    config: Callable[[], Any]
    image: Callable[[int], Image]
    brackets: bool = False
    token_types: bool = False
    positions: tuple[str, ...] = ("keep", "renumber")
    clip: bool = False
    packing: str = "patches"

    def sample(self, images: Sequence[int], text: Sequence[int], seed: int = 0) -> Sample:
        """Text, image, text, image, ..., text; `text` gives the number of words in each gap."""
        generator = torch.Generator().manual_seed(seed)
        pictures = tuple(self.image(number) for number in images)
        ids: list[int] = []
        for gap, words in enumerate(text):
            ids += torch.randint(5, 80, (words,), generator=generator).tolist()
            if gap < len(pictures):
                block = [IMAGE] * pictures[gap].tokens
                ids += [VISION_START, *block, VISION_END] if self.brackets else block
        return Sample(tuple(ids), pictures)

    def ragged(self) -> list[Sample]:
        """Two prompts of different length with different numbers of visual tokens; the second gets padded."""
        return [self.sample([0, 1], [3, 2, 6]), self.sample([1], [1, 4], seed=1)]

    def even(self) -> list[Sample]:
        """Two prompts of one shape: no padding."""
        return [self.sample([0], [3, 6]), self.sample([2], [3, 6], seed=1)]

    def level(self) -> list[Sample]:
        """Two prompts of one length with different numbers of visual tokens: ragged once pruned, but no padding."""
        long, short = self.sample([0, 1], [3, 2, 6]), self.sample([1], [1, 4], seed=1)
        return [long, self.sample([1], [1, 4 + len(long.ids) - len(short.ids)], seed=1)]

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Model inputs of a left-padded batch."""
        length = max(len(sample.ids) for sample in samples)
        ids = torch.tensor(
            [[PAD] * (length - len(sample.ids)) + list(sample.ids) for sample in samples]
        )
        inputs = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
        images = [image for sample in samples for image in sample.images]
        for key in images[0].tensors if images else ():
            inputs[key] = torch.cat([image.tensors[key] for image in images])
        if self.token_types:
            inputs["mm_token_type_ids"] = (ids == IMAGE).int()
        return inputs

    def text_turn(self, ids: Tensor) -> dict[str, Tensor]:
        """Inputs of a later turn that brings no image: all tokens so far and the new ones, as `generate` takes them."""
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return (
            {**inputs, "mm_token_type_ids": torch.zeros_like(ids).int()}
            if self.token_types
            else inputs
        )


def text_config(kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "pad_token_id": PAD,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }


def clip_config() -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        "projection_dim": 32,
    }


def noise(number: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(100 + number))
