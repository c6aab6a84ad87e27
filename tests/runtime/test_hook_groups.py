"""Hooks are on the model while a forward needs them, and off in steps that need none."""

import threading

import pytest
import torch
from torch import nn

from families.cases import FAMILIES
from transprune import FastV, TransPrune, VisionZip, prune
from transprune.runtime.hooks import HookGroup

METHODS = [TransPrune({2: 0.6, 5: 0.3}), FastV(), VisionZip(6)]


def hooks_on(model):
    """Modules of the decoder that have hooks."""
    decoder = model.model.language_model
    named = decoder.layers[1:].named_modules()
    return [name for name, module in named if module._forward_pre_hooks or module._forward_hooks]


@pytest.fixture
def model(zoo):
    # not the shared one: on that, transformers leaves hooks where a test asked it for attention maps
    return zoo.fresh("llava", "sdpa")


@pytest.fixture
def watch(model):
    """What has hooks, whenever the second decoder layer's MLP is about to run."""
    seen = []
    mlp = model.model.language_model.layers[0].mlp
    handle = mlp.register_forward_pre_hook(lambda module, args: seen.append(hooks_on(model)))
    yield seen
    handle.remove()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_steps_of_decoding_have_none(model, watch, method):
    case = FAMILIES["llava"]
    inputs = case.batch(case.even()[:1])
    with torch.no_grad(), prune(model, method):
        assert not hooks_on(model)
        model.generate(**inputs, max_new_tokens=4, do_sample=False)
    prefill, *steps = watch
    assert prefill
    assert steps and not any(steps)


def test_fillers_need_them_in_every_step(model, watch):
    case = FAMILIES["llava"]
    with torch.no_grad(), prune(model, METHODS[0]):
        model.generate(**case.batch(case.ragged()), max_new_tokens=3, do_sample=False)
        assert not hooks_on(model)
    assert len(watch) == 3 and all(watch)


def test_a_text_only_prompt_has_none(model, watch):
    with torch.no_grad(), prune(model, METHODS[0]):
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert watch == [[]]


def test_a_forward_that_fails_takes_them_off(model):
    case = FAMILIES["llava"]
    inputs = case.batch(case.even()[:1])

    def fail(module, args):
        raise RuntimeError("out of memory")

    with torch.no_grad(), prune(model, METHODS[0]) as session:
        handle = model.model.language_model.layers[3].mlp.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            model(**inputs)
        handle.remove()
        assert not hooks_on(model)
        model(**inputs)
        assert session.trace.stages


def test_a_group_is_on_until_nobody_needs_it():
    module = nn.Linear(2, 2)
    group = HookGroup(lambda module: None)
    group.before(module, lambda module, args, kwargs: None)
    group.after(module, lambda module, args, output: None)

    threads = [threading.Thread(target=group.switch_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(module._forward_pre_hooks) == len(module._forward_hooks) == 1

    for _ in range(7):
        group.switch_off()
        assert module._forward_hooks
    group.switch_off()
    assert not module._forward_hooks and not module._forward_pre_hooks


def test_closing_takes_them_off_whoever_needs_them():
    module = nn.Linear(2, 2)
    group = HookGroup(lambda module: None)
    group.after(module, lambda module, args, output: None)
    group.switch_on()
    group.close()
    assert not module._forward_hooks
