"""Early and outer signals, places, pictures encoded again: against the towers' own eager maps and plain calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForImageTextToText, LlavaConfig

from families.case import text_config
from families.cases import FAMILIES, IMAGE, build
from transprune import prune
from transprune.core.signals import Reads
from transprune.core.views import Selection
from transprune.errors import MethodError
from transprune.families.qwen2_5_vl import Qwen2_5_VL
from transprune.families.tower import attention_received
from transprune.methods import ProjectorPruner


@dataclass(frozen=True)
class Listener(ProjectorPruner):
    """Keeps everything and remembers the vision signals and features of each sample."""

    seen: list = field(default_factory=list, compare=False)

    name: ClassVar[str] = "listener"
    reads: ClassVar[Reads] = Reads(vision=(
        "early_saliency", "outer_saliency", "outer_keys", "place", "grid", "picture",
    ))  # fmt: skip

    def count(self, visual_tokens):
        return visual_tokens

    def select(self, view, carry=None):
        self.seen.append((view.vision, view.features.clone()))
        return Selection(torch.arange(len(view.candidates)))


@torch.no_grad()
def listen(model, inputs):
    listener = Listener()
    with prune(model, listener):
        model(**inputs)
    return listener.seen


@pytest.fixture
def llava(zoo, attn):
    return zoo("llava", attn)


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_early_and_outer_attention_of_clip(zoo, llava):
    """Of three layers the features leave the second: the first is early, the third, all heads as one, is outer."""
    sample = FAMILIES["llava"].ragged()[0]
    [(vision, _)] = listen(llava, FAMILIES["llava"].batch([sample]))
    tower = zoo("llava", "eager").model.vision_tower
    pixels = torch.cat([image.tensors["pixel_values"] for image in sample.images])
    with torch.no_grad():
        out = tower(pixels, output_attentions=True, output_hidden_states=True)
        outer = tower.encoder.layers[2]
        states = outer.layer_norm1(out.hidden_states[2])
        query, key = outer.self_attn.q_proj(states), outer.self_attn.k_proj(states)
        whole = (query @ key.mT / key.shape[-1] ** 0.5).softmax(dim=-1)
    torch.testing.assert_close(
        vision["early_saliency"],
        out.attentions[0][:, :, 0, 1:].mean(1).flatten(),
        atol=1e-5,
        rtol=0,
    )
    torch.testing.assert_close(
        vision["outer_saliency"], whole[:, 0, 1:].flatten(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(vision["outer_keys"], key[:, 1:].flatten(0, 1), atol=1e-5, rtol=0)


def test_places_are_in_raster_order(model, family):
    """The tokens of every crop come row by row, whatever order the tower works in; newlines have no place."""
    sample = FAMILIES[family].ragged()[0]
    [(vision, _)] = listen(model, FAMILIES[family].batch([sample]))
    place, grid, crop = vision["place"], vision["grid"], vision.crop
    assert torch.equal(crop < 0, (place < 0).any(dim=1))
    for number in range(int(crop.max()) + 1):
        here = crop == number
        cells = place[here][:, 0] * 1000 + place[here][:, 1]
        assert len(cells.unique()) == len(cells)
        assert (place[here] < grid[here]).all()
        if (
            FAMILIES[family].packing != "tiles"
        ):  # tiles are stitched, so rows of two tiles alternate
            assert cells.tolist() == sorted(cells.tolist())
            assert len(cells) == int(grid[here][0].prod())
    if FAMILIES[family].packing == "merged":
        assert [grid[crop == n][0].tolist() for n in (0, 1)] == [[4, 4], [3, 4]]


def test_a_picture_encoded_at_its_own_size_is_itself(model, family):
    """Resizing to the same size changes nothing, so every token must find its own feature again at its place."""
    sample = FAMILIES[family].ragged()[0]
    [(vision, features)] = listen(model, FAMILIES[family].batch([sample]))
    assert vision.encode is not None
    for number in range(int(vision.crop.max()) + 1):
        here = vision.crop == number
        rows, columns = vision["grid"][here][0].tolist()
        with torch.no_grad():
            again = vision.encode(number, rows, columns).unflatten(0, (rows, columns))
        place = vision["place"][here]
        torch.testing.assert_close(
            again[place[:, 0], place[:, 1]], features[here], atol=2e-5, rtol=0
        )


def test_a_smaller_picture_has_fewer_tokens(model, family):
    sample = FAMILIES[family].even()[0]
    [(vision, features)] = listen(model, FAMILIES[family].batch([sample]))
    assert vision.encode is not None
    with torch.no_grad():
        small = vision.encode(0, 2, 3)
    assert small.shape == (6, features.shape[1])
    assert small.isfinite().all()


def test_an_unknown_signal_is_refused(model):
    class Wrong(Listener):
        reads = Reads(vision=("salience",))

    with pytest.raises(MethodError, match="salience"):
        prune(model, Wrong())


def siglip():
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "image_size": 28, "patch_size": 7, "vision_use_head": False,
    }  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text_config("llama"), image_token_id=IMAGE, vision_feature_layer=-2,
        vision_feature_select_strategy="full",
    )  # fmt: skip
    torch.manual_seed(0)
    config._attn_implementation = "sdpa"
    return AutoModelForImageTextToText.from_config(config).eval()


@pytest.mark.parametrize("method", [
    "fastervlm:keep=5", "vispruner:keep=5", "visionzip:keep=5", "prumerge:keep=5", "tome:keep=5", "pool:keep=5",
    "downsample:keep=6", "vscan:keep=6,then=none", "cdpruner:keep=5",
])  # fmt: skip
@torch.no_grad()
def test_a_tower_without_cls_and_text_gets_the_documented_substitutes(method):
    model = siglip()
    inputs = {
        "input_ids": torch.tensor([[5, *[IMAGE] * 16, 6, 7]]),
        "pixel_values": torch.randn(1, 3, 28, 28),
    }
    with prune(model, method) as session:
        assert model(**inputs).logits.isfinite().all()
    assert len(session.trace.stages[0].keep[0]) == (6 if "=6" in method else 5)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


@contextmanager
def watching() -> Iterator[Largest]:
    with Largest() as largest:
        yield largest


def test_attention_received_is_exact_in_chunks_and_never_a_whole_map(monkeypatch):
    heads, patches = 4, 700
    query, key = torch.randn(
        2, heads, patches, 8, generator=torch.Generator().manual_seed(0)
    ).unbind(0)
    expected = (query @ key.mT / 8**0.5).softmax(dim=-1).mean(dim=(0, 1))
    for chunk in (1, heads * patches * 33, 2**22):
        monkeypatch.setattr("transprune.families.tower.CHUNK", chunk)
        torch.testing.assert_close(
            attention_received(query, key, 8**-0.5), expected, atol=1e-7, rtol=0
        )
    monkeypatch.setattr("transprune.families.tower.CHUNK", heads * patches * 33)
    with watching() as largest:
        attention_received(query, key, 8**-0.5)
    assert largest.numel <= heads * patches * 33 < patches * patches


def test_reading_a_tower_makes_no_map_of_all_patches(monkeypatch):
    """Qwen2.5-VL with 2304 patches: everything the signals make stays below one head's n x n."""
    monkeypatch.setattr("transprune.families.tower.CHUNK", 2**17)
    model, side = build(FAMILIES["qwen2_5_vl"]), 48
    grid = torch.tensor([[1, side, side]])
    pixels = torch.randn(side * side, 3 * 7 * 7, generator=torch.Generator().manual_seed(0))
    sizes = []
    original = Qwen2_5_VL.vision_signal

    def watched(self, base, capture, name):
        with watching() as largest:
            out = original(self, base, capture, name)
        sizes.append(largest.numel)
        return out

    monkeypatch.setattr(Qwen2_5_VL, "vision_signal", watched)
    ids = torch.tensor([[5, *[IMAGE] * (side * side // 4), 6]])
    with torch.no_grad(), prune(model, "vscan:keep=32,then=none"):
        model(
            input_ids=ids,
            pixel_values=pixels,
            image_grid_thw=grid,
            mm_token_type_ids=(ids == IMAGE).int(),
        )
    assert len(sizes) == 4
    assert max(sizes) < (side * side) ** 2
