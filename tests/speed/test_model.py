"""Shapes: the sizes of the published models, made in their dtype, with prompts that fit them."""

from __future__ import annotations

import pytest
import torch

from transprune.bench.measure.memory import peak_bytes
from transprune.cost.geometry import Geometry, known_geometry
from transprune.errors import UnknownFamily
from transprune.families import find_family
from transprune.speed.model import build_inputs, build_model, weight_bytes
from transprune.speed.shapes import find_shape, shape_names

FULL = ("llava-1.5-7b", "llava-next-7b", "qwen2.5-vl-7b")
TINY = ("llava-1.5-tiny", "llava-next-tiny", "qwen2.5-vl-tiny")

# weights of the published checkpoints, in units of 10^9
BILLIONS = {"llava-1.5-7b": 7.06, "llava-next-7b": 7.06, "qwen2.5-vl-7b": 8.29}


def test_all_shapes_are_listed():
    assert set(shape_names()) == {*FULL, *TINY}


@pytest.mark.parametrize("name", FULL)
def test_a_full_shape_has_the_sizes_of_its_model(name):
    shape = find_shape(name)
    known = known_geometry(name)
    found = Geometry.from_config(shape.config, name=known.name, visual_tokens=known.visual_tokens)
    assert found == known
    assert weight_bytes(shape, torch.bfloat16) / 2e9 == pytest.approx(BILLIONS[name], abs=0.005)


@pytest.mark.parametrize("name", [*FULL, *TINY])
def test_the_prompt_is_the_one_of_the_model(name):
    """The family counts the tokens of these very pictures; nothing is computed."""
    from transprune.models.skeleton import build_skeleton
    from transprune.speed.model import _configuration

    shape = find_shape(name)
    model = build_skeleton(_configuration(shape))
    family = find_family(model)
    inputs = build_inputs(shape, batch=2)

    visual = family.visual_mask(family.base(model), inputs["input_ids"])
    expected = [shape.prompt.visual_tokens] * 2
    assert visual.sum(dim=1).tolist() == expected
    assert family.tokens_per_image(family.base(model), inputs, sum(expected)) == expected
    assert inputs["input_ids"].shape[1] == expected[0] + shape.prompt.text_tokens
    assert shape.prompt.text_tokens == (64 if name in FULL else 20)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_are_made_in_their_dtype_without_another_copy(name, dtype):
    shape = find_shape(name)
    made = []
    peak = peak_bytes(lambda: made.append(build_model(shape, "cpu", dtype)))

    assert {weight.dtype for weight in made[0].parameters()} == {dtype}
    assert peak < 1.01 * weight_bytes(shape, dtype)


def test_a_seed_gives_the_same_model_and_leaves_the_random_state_alone():
    shape = find_shape("llava-1.5-tiny")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (build_model(shape, seed=seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", TINY)
def test_several_pictures_and_prompts_run(name):
    shape = find_shape(name)
    model = build_model(shape)
    inputs = build_inputs(shape, batch=2, pictures=3)
    with torch.no_grad():
        logits = model(**inputs, logits_to_keep=1).logits
    assert logits.shape[:2] == (2, 1) and torch.isfinite(logits).all()


def test_other_spellings_of_a_published_model():
    assert find_shape("llava-hf/llava-1.5-7b-hf") == find_shape("LLaVA-1.5-7B")
    assert find_shape("llava-hf/llava-v1.6-vicuna-7b-hf").name == "llava-next-7b"


@pytest.mark.parametrize("name", ["llava-1.5-13b", "nothing"])
def test_an_unknown_shape_names_the_known_ones(name):
    with pytest.raises(UnknownFamily, match=r"no shape.*llava-next-7b.*give its checkpoint"):
        find_shape(name)
