"""Videos of Qwen2.5-VL: their placeholders are visual tokens as well, alone and beside an image.

Pools are the whole sample, each picture or video, or each frame.
"""

from __future__ import annotations

import pytest
import torch

from families.cases import IMAGE, LAYERS, VIDEO, VISION_END, VISION_START, greedy
from families.shares import kept_of
from methods.cases import METHODS
from reference import TOLERANCE, reference
from transprune import Random, TransPrune, VisionZip, prune
from transprune.errors import LayoutError

FRAMES, SIDE, PATCH, UNIT = 2, 8, 7, 4


def visual(token: int, frames: int) -> tuple[list[int], torch.Tensor, torch.Tensor]:
    """Placeholders, pixels and grid of an image (one frame) or a video."""
    generator = torch.Generator().manual_seed(frames)
    patches = frames * SIDE * SIDE
    block = [VISION_START, *[token] * (patches // UNIT), VISION_END]
    return (
        block,
        torch.randn(patches, 3 * PATCH * PATCH, generator=generator),
        torch.tensor([[frames, SIDE, SIDE]]),
    )


def prompt(*, with_image: bool) -> dict[str, torch.Tensor]:
    video, frames, grid = visual(VIDEO, FRAMES)
    inputs = {"pixel_values_videos": frames, "video_grid_thw": grid}
    ids = [5, 6, *video, 7]
    if with_image:
        image, pixels, image_grid = visual(IMAGE, 1)
        inputs |= {"pixel_values": pixels, "image_grid_thw": image_grid}
        ids += [*image, 8, 9]
    inputs["input_ids"] = torch.tensor([[*ids, 10, 11]])
    types = torch.zeros_like(inputs["input_ids"]).int()
    types[inputs["input_ids"] == IMAGE], types[inputs["input_ids"] == VIDEO] = 1, 2
    return {
        **inputs,
        "mm_token_type_ids": types,
        "attention_mask": torch.ones_like(inputs["input_ids"]),
    }


@pytest.mark.parametrize("with_image", [False, True], ids=["video", "video and image"])
def test_pruning_a_video_equals_the_slow_loop(zoo, attn, with_image):
    model, inputs = zoo("qwen2_5_vl", attn), prompt(with_image=with_image)
    total = FRAMES * SIDE * SIDE // UNIT + (SIDE * SIDE // UNIT if with_image else 0)
    unpruned = greedy(model, inputs)
    with prune(model, Random(keep={2: 1.0})):
        kept_all = greedy(model, inputs)
    assert torch.equal(torch.stack(kept_all.logits), torch.stack(unpruned.logits))

    with prune(model, Random(keep={2: 0.6, 5: 0.25})) as session:
        pruned = greedy(model, inputs)
    trace = session.trace
    assert trace.visual_tokens == (total,)
    keeps = {stage.boundary: tuple(stage.keep[0].tolist()) for stage in trace.stages}
    generated = pruned.sequences[0, inputs["input_ids"].shape[1] :]
    expected = reference(model, inputs, keeps, generated[:-1])[-len(generated) :]
    torch.testing.assert_close(torch.cat(pruned.logits), expected, atol=TOLERANCE, rtol=0)
    assert (torch.cat(pruned.logits) - torch.cat(unpruned.logits)).abs().max() > 0.1


@pytest.mark.parametrize(
    "method", [TransPrune(keep={3: 0.5, 6: 0.25}), VisionZip(0.25)], ids=["transprune", "visionzip"]
)
def test_methods_choose_among_the_tokens_of_a_video(zoo, attn, method):
    model, inputs = zoo("qwen2_5_vl", attn), prompt(with_image=False)
    with torch.no_grad(), prune(model, method) as session:
        model(**inputs)
    assert len(session.trace.stages[-1].keep[0]) == FRAMES * SIDE * SIDE // UNIT // 4
    assert len(session.trace.kv_lengths) == LAYERS


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    "method", [Random(keep={2: 0.25}), VisionZip(0.25)], ids=lambda method: method.name
)
def test_an_image_and_a_video_are_pools_of_their_own(zoo, method, swapped):
    """The image is encoded first, wherever it stands in the prompt."""
    inputs = prompt(with_image=True)
    inputs = image_first(inputs) if swapped else inputs

    with torch.no_grad(), prune(zoo("qwen2_5_vl", "sdpa"), method, pool="image") as session:
        zoo("qwen2_5_vl", "sdpa")(**inputs)
    first = 16 if swapped else 32
    kept = session.trace.stages[-1].keep[0]
    shares = [int((kept < first).sum()), int((kept >= first).sum())]
    assert shares == ([4, 8] if swapped else [8, 4])


def image_first(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same prompt with the image in front of the video."""
    ids = inputs["input_ids"][0]
    cut = int((ids == IMAGE).nonzero()[0]) - 1  # with the start token
    swapped = dict(inputs)
    for name in ("input_ids", "mm_token_type_ids"):
        row = inputs[name][0]
        swapped[name] = torch.cat([row[:2], row[cut:-4], row[2:cut], row[-4:]])[None]
    return swapped


SPATIAL = SIDE * SIDE // UNIT  # tokens of one frame, and of the image


@pytest.mark.parametrize("how", ["forward", "generate"])
@pytest.mark.parametrize("first", [False, True], ids=["video first", "image first"])
@pytest.mark.parametrize("method", [Random(keep={0: 0.5, 2: 0.25}), VisionZip(0.25)], ids=repr)
def test_every_frame_is_a_pool_of_its_own(zoo, method, first, how):
    """`generate` encodes the video beforehand and passes its positions instead of its grid."""
    model, inputs = zoo("qwen2_5_vl", "sdpa"), prompt(with_image=True)
    inputs = image_first(inputs) if first else inputs
    with torch.no_grad(), prune(model, method, pool="frame", record=("scores",)) as session:
        if how == "forward":
            model(**inputs)
        else:
            greedy(model, inputs, steps=2)
    trace = session.trace
    assert kept_of(trace, [SPATIAL] * 3) == [SPATIAL // 4] * 3
    for tokens, scores in zip(
        trace.stages[-1].candidates, trace.stages[-1].scores["score"], strict=True
    ):
        assert len(tokens) == len(scores)


def test_beams_have_the_frames_of_their_prompt(zoo):
    model = zoo("qwen2_5_vl", "sdpa")
    with prune(model, Random(keep={2: 0.25}), pool="frame") as session:
        greedy(model, prompt(with_image=False), steps=2, num_beams=2)
    for sample in (0, 1):
        assert kept_of(session.trace, [SPATIAL] * 2, sample=sample) == [4, 4]


@pytest.mark.parametrize("with_image", [False, True], ids=["video", "video and image"])
@pytest.mark.parametrize("pool", ["image", "frame"])
def test_pools_of_a_video_equal_the_slow_loop(zoo, attn, pool, with_image):
    model, inputs = zoo("qwen2_5_vl", attn), prompt(with_image=with_image)
    unpruned = greedy(model, inputs)
    with prune(model, Random(keep={0: 1.0, 3: 1.0}), pool=pool):
        kept_all = greedy(model, inputs)
    assert torch.equal(torch.stack(kept_all.logits), torch.stack(unpruned.logits))

    with prune(model, Random(keep={2: 0.6, 5: 0.25}), pool=pool) as session:
        pruned = greedy(model, inputs)
    keeps = {stage.boundary: tuple(stage.keep[0].tolist()) for stage in session.trace.stages}
    generated = pruned.sequences[0, inputs["input_ids"].shape[1] :]
    expected = reference(model, inputs, keeps, generated[:-1])[-len(generated) :]
    torch.testing.assert_close(torch.cat(pruned.logits), expected, atol=TOLERANCE, rtol=0)


# of one frame alone there is nothing to compare
@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"evs"}))
def test_every_method_prunes_frames(zoo, name):
    """The frames of a video get what pictures of their size get."""
    model, inputs = zoo("qwen2_5_vl", "sdpa"), prompt(with_image=True)
    method = METHODS[name].method
    with torch.no_grad(), prune(model, method, pool="frame") as session:
        model(**inputs)
    for stage in range(len(session.trace.stages)):
        first, second, image = kept_of(session.trace, [SPATIAL] * 3, stage)
        assert min(first, second, image) > 0
        if name not in ("pact", "prumerge"):  # how many they keep depends on the picture
            assert first == second == image


def test_a_frame_is_scored_as_if_it_were_a_picture(zoo):
    """Norms of the same features, whether they came as two frames or as two pictures."""
    model, inputs = zoo("qwen2_5_vl", "sdpa"), prompt(with_image=False)
    picture = [VISION_START, *[IMAGE] * SPATIAL, VISION_END]
    ids = torch.tensor([[5, 6, *picture, *picture, 7, 10, 11]])
    pictures = {
        "input_ids": ids,
        "mm_token_type_ids": (ids == IMAGE).int(),
        "attention_mask": torch.ones_like(ids),
        "pixel_values": inputs["pixel_values_videos"],
        "image_grid_thw": torch.tensor([[1, SIDE, SIDE]] * FRAMES),
    }
    kept = []
    for own, pool in ((inputs, "frame"), (pictures, "image")):
        with torch.no_grad(), prune(model, METHODS["norm"].method, pool=pool) as session:
            model(**own)
        kept.append(session.trace.stages[-1].keep[0])
    assert torch.equal(*kept)


def test_unknown_frames_are_refused_only_where_they_are_needed(zoo, monkeypatch):
    from transprune.families import FAMILIES

    family = FAMILIES.get("qwen2_5_vl")
    monkeypatch.setattr(family, "frames", lambda *args: None)
    model, inputs = zoo("qwen2_5_vl", "sdpa"), prompt(with_image=False)
    with torch.no_grad(), prune(model, Random(keep={2: 0.5}), pool="image") as session:
        model(**inputs)
    assert kept_of(session.trace, [2 * SPATIAL]) == [SPATIAL]
    with (
        torch.no_grad(),
        prune(model, Random(keep={2: 0.5}), pool="frame"),
        pytest.raises(LayoutError, match="pool='image'"),
    ):
        model(**inputs)
