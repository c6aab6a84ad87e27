"""LLaVA-OneVision, LLaVA-NeXT-Video and Video-LLaVA: several images in a prompt, videos, and both."""

from __future__ import annotations

import pytest
import torch

from families.case import Image
from families.cases import MODELS, build, greedy
from families.listener import quick
from families.video_prompts import TOKENS, clip, prompt
from reference import Forced, draw_keeps
from replay import replay
from transprune import TransPrune, prune
from transprune.errors import LayoutError, MissingSignal
from transprune.families import find_family

NAMES = ["llava_next_video", "llava_onevision", "video_llava"]
NEAR = 3e-5
PLACES = {0: 0.6, 3: 0.3}

each_name = pytest.mark.parametrize("name", NAMES)
each_run = pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])


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
