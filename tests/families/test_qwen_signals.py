"""Signals of the towers of Qwen-VL and GLM-V, token by token, against the maps of an eager tower."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch

from families.cases import MODELS, greedy
from families.packed_towers import PACKED, QWEN, SIDE, UNIT, eager_maps, places, quick, video_prompt
from transprune import prune
from transprune.core.signals import Reads
from transprune.core.views import Selection
from transprune.errors import MissingSignal
from transprune.methods import ProjectorPruner

# of 4 and of 5 blocks: the last one, and VScan's early one, 5 of 22
EARLY = {4: 1, 5: 1}


@dataclass(frozen=True)
class Listener(ProjectorPruner):
    """Keeps everything and remembers the vision signals and features of each sample."""

    seen: list = field(default_factory=list, compare=False)

    name: ClassVar[str] = "listener"
    reads: ClassVar[Reads] = Reads(vision=(
        "saliency", "keys", "early_saliency", "outer_saliency", "outer_keys", "place", "grid", "picture",
    ))  # fmt: skip

    def count(self, visual_tokens):
        return visual_tokens

    def select(self, view, carry=None):
        self.seen.append((view.vision, view.features.clone()))
        return Selection(torch.arange(len(view.candidates)))


NEAR = 1e-6  # between attention received of about 1 / 64


def near(actual, expected, atol=NEAR):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def listen(model: Any, inputs: Any, *, generate: bool = False) -> list[Any]:
    listener = Listener()
    with torch.no_grad(), prune(model, listener):
        greedy(model, inputs, steps=2) if generate else model(**inputs)
    return listener.seen


def blocks_of(name, model):
    """The last block that sees whole pictures, and the early one."""
    tower = model.model.visual
    if name == "qwen2_5_vl":
        return tower.fullatt_block_indexes[-1], tower.fullatt_block_indexes[0]
    return len(tower.blocks) - 1, EARLY[len(tower.blocks)]


def window_order(name, model, grid):
    """Tokens of the prompt in the order of the tower's rows: Qwen2.5-VL's come window by window."""
    if name != "qwen2_5_vl":
        return torch.arange(len(places(grid)))
    from transformers.vision_utils import get_vision_window_index

    return get_vision_window_index(grid, spatial_merge_size=2, window_size=28, patch_size=7)[0]


def check(name, vision, model, pixels, grid):
    """What was seen of one sample against the eager maps of its pictures, every frame by itself."""
    grid = torch.tensor([[1, h, w] for t, h, w in grid.tolist() for _ in range(t)])
    maps = eager_maps(model, pixels, grid)
    last, early = blocks_of(name, model)
    raster = window_order(name, model, grid).argsort()
    near(vision["saliency"], maps.saliency(last)[raster])
    near(vision["keys"], maps.mean_keys(last)[raster], 1e-5)
    near(vision["outer_saliency"], maps.saliency(last)[raster])
    near(vision["outer_keys"], maps.mean_keys(last)[raster], 1e-5)
    near(vision["early_saliency"], maps.saliency(early)[raster])
    assert torch.equal(vision["place"], places(grid))

    sizes = [(h // 2, w // 2) for _, h, w in grid.tolist()]
    crops = [number for number, (h, w) in enumerate(sizes) for _ in range(h * w)]
    assert vision.crop.tolist() == crops
    assert vision["grid"].tolist() == [list(sizes[crop]) for crop in crops]


@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("name", quick(PACKED))
def test_signals_are_those_of_the_eager_tower(zoo, name, attn, generate):
    case = MODELS[name]
    samples = case.ragged()
    if name != "qwen2_5_vl":
        maps = eager_maps(zoo(name), *_of(samples[0]))
        assert len(maps.weights[0]) == 2, "every picture attends to itself only"
    seen = listen(zoo(name, attn), case.batch(samples), generate=generate)
    for sample, (vision, _) in zip(samples, seen, strict=True):
        check(name, vision, zoo(name), *_of(sample))


def _of(sample):
    tensors = [image.tensors for image in sample.images]
    return (
        torch.cat([t["pixel_values"] for t in tensors]),
        torch.cat([t["image_grid_thw"] for t in tensors]),
    )


@pytest.mark.parametrize("name", quick(PACKED))
def test_the_map_tells_tokens_and_blocks_apart(zoo, name):
    """Otherwise the comparison above would say nothing."""
    maps = eager_maps(zoo(name), *_of(MODELS[name].even()[0]))
    last, early = blocks_of(name, zoo(name))
    saliency = maps.saliency(last)
    assert float(saliency.std()) > 200 * NEAR
    if early != last:
        assert float((maps.saliency(early) - saliency).abs().max()) > 200 * NEAR


@pytest.mark.parametrize("name", quick(PACKED))
def test_frames_of_a_video_are_crops_of_their_own(zoo, name):
    """No frame attends to another, and every frame has its own places."""
    inputs = video_prompt(name, frames=3)
    [(vision, features)] = listen(zoo(name, "sdpa"), inputs)
    assert len(features) == 3 * SIDE * SIDE // UNIT
    check(name, vision, zoo(name), inputs["pixel_values_videos"], inputs["video_grid_thw"])


@pytest.mark.parametrize("name", quick(PACKED))
def test_a_picture_encoded_at_its_own_size_is_itself(zoo, name):
    """The second of two pictures, so that its patches have to be found."""
    sample = MODELS[name].ragged()[0]
    [(vision, features)] = listen(zoo(name, "sdpa"), MODELS[name].batch([sample]))
    if name.startswith("qwen3_vl"):
        with pytest.raises(MissingSignal, match="DeepStack"):
            vision.encode(1, 3, 4)
        return

    with torch.no_grad():
        again, small = vision.encode(1, 3, 4), vision.encode(1, 2, 3)
    near(again, features[vision.crop == 1], 2e-5)
    assert small.shape == (6, features.shape[1])
    assert small.isfinite().all()


@pytest.mark.parametrize("name", quick(QWEN))
def test_a_video_and_an_image_each_have_their_own(zoo, name):
    """The tower runs on the image first, and the prompt has the video first."""
    inputs = video_prompt(name, frames=2, image=True)
    [(vision, _)] = listen(zoo(name, "sdpa"), inputs, generate=True)
    saliency, place = [], []
    for medium in ("pixel_values_videos", "video_grid_thw"), ("pixel_values", "image_grid_thw"):
        pixels, grid = (inputs[key] for key in medium)
        raster = window_order(name, zoo(name), grid).argsort()
        maps = eager_maps(zoo(name), pixels, grid)
        saliency.append(maps.saliency(blocks_of(name, zoo(name))[0])[raster])
        place.append(places(grid))
    near(vision["saliency"], torch.cat(saliency))
    assert torch.equal(vision["place"], torch.cat(place))
    each = SIDE * SIDE // UNIT
    assert vision.crop.tolist() == [crop for crop in range(3) for _ in range(each)]
