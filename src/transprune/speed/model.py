"""Models of a given shape with random weights, made where and as they are used, and their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transprune.models.skeleton import build_skeleton
from transprune.speed.shapes import Prompt, Shape

PAD = 0


def build_model(
    shape: Shape,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    attention: str = "sdpa",
    seed: int = 0,
) -> Any:
    """A model with random weights, in evaluation mode; it never ends an answer by itself.

    Weights are drawn on `device` in `dtype`: no copy in another dtype, or on the host, is made.

    Args:
        shape: its sizes.
        device: where the weights are.
        dtype: of the weights.
        attention: attention implementation of transformers.
        seed: of the weights.

    Raises:
        ImportError: the attention implementation needs a package that is not installed.
    """
    from transformers import AutoModelForImageTextToText

    place = torch.device(device)
    devices = [place] if place.type == "cuda" else []
    with torch.random.fork_rng(devices), place:
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(
            _configuration(shape), dtype=dtype, attn_implementation=attention
        )

    # random weights may choose any token, the end of the sequence too
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = PAD
    return model.eval()


def weight_bytes(shape: Shape, dtype: torch.dtype) -> int:
    """Bytes of the weights in `dtype`; nothing is allocated."""
    skeleton = build_skeleton(_configuration(shape), shape.name)
    numbers = sum(weight.numel() for weight in skeleton.parameters())
    return int(numbers * dtype.itemsize)


def build_inputs(
    shape: Shape,
    batch: int = 1,
    pictures: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Inputs of a batch of prompts of equal length, with random text and random pictures.

    Args:
        shape: whose prompt it is.
        batch: prompts, B.
        pictures: of each prompt, one behind the other.
        device, dtype: of the pictures; ids are long.
        seed: of text and pictures.

    Returns:
        `input_ids` and `attention_mask` [B, L], and what the model takes for pictures.
    """
    prompt = shape.prompt
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([_ids(prompt, pictures, generator) for _ in range(batch)])  # [B, L]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    total = batch * pictures
    for name, sizes in prompt.noise.items():
        # drawn once and repeated: 32 pictures of five tiles are 54 million numbers
        noise = torch.randn(*sizes, generator=generator).to(dtype)
        inputs[name] = torch.cat([noise] * total)

    for name, rows in prompt.exact.items():
        inputs[name] = torch.tensor(list(rows) * total)
    if prompt.token_types:
        inputs[prompt.token_types] = (ids == prompt.image).int()

    return {name: tensor.to(device) for name, tensor in inputs.items()}


def _ids(prompt: Prompt, pictures: int, generator: torch.Generator) -> Tensor:
    """The ids of one prompt: text, pictures, text. -> long [L]."""

    def text(count: int) -> list[int]:
        return torch.randint(*prompt.words, (count,), generator=generator).tolist()

    placeholders = [prompt.image] * prompt.visual_tokens
    picture = [*prompt.opening, *placeholders, *prompt.closing]
    return torch.tensor([*text(prompt.before), *picture * pictures, *text(prompt.after)])


def _configuration(shape: Shape) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(**shape.config)
