"""Models that others have changed: adapters, weights moved in and out, half precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from families.cases import greedy
from families.contract import Beside
from families.modes.common import mode, ragged
from replay import decoder_layers
from transprune import prune


@mode("LoRA")
def lora(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    adapted, slow = (with_adapters(beside, attn) for attn in (beside.attn, "eager"))
    with prune(adapted, method):
        run = greedy(adapted, inputs)
    replace(beside, own=adapted, slow=slow.get_base_model()).check(samples, run, told)


def with_adapters(beside: Beside, attn: str) -> Any:
    """A model of our own with random adapters in its decoder layers, the same every time."""
    from peft import LoraConfig, get_peft_model

    model = beside.zoo.fresh(beside.name, attn)
    inside = {part for layer in decoder_layers(model) for part in layer.modules()}
    ends = ("q_proj", "k_proj", "out_proj", "down_proj")
    named = [name for name, part in model.named_modules() if part in inside]
    targets = [name for name in named if name.endswith(ends)]

    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.2, generator=generator)
    return adapted


@mode("offloaded by accelerate")
def offload(beside: Beside) -> None:
    import accelerate

    samples, method, told, inputs = ragged(beside)
    model = beside.zoo.fresh(beside.name, beside.attn)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    try:
        greedy(model, inputs, steps=1)
    except (RuntimeError, NotImplementedError):
        pytest.skip("under `generate`, accelerate cannot offload this class, pruned or not.")
    with prune(model, method):
        run = greedy(model, inputs)
    beside.check(samples, run, told)


@mode("bfloat16")
def half(beside: Beside) -> None:
    """As far from a replay in bfloat16 as the model itself."""
    samples, method, told, _ = ragged(beside)
    model, slow = (
        beside.zoo.fresh(beside.name, attn).to(torch.bfloat16) for attn in (beside.attn, "eager")
    )
    rounded = replace(beside, own=model, slow=slow, dtype=torch.bfloat16)
    with prune(model, method):
        run = greedy(model, rounded.batch(samples), steps=4)
    rounded.check(samples, run, told)
