"""The tower of LLaVA-OneVision: pictures in tiles, frames that are pooled behind the projector, both in a prompt."""

from __future__ import annotations

import pytest
import torch

from families.cases import MODELS, build
from families.listener import listen
from families.models.onevision import FRAMES
from families.test_llava_videos import TOKENS, clip, plain_image, prompt
from methods.cases import METHODS
from transprune import prune
from transprune.errors import MissingSignal

NAME = "llava_onevision"
READERS = [name for name, case in METHODS.items() if case.method.steps[0].reads.vision]

each_run = pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])


@torch.no_grad()
def patch_signals(model, pixels):
    """Attention received [C, n] and keys [C, n, d] in the last layer of an eager tower."""
    tower, keys = model.model.vision_tower, []
    attention = tower.encoder.layers[-1].self_attn
    hook = attention.k_proj.register_forward_hook(lambda m, a, out: keys.append(out))
    maps = tower(pixels, output_attentions=True).attentions[-1]
    hook.remove()
    by_head = keys[0].unflatten(-1, (attention.num_heads, -1)).mean(dim=2)
    return maps.mean(dim=(1, 2)), by_head


def packed(model, image, values):
    """Values of patches [tiles, n, d] in the order of the prompt; NaN for newlines."""
    newline = torch.full(values.shape[-1:], float("nan"))
    [rows], _ = model.model.pack_image_features(
        [values], image.tensors["image_sizes"], image_newline=newline
    )
    return rows


@each_run
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_signals_of_a_picture_and_of_frames(zoo, attn, generate):
    """Patches are looked up through the model's packing, and averaged by its pooling."""
    eager, picture = zoo(NAME), MODELS[NAME].image(1)
    _, inputs = prompt(NAME, [2, clip(NAME), 1, picture, 3])
    names = ("saliency", "keys", "place", "grid")
    [(vision, _)] = listen(zoo(NAME, attn), inputs, names, generate=generate)
    count = TOKENS[NAME]

    saliency, keys = patch_signals(eager, inputs["pixel_values_videos"][0])
    pooled = eager.model.apply_pooling(torch.cat([saliency[..., None], keys], dim=-1)).flatten(0, 1)
    torch.testing.assert_close(vision["saliency"][: count - 1], pooled[:, 0], atol=1e-6, rtol=0)
    torch.testing.assert_close(vision["keys"][: count - 1], pooled[:, 1:], atol=1e-5, rtol=0)
    assert vision["saliency"][count - 1].isnan()  # the newline at the end
    assert vision["place"][: count - 1].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] * FRAMES
    assert vision["grid"][: count - 1].unique(dim=0).tolist() == [[2, 2]]

    tiles = picture.tensors["pixel_values"][0, :3]
    expected = packed(eager, picture, torch.stack(patch_signals(eager, tiles)[:1], dim=-1))[:, 0]
    torch.testing.assert_close(
        vision["saliency"][count:], expected, atol=1e-6, rtol=0, equal_nan=True
    )


@pytest.mark.parametrize("name", READERS)
def test_methods_of_the_tower_keep_something_of_both(zoo, name):
    method = METHODS[name].method.steps[0]
    _, inputs = prompt(NAME, [2, clip(NAME), 1, MODELS[NAME].image(1), 3])
    with torch.no_grad(), prune(zoo(NAME, "sdpa"), method, pool="image") as session:
        logits = zoo(NAME, "sdpa")(**inputs).logits
    kept = session.trace.stages[0].keep[0]
    assert logits.isfinite().all()
    assert 0 < int((kept < TOKENS[NAME]).sum()) < TOKENS[NAME]
    assert 0 < int((kept >= TOKENS[NAME]).sum()) < MODELS[NAME].image(1).tokens


def test_several_images_have_their_signals(zoo):
    _, inputs = prompt("", [2, plain_image(0), 2, plain_image(1), 3])
    inputs["batch_num_images"] = torch.tensor([2])
    [(vision, _)] = listen(zoo(NAME), inputs, ("saliency",))
    saliency, _ = patch_signals(zoo(NAME), inputs["pixel_values"][:, 0])
    for number in (0, 1):
        own = vision["saliency"][17 * number : 17 * number + 17]
        torch.testing.assert_close(own[:16], saliency[number], atol=1e-6, rtol=0)
        assert own[16].isnan()


def test_a_picture_that_is_scaled_down_is_refused():
    """Of five by five tiles, most tokens are rows of nobody."""
    model = build(MODELS[NAME]).eval()
    model.config.image_grid_pinpoints = [[28 * 5, 28 * 5]]
    inputs = {
        "image_sizes": torch.tensor([[140, 140]]),
        "pixel_values": torch.randn(1, 26, 3, 28, 28),
    }
    with torch.no_grad():
        features = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    inputs["input_ids"] = torch.tensor([[5, *[90] * len(features[0]), 7, 8]])
    with pytest.raises(MissingSignal, match="scaled them down"):
        listen(model, inputs, ("saliency",))
    with torch.no_grad(), prune(model, "divprune:keep_ratio=0.25"):
        assert model(**inputs).logits.isfinite().all()
