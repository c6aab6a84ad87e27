"""Videos of Qwen2.5-VL: their placeholders are visual tokens as well, alone and beside an image."""

from __future__ import annotations

import pytest
import torch

from families.cases import IMAGE, LAYERS, VIDEO, VISION_END, VISION_START, greedy
from reference import TOLERANCE, reference
from transprune import Random, TransPrune, VisionZip, prune

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


@pytest.mark.parametrize("image_first", [False, True])
@pytest.mark.parametrize(
    "method", [Random(keep={2: 0.25}), VisionZip(0.25)], ids=lambda method: method.name
)
def test_an_image_and_a_video_are_pools_of_their_own(zoo, method, image_first):
    """The image is encoded first, wherever it stands in the prompt."""
    inputs = prompt(with_image=True)
    if image_first:
        ids = inputs["input_ids"][0]
        cut = int((ids == IMAGE).nonzero()[0]) - 1  # with the start token
        for name in ("input_ids", "mm_token_type_ids"):
            row = inputs[name][0]
            inputs[name] = torch.cat([row[:2], row[cut:-4], row[2:cut], row[-4:]])[None]

    with torch.no_grad(), prune(zoo("qwen2_5_vl", "sdpa"), method, pool="image") as session:
        zoo("qwen2_5_vl", "sdpa")(**inputs)
    first = 16 if image_first else 32
    kept = session.trace.stages[-1].keep[0]
    shares = [int((kept < first).sum()), int((kept >= first).sum())]
    assert shares == ([4, 8] if image_first else [8, 4])
