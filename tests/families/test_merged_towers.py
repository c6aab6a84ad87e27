"""Towers whose patches are merged: what methods read of a token, square by square, against an eager tower's maps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from families.cases import IMAGE, MODELS, greedy
from families.listener import listen, quick
from families.models.merged import SIDE, TOKENS
from transprune import prune
from transprune.errors import MissingSignal
from transprune.families import find_family
from transprune.families.merged import side_by_side

NAMES = ["aya_vision", "cohere2_vision", "gemma3", "idefics3", "internvl", "qianfan_ocr", "smolvlm"]
CLASS_TOKEN = ["internvl", "qianfan_ocr"]
RESIZED = ["idefics3", "internvl", "qianfan_ocr", "smolvlm"]
GRID, MERGE = 8, 2

each_name = pytest.mark.parametrize("name", quick(NAMES, ["gemma3", "internvl", "smolvlm"]))


def attention_layers(model: Any) -> list[Any]:
    """The attention modules of the tower, by the names of each class."""
    base = model.model
    tower = base.vision_model if hasattr(base, "vision_model") else base.vision_tower
    layers = tower.layers if hasattr(tower, "layers") else tower.encoder
    layers = getattr(layers, "layer", None) or getattr(layers, "layers", None) or layers
    return [getattr(layer, "self_attn", None) or layer.attention for layer in layers]


@torch.no_grad()
def maps_and_keys(model: Any, inputs: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Attention maps [C, H, n, n] and keys [C, n, V] of every layer of an eager tower."""
    maps, keys, hooks = [], [], []
    for attention in attention_layers(model):
        hooks.append(attention.register_forward_hook(lambda m, a, out: maps.append(out[1])))
        hooks.append(attention.k_proj.register_forward_hook(lambda m, a, out: keys.append(out)))
    model(**inputs)
    for hook in hooks:
        hook.remove()
    return maps, keys


def of_squares(patches: Tensor) -> Tensor:
    """Mean over the four patches of each token, picked one by one. [C, n, ...] -> [C * TOKENS, ...]."""
    tokens = []
    for crop in patches:
        for row in range(0, GRID, MERGE):
            for column in range(0, GRID, MERGE):
                square = [(row + i) * GRID + column + j for i in (0, 1) for j in (0, 1)]
                tokens.append(crop[square].mean(dim=0))
    return torch.stack(tokens)


def seen_by_patch(name: str, attention: Tensor) -> Tensor:
    """Attention of the CLS token to the patches, or what they receive on average. [C, n]."""
    if name in CLASS_TOKEN:
        return attention[:, :, 0, 1:].mean(dim=1)
    return attention.mean(dim=(1, 2))


@each_name
@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
@pytest.mark.parametrize("attn", quick(["eager", "sdpa"], ["sdpa"]))
def test_signals_are_those_of_an_eager_tower(zoo, name, attn, generate):
    case = MODELS[name]
    samples = case.ragged()
    seen = listen(zoo(name, attn), case.batch(samples), generate=generate)
    assert len(seen) == len(samples)
    first = int(name in CLASS_TOKEN)
    heads = attention_layers(zoo(name))[0].num_heads
    for sample, (vision, _) in zip(samples, seen, strict=True):
        maps, keys = maps_and_keys(zoo(name), case.batch([sample]))
        by_head = keys[-1].unflatten(-1, (heads, -1)).mean(dim=2)[:, first:]
        expected = {
            "saliency": of_squares(seen_by_patch(name, maps[-1])),
            "early_saliency": of_squares(seen_by_patch(name, maps[0])),
            "keys": of_squares(by_head),
            "outer_keys": of_squares(keys[-1][:, first:]),
        }
        for signal, values in expected.items():
            torch.testing.assert_close(vision[signal], values, atol=1e-5, rtol=1e-4)
        crops = torch.arange(len(sample.images)).repeat_interleave(TOKENS)
        assert torch.equal(vision.crop, crops)


@each_name
def test_tokens_are_told_apart(zoo, name):
    """The comparison above would say nothing of equal ones."""
    case = MODELS[name]
    [(vision, _)] = listen(zoo(name), case.batch([case.even()[0]]))
    saliency = vision["saliency"]
    assert saliency.unique().numel() > 0.9 * saliency.numel()
    assert float(saliency.std()) > 1e-4  # ten times the tolerance above


@each_name
def test_places_are_in_raster_order(zoo, name):
    case = MODELS[name]
    sample = case.ragged()[0]
    [(vision, _)] = listen(zoo(name), case.batch([sample]))
    raster = [[row, column] for row in range(4) for column in range(4)]
    assert vision["place"].tolist() == raster * len(sample.images)
    assert vision["grid"].unique(dim=0).tolist() == [[4, 4]]


@each_name
def test_the_model_merges_the_patches_that_are_averaged(zoo, name):
    """Numbered patches through the model's own merging."""
    base = zoo(name).model
    numbers = torch.arange(float(GRID * GRID)).view(1, -1, 1)
    ours = side_by_side(numbers, 4, 4, MERGE)
    if name == "gemma3":
        grid = numbers.view(1, 1, GRID, GRID)
        theirs = base.multi_modal_projector.avg_pool(grid).flatten(2).mT
        ours = ours.mean(dim=-1, keepdim=True)
    elif name in CLASS_TOKEN:
        theirs = base.pixel_shuffle(numbers.view(1, GRID, GRID, 1), scale_factor=0.5)
    elif hasattr(base, "connector"):
        theirs = base.connector.pixel_shuffle(numbers, MERGE)
    else:
        projector = base.multi_modal_projector
        theirs = projector.pixel_shuffle(numbers)
    assert torch.equal(ours, theirs.reshape(ours.shape))
    assert torch.equal(ours.mean(dim=-1).flatten(), of_squares(numbers)[:, 0])


@pytest.mark.parametrize("name", quick(RESIZED, ["internvl", "smolvlm"]))
def test_a_picture_encoded_at_its_own_size_is_itself(zoo, name):
    case = MODELS[name]
    sample = case.ragged()[0]
    [(vision, features)] = listen(zoo(name), case.batch([sample]), ("place", "picture"))
    assert vision.encode is not None
    for crop in range(len(sample.images)):
        with torch.no_grad():
            again, small = vision.encode(crop, 4, 4), vision.encode(crop, 2, 3)
        torch.testing.assert_close(again, features[vision.crop == crop], atol=2e-5, rtol=1e-5)
        assert small.shape == (6, features.shape[1]) and small.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(RESIZED)))
def test_a_projector_of_one_size_says_so(zoo, name):
    case = MODELS[name]
    [(vision, _)] = listen(zoo(name), case.batch([case.even()[0]]), ("place", "picture"))
    with pytest.raises(MissingSignal, match="use 'pool'"):
        vision.encode(0, 2, 3)


@pytest.mark.parametrize("name", quick(["aya_vision", "internvl", "qianfan_ocr"], ["internvl"]))
def test_another_layer_than_the_configuration_says(zoo, name):
    """A call that chooses its own is refused; in the configuration it counts."""
    case = MODELS[name]
    inputs = case.batch([case.even()[0]])
    with pytest.raises(MissingSignal, match="vision_feature_layer"):
        listen(zoo(name), {**inputs, "vision_feature_layer": -2})

    model, eager = zoo.fresh(name, "sdpa"), zoo.fresh(name)
    model.config.vision_feature_layer = eager.config.vision_feature_layer = -2
    [(vision, _)] = listen(model, inputs, ("saliency",))
    maps, _ = maps_and_keys(eager, inputs)
    expected = of_squares(seen_by_patch(name, maps[-2]))
    torch.testing.assert_close(vision["saliency"], expected, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------ tiles of SmolVLM


def tiles(numbers: list[int], real: int) -> dict[str, Tensor]:
    """One sample of `real` tiles, filled up with tiles of zeros."""
    pixels = torch.zeros(1, len(numbers), 3, SIDE, SIDE)
    for place, number in enumerate(numbers[:real]):
        pixels[0, place] = MODELS["smolvlm"].image(number).tensors["pixel_values"][0]
    ids = torch.tensor([[5, 6, *[IMAGE] * (TOKENS * real), 7, 8, 9]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
@pytest.mark.parametrize("name", ["idefics3", "smolvlm"])
def test_tiles_of_zeros_are_padding_and_the_others_are_images(zoo, name, generate):
    model = zoo(name, "sdpa")
    inputs = tiles([0, 1, 2, 0], real=3)
    with torch.no_grad(), prune(model, "uniform:keep=2:0.25", pool="image") as session:
        greedy(model, inputs, steps=2) if generate else model(**inputs)
    kept = session.trace.stages[0].keep[0]
    shares = [int(((kept >= s) & (kept < s + TOKENS)).sum()) for s in range(0, 3 * TOKENS, TOKENS)]
    assert shares == [4, 4, 4]

    [padded], [bare] = listen(model, inputs), listen(model, tiles([0, 1, 2], real=3))
    torch.testing.assert_close(padded[0]["saliency"], bare[0]["saliency"])


@pytest.mark.parametrize("name", ["idefics3", "smolvlm"])
def test_a_tile_that_is_padded_within_is_refused(zoo, name):
    """Its padding takes no part in the tower's attention."""
    inputs = tiles([0], real=1)
    mask = torch.ones(1, 1, SIDE, SIDE, dtype=torch.long)
    mask[..., SIDE // 2 :] = 0
    with pytest.raises(MissingSignal, match="whole tiles"):
        listen(zoo(name), {**inputs, "pixel_attention_mask": mask})
    full = {**inputs, "pixel_attention_mask": torch.ones_like(mask)}
    [(vision, _)] = listen(zoo(name), full)
    assert vision["saliency"].isfinite().all()


@each_name
def test_the_grid_of_one_picture(zoo, name):
    """Tiles of a picture cannot be told from pictures, so several have no grid where tiles are cut."""
    family, config = find_family(zoo(name)), zoo(name).config
    one = {"pixel_values": torch.zeros(1, 3, SIDE, SIDE)}
    two = {"pixel_values": torch.zeros(2, 3, SIDE, SIDE)}
    grid = family.grid(config, one, 0, TOKENS, cropped=False)
    assert grid is not None and (grid.rows, grid.columns, grid.partial) == (4, 4, False)
    assert (family.grid(config, two, 0, TOKENS, cropped=False) is None) == (name != "gemma3")
    assert family.grid(config, one, 0, TOKENS + 1, cropped=False) is None
