"""What methods read of frames in LLaVA-NeXT-Video, and of tiles in LLaVA-OneVision, against eager towers."""

from __future__ import annotations

import pytest
import torch

from families.cases import MODELS
from families.listener import listen, quick
from families.models.onevision import FRAMES
from families.video_prompts import TOKENS, clip, prompt
from transprune import prune
from transprune.errors import MissingSignal

each_run = pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])

# ------------------------------------------------------- the tower of LLaVA-NeXT-Video on frames


@torch.no_grad()
def pooled_signals(model, frames):
    """CLS attention [R] and keys [R, d] of frames, over each square of 2 x 2 patches."""
    tower = model.model.vision_tower
    output = tower(frames, output_attentions=True, output_hidden_states=True)
    layer = tower.encoder.layers[1]  # hidden_states[-2] leave the second of three layers
    keys = layer.self_attn.k_proj(layer.layer_norm1(output.hidden_states[1]))[:, 1:]
    keys = keys.unflatten(-1, (layer.self_attn.num_heads, -1)).mean(dim=2)
    saliency = output.attentions[1][:, :, 0, 1:].mean(dim=1)

    rows = []
    for frame in range(len(frames)):
        for row in (0, 2):
            for column in (0, 2):
                square = [4 * (row + i) + column + j for i in (0, 1) for j in (0, 1)]
                rows.append((saliency[frame, square].mean(), keys[frame, square].mean(dim=0)))
    return torch.stack([s for s, _ in rows]), torch.stack([k for _, k in rows])


@each_run
@pytest.mark.parametrize("attn", quick(["eager", "sdpa"], ["sdpa"]))
def test_signals_of_frames_are_those_of_an_eager_tower(zoo, attn, generate):
    """Beside a picture, whose patches are not pooled."""
    name = "llava_next_video"
    picture = MODELS[name].image(1)
    _, inputs = prompt(name, [2, clip(name), 1, picture, 3])
    [(vision, _)] = listen(
        zoo(name, attn), inputs, ("saliency", "keys", "place", "grid"), generate=generate
    )
    frames = inputs["pixel_values_videos"][0]
    saliency, keys = pooled_signals(zoo(name), frames)
    count = len(saliency)
    torch.testing.assert_close(vision["saliency"][:count], saliency, atol=1e-6, rtol=0)
    torch.testing.assert_close(vision["keys"][:count], keys, atol=1e-5, rtol=0)
    assert vision.crop[:count].tolist() == [frame for frame in range(FRAMES) for _ in range(4)]
    assert vision["place"][:count].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]] * FRAMES
    assert vision["grid"][:count].unique(dim=0).tolist() == [[2, 2]]
    assert vision["saliency"][count : count + 16].isfinite().all()


@pytest.mark.parametrize(
    "method", ["visionzip:keep=0.5", "vscan:keep=0.5,then=none", "tome:keep=0.5"]
)
def test_methods_of_the_tower_choose_among_frames(zoo, method):
    name = "llava_next_video"
    _, inputs = prompt(name, [2, clip(name), 4])
    with torch.no_grad(), prune(zoo(name, "sdpa"), method) as session:
        logits = zoo(name, "sdpa")(**inputs).logits
    assert logits.isfinite().all()
    assert len(session.trace.stages[0].keep[0]) == TOKENS[name] // 2


def test_frames_of_another_layer_and_of_another_size(zoo):
    name = "llava_next_video"
    _, inputs = prompt(name, [2, clip(name), 4])
    with pytest.raises(MissingSignal, match="vision_feature_layer"):
        listen(zoo(name), {**inputs, "vision_feature_layer": -3}, ("saliency",))
    [(vision, _)] = listen(zoo(name), inputs, ("place", "picture"))
    with pytest.raises(MissingSignal, match="at one size"):
        vision.encode(0, 1, 2)


# --------------------------------------------------------- the tower of OneVision, through packing


@each_run
def test_signals_of_tiles_go_through_the_packing(zoo, generate):
    """Numbered patches through the model's own packing say which token shows which patch; newlines show none."""
    name, picture = "llava_onevision", MODELS["llava_onevision"].image(1)
    _, inputs = prompt(name, [2, picture, 3])
    [(vision, _)] = listen(zoo(name, "sdpa"), inputs, ("saliency", "place"), generate=generate)

    model = zoo(name)
    tiles = picture.tensors["pixel_values"][0, :3]
    with torch.no_grad():
        maps = model.model.vision_tower(tiles, output_attentions=True).attentions[-1]
    received = maps.mean(dim=(1, 2)).flatten()
    numbers = torch.arange(float(len(received))).view(3, 16, 1)
    [rows], _ = model.model.pack_image_features(
        [numbers], picture.tensors["image_sizes"], image_newline=torch.tensor([-1.0])
    )
    number = rows[:, 0].long()
    expected = torch.where(number >= 0, received[number], float("nan"))
    torch.testing.assert_close(vision["saliency"], expected, atol=1e-6, rtol=0, equal_nan=True)
    assert torch.equal(vision.crop, torch.where(number >= 0, number // 16, -1))
    row = torch.where(number >= 0, number % 16 // 4, -1)
    assert torch.equal(vision["place"][:, 0], row)
