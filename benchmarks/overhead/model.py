"""The model that is timed: the true LLaVA class with random weights, a quarter as wide as a 7B.

32 layers, hidden 1024, intermediate 2752, 16 heads, 576 visual and 40 text tokens. The vision tower
is as small as a tower with 24 x 24 patches can be, so nearly all of the time is the language
model's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE = 999  # token id

# tokens of the prompt: text, image, instruction
BEFORE = 8
VISUAL = 576
AFTER = 32


def build_model(
    dtype: torch.dtype, layers: int = 32, hidden: int = 1024, intermediate: int = 2752
) -> Any:
    """A random LLaVA on the CPU, in `dtype`, with SDPA attention."""
    torch.manual_seed(0)

    text = LlamaConfig(
        vocab_size=1000,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=2048,
    )
    # 96 / 4 = 24 patches a side, as in LLaVA-1.5
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=96,
        patch_size=4,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-2
    )

    model = LlavaForConditionalGeneration._from_config(
        config, dtype=dtype, attn_implementation="sdpa"
    )
    return model.eval()


def build_inputs(dtype: torch.dtype) -> dict[str, Tensor]:
    """One prompt: 8 text, 576 visual, 32 text tokens."""
    torch.manual_seed(1)

    # ids below 900 stay clear of the image token
    text = torch.randint(3, 900, (BEFORE + AFTER,))
    image = torch.full((VISUAL,), IMAGE)
    ids = torch.cat([text[:BEFORE], image, text[BEFORE:]])[None]  # [1, L]

    return {"input_ids": ids, "pixel_values": torch.randn(1, 3, 96, 96, dtype=dtype)}
