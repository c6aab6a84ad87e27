"""The models that are timed: the true LLaVA class with random weights, in three sizes.

The vision tower is as small as a tower with that many patches can be, so nearly all of the time is
the language model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

PAD = 0  # token ids
IMAGE = 999
FIRST_WORD, LAST_WORD = 3, 900

PATCH = 4  # pixels a side
BEFORE = 8  # text tokens in front of the first picture
AFTER = 32  # and behind the last one


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    Attributes:
        layers, hidden, intermediate, heads: of the language model.
        grid: patches along a side of a picture; their square is its number of visual tokens.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    grid: int

    @property
    def visual(self) -> int:
        """Visual tokens of one picture."""
        return self.grid**2


# a quarter as wide as a 7B
BENCH = Shape(layers=32, hidden=1024, intermediate=2752, heads=16, grid=24)
# as deep as a 7B, and so narrow that its time is the time of the host
TOY = Shape(layers=32, hidden=64, intermediate=96, heads=4, grid=4)


def moderate(grid: int) -> Shape:
    """Wide enough that the layers matter, small enough for thousands of visual tokens."""
    return Shape(layers=16, hidden=512, intermediate=1376, heads=8, grid=grid)


def build_model(shape: Shape, dtype: torch.dtype) -> Any:
    """A random LLaVA on the CPU, in `dtype`, with SDPA attention."""
    torch.manual_seed(0)

    text = LlamaConfig(
        vocab_size=1000,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=16384,
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=shape.grid * PATCH,
        patch_size=PATCH,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-2
    )

    model = LlavaForConditionalGeneration._from_config(
        config, dtype=dtype, attn_implementation="sdpa"
    )
    return model.eval()


def build_inputs(
    shape: Shape,
    dtype: torch.dtype,
    after: Sequence[int] = (AFTER,),
    pictures: Sequence[int] = (1,),
) -> dict[str, Tensor]:
    """A left-padded batch as a processor makes it.

    Args:
        shape: of the model.
        dtype: of the pixels.
        after: per sample, text tokens behind its last picture.
        pictures: per sample, pictures, one right behind the other.

    Returns:
        `input_ids` and `attention_mask`, long [B, L], and `pixel_values` [pictures, 3, S, S].
    """
    generator = torch.Generator().manual_seed(1)
    rows = []
    for text, images in zip(after, pictures, strict=True):
        words = torch.randint(FIRST_WORD, LAST_WORD, (BEFORE + text,), generator=generator)
        image = torch.full((images * shape.visual,), IMAGE)
        rows.append(torch.cat([words[:BEFORE], image, words[BEFORE:]]))

    ids = torch.nn.utils.rnn.pad_sequence(
        rows, batch_first=True, padding_value=PAD, padding_side="left"
    )
    side = shape.grid * PATCH
    pixels = torch.randn(sum(pictures), 3, side, side, generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": (ids != PAD).long(),
        "pixel_values": pixels.to(dtype),
    }


def padded_share(lengths: Sequence[int]) -> float:
    """Share of a padded batch that is padding, for the lengths of its samples."""
    return 1 - sum(lengths) / (len(lengths) * max(lengths))
