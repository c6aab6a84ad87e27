"""What a model starts from: fresh weights, a projector fitted to the tower, or a shallower model grown from below."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from transprune.nano.scenes import draw
from transprune.nano.train.vision import normalise

FITTED = 9_999_936  # the first of 64 training scenes that no stage sees


def grow(young: Any, grown: Any) -> None:
    """Give `grown` the weights of the shallower `young`; its extra layers lie at the bottom and change nothing yet."""
    old, new = young.model.language_model, grown.model.language_model
    extra = len(new.layers) - len(old.layers)
    with torch.no_grad():
        for layer in new.layers[:extra]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    for source, target in zip(old.layers, new.layers[extra:], strict=True):
        target.load_state_dict(source.state_dict())
    new.embed_tokens.load_state_dict(old.embed_tokens.state_dict())
    new.norm.load_state_dict(old.norm.state_dict())
    grown.lm_head.load_state_dict(young.lm_head.state_dict())
    grown.model.multi_modal_projector.load_state_dict(
        young.model.multi_modal_projector.state_dict()
    )


@torch.no_grad()
def initialise(model: Any, seed: int = 0) -> None:
    """Widths that Muon likes: unit-size rows everywhere, residual branches small, loud embeddings, a quiet head."""
    generator = torch.Generator().manual_seed(seed)

    def fill(weight: Tensor, deviation: float) -> None:
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)

    language = model.model.language_model
    depth = (2 * len(language.layers)) ** -0.5
    for layer in language.layers:
        for name, weight in layer.named_parameters():
            if weight.ndim == 2:
                fill(
                    weight,
                    weight.shape[1] ** -0.5
                    * (depth if "o_proj" in name or "down_proj" in name else 1.0),
                )
    fill(language.embed_tokens.weight, 0.5)
    fill(model.lm_head.weight, 0.02)


@torch.no_grad()
def standardise(model: Any, scenes: int = 64) -> None:
    """Start the projector so that every channel of the tower's features arrives with mean 0 and deviation 1."""
    pixels = torch.from_numpy(
        np.stack([draw("train", FITTED + number).pixels for number in range(scenes)])
    )
    tower = model.model.vision_tower(
        pixel_values=normalise(pixels, model.device), output_hidden_states=True
    )
    features = tower.hidden_states[-2][:, 1:].flatten(0, 1)
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-3
    first, second = (
        model.model.multi_modal_projector.linear_1,
        model.model.multi_modal_projector.linear_2,
    )
    generator = torch.Generator().manual_seed(scenes)
    for linear in (first, second):
        linear.weight.copy_(
            torch.randn(linear.weight.shape, generator=generator) * linear.weight.shape[1] ** -0.5
        )
        linear.bias.zero_()
    first.weight.div_(deviation)
    first.bias.copy_(-first.weight @ mean)
