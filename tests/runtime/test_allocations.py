"""On a long prompt under SDPA nobody, in tower or language model, allocates a map of all tokens by all tokens."""

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from families.cases import FAMILIES, IMAGE, VISION_END, VISION_START
from methods.cases import METHODS
from transprune import prune
from transprune.core.signals import Reads
from transprune.methods import ATP, GridPrune, LayerPruner
from transprune.runtime.taps.attention import pool

PAIRS = {
    "divprune": "compares every feature with every other, by definition",
    "cdpruner": "its kernel holds every pair of tokens, by definition",
    "prunesid": "its components are those of every pair of patches, by definition",
    "scope": "how well each patch covers each other is what it chooses by",
    "topv": "a cost for every pair of tokens is what it transports by",
}

# the long models have no text tower
WITHOUT_CLIP = {
    "atp": ATP(0.4, relevance="embedding"),
    "gridprune": GridPrune(0.4, relevance="embedding"),
}


class Largest(TorchDispatchMode):
    """Remembers the largest tensor any operation put out, in elements."""

    def __init__(self):
        super().__init__()
        self.numel, self.where = 0, ""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, (tuple, list)) else (output,):
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.untyped_storage().nbytes() // tensor.element_size() > self.numel
            ):
                self.numel = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.where = f"{function} {tuple(tensor.shape)}"
        return output


def long_llava():
    """40 x 40 patches, and as many visual tokens."""
    case = FAMILIES["llava"]
    config = case.config()
    config.vision_config.image_size, config.vision_config.patch_size = 80, 2
    config.text_config.max_position_embeddings = 2048
    pixels = torch.randn(1, 3, 80, 80, generator=torch.Generator().manual_seed(0))
    return (
        config,
        {"input_ids": torch.tensor([[5, 6, *[IMAGE] * 1600, 7, 8, 9]]), "pixel_values": pixels},
        1600,
        1600,
    )


def long_qwen():
    """56 x 56 patches, merged to 28 x 28 visual tokens."""
    config = FAMILIES["qwen2_5_vl"].config()
    config.text_config.max_position_embeddings = 2048
    ids = torch.tensor([[5, VISION_START, *[IMAGE] * 784, VISION_END, 7, 8, 9]])
    pixels = torch.randn(3136, 147, generator=torch.Generator().manual_seed(0))
    inputs = {
        "input_ids": ids,
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, 56, 56]]),
    }
    return config, {**inputs, "mm_token_type_ids": (ids == IMAGE).int()}, 784, 3136


@pytest.fixture(scope="module", params=[long_llava, long_qwen])
def long(request):
    config, inputs, tokens, patches = request.param()
    torch.manual_seed(0)
    model = transformers.AutoModelForImageTextToText.from_config(
        config, attn_implementation="sdpa"
    ).eval()
    return (
        model,
        {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])},
        tokens,
        patches,
    )


@torch.no_grad()
def largest(model, inputs, method=None):
    watch = Largest()
    if method is None:
        with watch:
            model(**inputs, logits_to_keep=1)
        return watch
    with prune(model, method), watch:
        model(**inputs, logits_to_keep=1)
    return watch


def test_the_model_alone_allocates_none(long):
    model, inputs, tokens, _ = long
    assert largest(model, inputs).numel < 0.9 * tokens**2


@pytest.mark.parametrize("name", METHODS)
def test_no_method_allocates_one(long, name, monkeypatch):
    if name in PAIRS:
        pytest.skip(PAIRS[name])
    # the map of these prompts is smaller than a block, so it would be made at once
    monkeypatch.setattr(pool, "BLOCK", 2**18)
    model, inputs, tokens, patches = long
    method = WITHOUT_CLIP.get(name, METHODS[name].method)
    side = (
        patches if any(step.reads.vision for step in method.steps) else tokens
    )  # of the larger map it could make
    watch = largest(model, inputs, method)
    assert watch.numel < 0.9 * side**2, watch.where


def test_a_map_would_be_noticed(long):
    """A method that reads every row of attention trips the watch."""
    model, inputs, tokens, _ = long

    class Everything(LayerPruner):
        name = "everything"
        reads = Reads(rows="instruction")

        def schedule(self, num_layers):
            from transprune.core.schedule import Schedule

            return Schedule({3: 1.0})

        def score(self, view, carry):
            return {"score": view.attention(torch.arange(tokens)).mean(dim=(0, 1))}

    assert largest(model, inputs, Everything()).numel > tokens**2
