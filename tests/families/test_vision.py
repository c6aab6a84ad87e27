"""What the vision tower tells about each visual token, against the towers' own full attention, token by token."""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import pytest
import torch
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen
from transformers.vision_utils import get_vision_window_index

from families.cases import FAMILIES, greedy
from transprune import prune
from transprune.core.signals import Reads
from transprune.core.views import Selection
from transprune.methods import ProjectorPruner


@dataclass(frozen=True)
class Listener(ProjectorPruner):
    """Keeps everything and remembers the vision signals of each sample."""

    seen: list = field(default_factory=list, compare=False)

    name: ClassVar[str] = "listener"
    reads: ClassVar[Reads] = Reads(vision=("saliency", "keys"))

    def count(self, visual_tokens):
        return visual_tokens

    def select(self, view, carry=None):
        self.seen.append(view.vision)
        return Selection(torch.arange(len(view.candidates)))


def plain(model, inputs):
    with torch.no_grad():
        model(**inputs)


def beams(model, inputs):
    greedy(model, inputs, steps=2, num_beams=2)


RUNS = {
    "forward": (plain, 1),
    "generate": (lambda m, i: greedy(m, i, steps=2), 1),
    "beams": (beams, 2),
}


@torch.no_grad()
def clip_signals(model, pixels):
    """CLS attention and keys [images, patches(, d)] of the layer whose output is used, from the eager tower's maps."""
    tower = model.model.vision_tower
    output = tower(pixels, output_attentions=True, output_hidden_states=True)
    used = len(output.hidden_states) - 2  # feature layer -2 leaves encoder layer `used - 1`
    layer = tower.encoder.layers[used - 1]
    keys = layer.self_attn.k_proj(layer.layer_norm1(output.hidden_states[used - 1]))
    heads = keys.unflatten(-1, (layer.self_attn.num_heads, -1)).mean(dim=2)
    cls = None
    if isinstance(getattr(model.config, "vision_feature_layer", None), int):
        cls = model.model.multi_modal_projector(output.hidden_states[used][:, :1])[:, 0]
    return output.attentions[used - 1][:, :, 0, 1:].mean(dim=1), heads[:, 1:], cls


def llava_signals(model, sample):
    saliency, keys, cls = clip_signals(
        model, torch.cat([image.tensors["pixel_values"] for image in sample.images])
    )
    crop = torch.arange(len(saliency)).repeat_interleave(saliency.shape[1])
    return saliency.flatten(), keys.flatten(0, 1), crop, cls


def llava_next_signals(model, sample):
    """Patches are numbered, and the numbers sent through the model's own packing."""
    saliencies, keys, crops, states, first = [], [], [], [], 0
    for image in sample.images:
        size = image.tensors["image_sizes"]
        tiles = 3 if size[0, 0] == 28 else 5
        saliency, key, cls = clip_signals(model, image.tensors["pixel_values"][0, :tiles])
        patches = saliency.shape[1]
        numbers = torch.arange(tiles * patches, dtype=torch.float).view(tiles, patches, 1)
        packed, _ = model.model.pack_image_features(
            [numbers], size, "default", torch.tensor([-1.0])
        )
        number = packed[0][:, 0].long()
        real = number >= 0
        saliencies.append(torch.where(real, saliency.flatten()[number], float("nan")))
        keys.append(key.flatten(0, 1)[number] * real[:, None])
        crops.append(torch.where(real, number // patches + first, -1))
        states.append(cls)
        first += tiles
    return torch.cat(saliencies), torch.cat(keys), torch.cat(crops), torch.cat(states)


def _note(calls, module, args, kwargs):
    calls.append((args, kwargs))


@torch.no_grad()
def qwen_signals(model, sample):
    """Column means of one full softmax per image, averaged over merged patches, put back from window order."""
    tower = model.model.visual
    block = tower.blocks[3].attn
    saliencies, keys, crops = [], [], []
    for number, image in enumerate(sample.images):
        calls, grid = [], image.tensors["image_grid_thw"]
        hook = block.register_forward_pre_hook(partial(_note, calls), with_kwargs=True)
        tower(image.tensors["pixel_values"], grid_thw=grid)
        hook.remove()
        [(args, seen)] = calls
        states = args[0] if args else seen["hidden_states"]
        query, key, _ = block.qkv(states).view(len(states), 3, block.num_heads, -1).unbind(1)
        query, key = qwen.apply_rotary_pos_emb_vision(query, key, *seen["position_embeddings"])
        probabilities = torch.einsum("qhd,khd->hqk", query, key).mul(block.scaling).softmax(dim=-1)
        window_index, _ = get_vision_window_index(
            grid, spatial_merge_size=2, window_size=28, patch_size=7
        )
        order = torch.argsort(torch.as_tensor(window_index))
        saliencies.append(probabilities.mean(dim=(0, 1)).view(-1, 4).mean(dim=1)[order])
        keys.append(key.mean(dim=1).view(-1, 4, key.shape[-1]).mean(dim=1)[order])
        crops.append(torch.full((image.tokens,), number))
    return torch.cat(saliencies), torch.cat(keys), torch.cat(crops), None


EXPECTED = {"patches": llava_signals, "tiles": llava_next_signals, "merged": qwen_signals}


def expected_signals(zoo, family, sample):
    """Saliency, keys, crop and projected CLS state of a sample, by how its family packs patches."""
    return EXPECTED[FAMILIES[family].packing](zoo(family), sample)


@pytest.mark.parametrize("run", RUNS)
def test_signals_belong_to_the_right_tokens(zoo, model, family, run):
    samples = FAMILIES[family].ragged()
    call, repeats = RUNS[run]
    listener = Listener()
    with prune(model, listener):
        call(model, FAMILIES[family].batch(samples))
    assert len(listener.seen) == len(samples) * repeats
    for number, seen in enumerate(listener.seen):
        saliency, keys, crop, cls = expected_signals(zoo, family, samples[number // repeats])
        torch.testing.assert_close(seen["saliency"], saliency, atol=1e-6, rtol=0, equal_nan=True)
        torch.testing.assert_close(seen["keys"], keys, atol=1e-5, rtol=0)
        assert torch.equal(seen.crop, crop)
        if cls is None:
            assert seen.cls is None
        else:
            torch.testing.assert_close(seen.cls, cls, atol=1e-5, rtol=0)


def test_several_questions_about_one_image(zoo, model, family):
    case = FAMILIES[family]
    samples = [case.sample([1], [number, 4], seed=number) for number in range(1, 5)]
    together, alone = Listener(), Listener()
    with prune(model, together):
        plain(model, case.batch(samples))
    with prune(model, alone):
        plain(model, case.batch(samples[:1]))
    for seen in together.seen:
        assert torch.equal(seen.crop, alone.seen[0].crop)
        torch.testing.assert_close(
            seen["saliency"], alone.seen[0]["saliency"], atol=1e-6, rtol=0, equal_nan=True
        )
        assert (seen.cls is None) or seen.cls.shape == alone.seen[0].cls.shape


def test_saliency_tells_tokens_apart(zoo, family):
    saliency = expected_signals(zoo, family, FAMILIES[family].ragged()[0])[0]
    saliency = saliency[saliency.isfinite()]
    assert saliency.unique().numel() > 0.9 * saliency.numel()
    assert float(saliency.max()) > 1.15 * float(saliency.mean())
