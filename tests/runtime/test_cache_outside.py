"""A pruned cache without the hooks of a session: refused before anything is stored, and right again inside one."""

import copy

import pytest
import torch

from families.cases import FAMILIES, WINDOWED, build, greedy
from transprune import DivPrune, FastV, PDrop, TransPrune, Uniform, prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import CacheError

METHODS = [
    TransPrune({2: 0.6, 5: 0.3}),
    PDrop({2: 0.5}),
    FastV(layer=2),
    DivPrune(0.5, proportional=True),
    Uniform({7: 0.5}),
]
INSIDE = "attach the session again"


@pytest.fixture(params=METHODS, ids=lambda method: method.name)
def method(request):
    return request.param


@pytest.fixture(params=["llava", "qwen2_5_vl"])
def family(request):
    return request.param


@pytest.fixture
def inputs(family):
    return FAMILIES[family].batch(FAMILIES[family].even()[:1])


@torch.no_grad()
def prefill(model, inputs, method):
    with prune(model, method):
        return cache_of_output(model(**inputs, use_cache=True))


def step(model, inputs, cache, tokens=1):
    """New words after the prompt."""
    call = {"input_ids": torch.arange(30, 30 + tokens)[None], **cache_argument(model, cache)}
    if "mm_token_type_ids" not in inputs:  # with a mask, Qwen's code counts positions anew
        call["attention_mask"] = torch.ones(1, inputs["input_ids"].shape[1] + tokens).long()
    return call


@torch.no_grad()
def logits(model, call):
    return model(**call).logits


def sizes(cache):
    return [layer.keys.shape[-2] for layer in cache.layers]


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_step_outside_is_refused_and_changes_nothing(model, inputs, method, tokens):
    cache = prefill(model, inputs, method)
    with prune(model, method):
        expected = logits(model, step(model, inputs, copy.deepcopy(cache), tokens))

    before = sizes(cache)
    with pytest.raises(CacheError, match=INSIDE):
        logits(model, step(model, inputs, cache, tokens))
    assert sizes(cache) == before

    with prune(model, method):
        assert torch.equal(logits(model, step(model, inputs, cache, tokens)), expected)


def test_any_session_will_do(model, inputs, method):
    """What was pruned is known to the cache, not to the session."""
    cache = prefill(model, inputs, method)
    with prune(model, method):
        expected = logits(model, step(model, inputs, copy.deepcopy(cache)))
    with prune(model, FastV(layer=4)):
        assert torch.equal(logits(model, step(model, inputs, cache)), expected)


@pytest.mark.parametrize("change", ["copied", "repeated", "selected"])
def test_whatever_was_done_to_the_cache(model, inputs, method, change):
    cache = prefill(model, inputs, method)
    if change == "copied":
        cache = copy.deepcopy(cache)
    if change == "repeated":
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(torch.tensor([1]))
    if change == "selected":
        cache.reorder_cache(torch.tensor([0]))
    with pytest.raises(CacheError, match=INSIDE):
        logits(model, step(model, inputs, cache))


def test_generate_outside(model, inputs, method):
    cache = prefill(model, inputs, method)
    ids = torch.cat([inputs["input_ids"], torch.tensor([[31, 32]])], dim=1)
    turn = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with pytest.raises(CacheError, match=INSIDE):
        greedy(model, turn, steps=2, **cache_argument(model, cache))


def test_a_failed_step_inside_does_not_open_the_cache(model, inputs, method):
    cache = prefill(model, inputs, method)
    last = model.get_decoder().layers[-1].mlp

    def fail(module, args):
        raise ValueError("out of memory, say")

    handle = last.register_forward_pre_hook(fail)
    try:
        with prune(model, method), pytest.raises(ValueError, match="out of memory"):
            logits(model, step(model, inputs, copy.deepcopy(cache)))
    finally:
        handle.remove()
    with pytest.raises(CacheError, match=INSIDE):
        logits(model, step(model, inputs, cache))


def test_an_emptied_cache_is_free(model, inputs, method):
    """After `reset` nothing pruned is left in it."""
    cache = prefill(model, inputs, method)
    cache.reset()
    words = {"input_ids": torch.arange(30, 36)[None]}
    fresh = logits(model, words)
    torch.testing.assert_close(logits(model, {**words, **cache_argument(model, cache)}), fresh)


def test_a_sliding_first_layer_is_guarded_too():
    model = build(WINDOWED).eval()
    inputs = WINDOWED.batch(WINDOWED.even()[:1])
    cache = prefill(model, inputs, FastV(layer=2))
    before = sizes(cache)
    with pytest.raises(CacheError, match=INSIDE):
        logits(model, step(model, inputs, cache))
    assert sizes(cache) == before


def test_an_unpruned_cache_needs_no_session(model, inputs):
    cache = prefill(model, inputs, Uniform({2: 1.0}))
    logits(model, step(model, inputs, cache))


@pytest.mark.parametrize("copied", [False, True])
def test_a_crop_into_the_prompt_is_refused_before_any_layer_is_cut(model, inputs, method, copied):
    cache = prefill(model, inputs, method)
    if copied:
        cache = copy.deepcopy(cache)
    before = sizes(cache)
    with pytest.raises(CacheError, match="crop"):
        cache.crop(-inputs["input_ids"].shape[1] + 4)
    assert sizes(cache) == before
    with prune(model, method):
        logits(model, step(model, inputs, cache))
