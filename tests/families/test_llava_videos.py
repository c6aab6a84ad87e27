"""LLaVA-OneVision, LLaVA-NeXT-Video and Video-LLaVA: several images in a prompt, videos, and both."""

from __future__ import annotations

import pytest
import torch

from families.case import Image, Sample
from families.cases import IMAGE, MODELS, VIDEO, build, greedy
from families.listener import listen, quick
from families.models.onevision import FRAMES, video
from reference import Forced, draw_keeps
from replay import replay
from transprune import TransPrune, prune
from transprune.errors import LayoutError, MissingSignal
from transprune.families import find_family

NAMES = ["llava_next_video", "llava_onevision", "video_llava"]
# tokens of a video: four pooled patches a frame, with one newline at its end; and 16 patches with a CLS row
TOKENS = {
    "llava_next_video": FRAMES * 4,
    "llava_onevision": FRAMES * 4 + 1,
    "video_llava": FRAMES * 17,
}
NEAR = 3e-5
PLACES = {0: 0.6, 3: 0.3}

each_name = pytest.mark.parametrize("name", NAMES)
each_run = pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])


def prompt(name: str, parts: list[Image | int]) -> tuple[Sample, dict[str, torch.Tensor]]:
    """Words (a number of them), pictures and videos in that order."""
    ids: list[int] = []
    images = []
    for place, part in enumerate(parts):
        if isinstance(part, int):
            ids += list(range(5 + 7 * place, 5 + 7 * place + part))
            continue
        images.append(part)
        ids += [VIDEO if "pixel_values_videos" in part.tensors else IMAGE] * part.tokens
    inputs = {"input_ids": torch.tensor([ids])}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for image in images:
        for key, value in image.tensors.items():
            inputs[key] = torch.cat([inputs[key], value]) if key in inputs else value
    return Sample(tuple(ids), tuple(images)), inputs


def clip(name: str, number: int = 0) -> Image:
    return video(number, TOKENS[name])


@each_name
@pytest.mark.parametrize("kind", ["video", "two videos", "video and image", "image and video"])
@pytest.mark.parametrize("attn", quick(["eager", "sdpa"], ["sdpa"]))
def test_pruning_videos_equals_the_replay(zoo, name, kind, attn):
    model, picture = zoo(name, attn), MODELS[name].image(1)
    sample, inputs = prompt(
        name,
        {
            "video": [2, clip(name), 4],
            "two videos": [2, clip(name), 2, clip(name, 1), 4],
            "video and image": [2, clip(name), 1, picture, 3],
            "image and video": [2, picture, 1, clip(name), 3],
        }[kind],
    )
    keep = draw_keeps(sample, PLACES)
    with torch.no_grad():
        plain = greedy(model, inputs, steps=5)
        with prune(model, Forced.everything([sample], PLACES)):
            same = greedy(model, inputs, steps=5)
        with prune(model, Forced.of([sample], [keep])):
            run, full = greedy(model, inputs, steps=5), model(**inputs).logits[0, -1]
    assert torch.equal(torch.stack(same.logits), torch.stack(plain.logits))
    assert float((torch.stack(run.logits) - torch.stack(plain.logits)).abs().max()) > 0.1
    expected = replay(zoo(name), inputs, keep, run.sequences[0, -5:-1])[len(sample.ids) - 1 :]
    torch.testing.assert_close(torch.cat(run.logits), expected, atol=NEAR, rtol=0)
    torch.testing.assert_close(full, expected[0], atol=NEAR, rtol=0)


@each_name
@each_run
def test_each_video_and_each_image_is_a_pool(zoo, name, generate):
    model, picture = zoo(name, "sdpa"), MODELS[name].image(0)
    parts = [2, clip(name), 2, picture, 1, clip(name, 1), 3]
    sample, inputs = prompt(name, parts)
    with torch.no_grad(), prune(model, "uniform:keep=2:0.25", pool="image") as session:
        greedy(model, inputs, steps=2) if generate else model(**inputs)
    kept, start, shares = session.trace.stages[0].keep[0], 0, []
    for image in sample.images:
        shares.append(int(((kept >= start) & (kept < start + image.tokens)).sum()))
        start += image.tokens
    wanted = [round(0.25 * image.tokens) for image in sample.images]
    assert all(abs(share - want) <= 1 for share, want in zip(shares, wanted, strict=True))


@each_name
def test_methods_that_read_no_tower_choose_among_the_tokens_of_a_video(zoo, name):
    _, inputs = prompt(name, [2, clip(name), 4])
    for method in (TransPrune({3: 0.5, 6: 0.25}), "divprune:keep_ratio=0.25", "fastv:layer=3"):
        with torch.no_grad(), prune(zoo(name, "sdpa"), method) as session:
            logits = zoo(name, "sdpa")(**inputs).logits
        assert logits.isfinite().all()
        assert len(session.trace.stages[-1].keep[0]) < TOKENS[name]


# ------------------------------------------------------------------ several images of OneVision


def plain_image(number: int) -> Image:
    """One of several images: a single tile of 16 patches and a newline."""
    tensors = dict(MODELS["llava_onevision"].image(number).tensors)
    return Image(17, tensors)


@each_run
def test_several_images_are_not_cut_into_tiles(zoo, generate):
    """The processor says how many images each prompt has; with one it is tiled."""
    model = zoo("llava_onevision", "sdpa")
    single = MODELS["llava_onevision"].image(0)
    several, inputs = prompt("", [2, plain_image(0), 2, plain_image(1), 3])
    inputs["batch_num_images"] = torch.tensor([2])
    keep = draw_keeps(several, PLACES)
    with torch.no_grad(), prune(model, Forced.of([several], [keep])) as session:
        run = greedy(model, inputs, steps=3) if generate else model(**inputs)
    assert session.trace.visual_tokens == (34,)
    logits = torch.cat(run.logits)[0] if generate else run.logits[0, -1]
    expected = replay(zoo("llava_onevision"), inputs, keep)[-1]
    torch.testing.assert_close(logits, expected, atol=NEAR, rtol=0)

    family, base = find_family(model), model.model
    sizes = torch.cat([single.tensors["image_sizes"]] * 3)
    counts = {"image_sizes": sizes, "batch_num_images": torch.tensor([1, 2])}
    assert family.tokens_per_raw_image(base, counts, 0) == [single.tokens, 17, 17]


@pytest.mark.parametrize("size", [[56, 56], [200, 200], [90, 400], [400, 60]])
def test_more_than_nine_tiles_are_scaled_down(size):
    """The model's own features are counted, for pictures that are scaled down after the projector."""
    model = build(MODELS["llava_onevision"]).eval()
    model.config.image_grid_pinpoints = [
        [28 * rows, 28 * columns] for rows in range(1, 7) for columns in range(1, 7)
    ]
    inputs = {"image_sizes": torch.tensor([size]), "pixel_values": torch.randn(1, 37, 3, 28, 28)}
    with torch.no_grad():
        features = model.model.get_image_features(**inputs, return_dict=True).pooler_output
    lengths = find_family(model).tokens_per_raw_image(model.model, inputs, 0)
    assert lengths == [len(rows) for rows in features]


# -------------------------------------------------------------------------------- bad inputs


@each_name
def test_a_video_with_zero_frames(zoo, name):
    """Placeholders without pixels."""
    _, inputs = prompt(name, [2, clip(name), 4])
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"][:0]
    session = prune(zoo(name, "sdpa"), "uniform:keep=2:0.5")
    with torch.no_grad(), session, pytest.raises(LayoutError, match="empty"):
        zoo(name, "sdpa")(**inputs)


def test_video_llava_refuses_methods_of_the_tower_by_name(zoo):
    with pytest.raises(MissingSignal, match="Video-LLaVA"):
        prune(zoo("video_llava", "sdpa"), "visionzip:keep=0.5")


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
