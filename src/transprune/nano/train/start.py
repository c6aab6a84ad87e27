"""Initial weights: fresh ones, a projector fitted to the tower, or those of a shallower model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from transprune.nano.batches import normalise
from transprune.nano.scenes import draw

# first of the 64 training scenes that fit the projector; no stage trains on them
FIT_SCENE = 9_999_936


def grow(shallow: Any, deep: Any) -> None:
    """Copy a shallower model into a deeper one, without changing its answers.

    The extra layers lie at the bottom. Their residual branches end in zero matrices, so at first
    they pass their input on.
    """
    old = shallow.model.language_model
    new = deep.model.language_model
    extra = len(new.layers) - len(old.layers)

    # with zeros in their last maps the new layers pass their input on, so the model starts as it
    # was
    with torch.no_grad():
        for layer in new.layers[:extra]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()

    for source, target in zip(old.layers, new.layers[extra:], strict=True):
        target.load_state_dict(source.state_dict())

    new.embed_tokens.load_state_dict(old.embed_tokens.state_dict())
    new.norm.load_state_dict(old.norm.state_dict())
    deep.lm_head.load_state_dict(shallow.lm_head.state_dict())
    projector = shallow.model.multi_modal_projector
    deep.model.multi_modal_projector.load_state_dict(projector.state_dict())


@torch.no_grad()
def initialise(model: Any, seed: int = 0) -> None:
    """Draw the weights of a language model, with standard deviations that suit Muon.

    - matrices [m, n] of the layers: 1 / sqrt(n);
    - the last matrix of each residual branch (`o_proj`, `down_proj`): 1 / sqrt(2 n L), L layers;
    - token embeddings 0.5, output head 0.02.
    """
    generator = torch.Generator().manual_seed(seed)
    language = model.model.language_model
    branch_scale = (2 * len(language.layers)) ** -0.5  # two residual branches per layer

    for layer in language.layers:
        for name, weight in layer.named_parameters():
            if weight.ndim != 2:
                continue  # norms stay 1
            deviation = weight.shape[1] ** -0.5
            ends_branch = "o_proj" in name or "down_proj" in name
            _fill(weight, deviation * (branch_scale if ends_branch else 1.0), generator)

    _fill(language.embed_tokens.weight, 0.5, generator)
    _fill(model.lm_head.weight, 0.02, generator)


@torch.no_grad()
def standardise(model: Any, scenes: int = 64) -> None:
    """Initialise the projector so that its input channels get mean 0 and standard deviation 1.

    The mean and deviation of the tower's features are measured on `scenes` scenes.
    """
    drawn = [draw("train", FIT_SCENE + number).pixels for number in range(scenes)]
    pixels = torch.from_numpy(np.stack(drawn))
    tower = model.model.vision_tower(
        pixel_values=normalise(pixels, model.device), output_hidden_states=True
    )

    features = tower.hidden_states[-2][:, 1:].flatten(0, 1)  # without CLS; [B, N, D] -> [B * N, D]
    mean = features.mean(dim=0)
    deviation = features.std(dim=0) + 1e-3

    first = model.model.multi_modal_projector.linear_1
    second = model.model.multi_modal_projector.linear_2
    generator = torch.Generator().manual_seed(scenes)
    for linear in (first, second):
        _fill(linear.weight, linear.weight.shape[1] ** -0.5, generator)
        linear.bias.zero_()

    # W (x - mean) / deviation, written as one linear layer
    first.weight.div_(deviation)
    first.bias.copy_(-first.weight @ mean)


def _fill(weight: Tensor, deviation: float, generator: torch.Generator) -> None:
    """Draw a weight from a normal distribution with mean 0."""
    weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)
