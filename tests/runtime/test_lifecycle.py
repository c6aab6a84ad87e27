"""Leaving the room as it was found: hooks, exceptions, two sessions, two models, threads, copies, wrappers."""

import copy
import gc
import threading
import weakref

import pytest
import torch

from families.cases import FAMILIES, greedy
from reference import PLACES, TOLERANCE, Forced, draw_keeps
from transprune import Compose, FastV, TransPrune, VisionZip, prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import SessionError
from transprune.families import find_family

BUSY = Compose(
    [VisionZip(0.5), FastV(layer=2, keep_ratio=0.5), TransPrune({4: 0.5, 6: 0.3})]
)  # every kind of hook
HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_forward_hooks_always_called",
    "_forward_hooks_with_kwargs",
)


@pytest.fixture
def inputs(family):
    return FAMILIES[family].batch(FAMILIES[family].ragged())


def count_hooks(model):
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in HOOKS)


def state_of(model):
    """Names of everything that lives on the modules, and the configuration."""
    return {
        name: sorted(vars(module)) for name, module in model.named_modules()
    }, model.config.to_dict()


@torch.no_grad()
def logits(model, inputs):
    return model(**inputs).logits


def test_leaving_removes_every_hook_and_writes_nothing(model, inputs):
    logits(model, inputs)  # transformers installs hooks of its own in the first call
    # first of all: transformers adds hooks of its own in the first forward
    plain, before, hooks = logits(model, inputs), state_of(model), count_hooks(model)
    with prune(model, BUSY):
        assert count_hooks(model) > hooks
        greedy(model, inputs, steps=2)
    assert count_hooks(model) == hooks
    assert state_of(model) == before
    assert torch.equal(logits(model, inputs), plain)


def test_building_a_session_touches_nothing(model):
    hooks = count_hooks(model)
    prune(model, BUSY)
    assert count_hooks(model) == hooks


def test_an_exception_in_the_block_removes_every_hook(model, inputs):
    plain, hooks = logits(model, inputs), count_hooks(model)
    with pytest.raises(ZeroDivisionError), prune(model, BUSY):
        1 / int(logits(model, inputs).isnan().sum())
    assert count_hooks(model) == hooks
    assert torch.equal(logits(model, inputs), plain)


@pytest.mark.parametrize("place", ["layer 0", "layer 5", "mlp", "vision", "head"])
def test_an_exception_inside_the_model_leaves_the_session_usable(model, family, inputs, place):
    layers = model.get_decoder().layers
    tower = find_family(model).tower(model.model)
    modules = {
        "layer 0": layers[0],
        "layer 5": layers[5],
        "mlp": layers[5].mlp,
        "vision": tower,
        "head": model.lm_head,
    }
    plain, hooks = logits(model, inputs), count_hooks(model)

    def fail(*_):
        raise ZeroDivisionError

    with prune(model, BUSY):
        expected = logits(model, inputs)
        broken = modules[place].register_forward_hook(fail)
        with pytest.raises(ZeroDivisionError):
            logits(model, inputs)
        broken.remove()
        assert torch.equal(logits(model, inputs), expected)
    assert count_hooks(model) == hooks
    assert torch.equal(logits(model, inputs), plain)


def test_a_second_session_is_refused_and_the_first_goes_on(model, inputs):
    with prune(model, BUSY) as first:
        expected = logits(model, inputs)
        hooks = count_hooks(model)
        with pytest.raises(SessionError, match="Compose"):
            prune(model, FastV()).attach()
        with pytest.raises(SessionError):
            first.attach()
        assert count_hooks(model) == hooks
        assert torch.equal(logits(model, inputs), expected)
    with prune(model, FastV()):
        pass


def test_a_session_can_be_used_again(model, inputs):
    session = prune(model, BUSY)
    with session:
        first = logits(model, inputs)
    session.detach()
    with session:
        assert torch.equal(logits(model, inputs), first)


def test_the_trace_outlives_the_session_and_does_not_hold_the_model(zoo, inputs, family):
    model = zoo.fresh(family)
    session = prune(model, BUSY)
    with pytest.raises(SessionError, match="no trace"):
        _ = session.trace
    with session:
        logits(model, inputs)
    trace, alive = session.trace, weakref.ref(model)
    del session, model
    gc.collect()
    assert alive() is None
    assert trace.stages
    assert all(keep.device.type == "cpu" for stage in trace.stages for keep in stage.keep)


def test_two_models_at_once_do_not_touch_each_other(zoo, attn):
    llava, qwen = zoo("llava", attn), zoo("qwen2_5_vl", attn)
    a, b = (FAMILIES[name].batch(FAMILIES[name].ragged()) for name in ("llava", "qwen2_5_vl"))
    with prune(llava, BUSY):
        alone_a = logits(llava, a)
    with prune(qwen, FastV(layer=2)):
        alone_b = logits(qwen, b)
    plain_b = logits(qwen, b)
    with prune(llava, BUSY) as first:
        assert torch.equal(logits(qwen, b), plain_b)
        with prune(qwen, FastV(layer=2)) as second:
            assert torch.equal(logits(llava, a), alone_a)
            assert torch.equal(logits(qwen, b), alone_b)
        assert torch.equal(logits(llava, a), alone_a)
    assert (first.trace.family, second.trace.family) == ("llava", "qwen2_5_vl")


def test_threads_share_a_session_and_get_their_own_results(model, family):
    case = FAMILIES[family]
    prompts = [case.batch([sample]) for sample in case.ragged()]
    results = {}
    with prune(model, BUSY) as session:
        alone = []
        for inputs in prompts:
            run = greedy(model, inputs, steps=4)
            alone.append((run.sequences, session.trace))

        def work(number):
            for turn in range(3):
                run = greedy(model, prompts[number], steps=4)
                results[number, turn] = (run.sequences, session.trace)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 6
    for (number, _), (sequences, trace) in results.items():
        expected_sequences, expected_trace = alone[number]
        assert torch.equal(sequences, expected_sequences)
        assert trace.to_dict() == expected_trace.to_dict()


def test_a_copy_of_an_unattached_model_can_be_pruned_by_itself(zoo, family, inputs):
    model = zoo.fresh(family)
    twin = copy.deepcopy(model)
    with prune(model, BUSY), prune(twin, BUSY):
        assert torch.equal(logits(model, inputs), logits(twin, inputs))


def test_a_pruned_cache_goes_on_under_another_session(model, family):
    case, sample = FAMILIES[family], FAMILIES[family].even()[0]
    with prune(model, Forced.of([sample], [draw_keeps(sample, PLACES[0])])):
        first = greedy(model, case.batch([sample]), steps=2)
        turn = case.text_turn(first.sequences)
        inside = greedy(
            model, turn, steps=2, **cache_argument(model, copy.deepcopy(cache_of_output(first)))
        )
    with prune(model, FastV()):
        again = greedy(model, turn, steps=2, **cache_argument(model, cache_of_output(first)))
    torch.testing.assert_close(again.logits, inside.logits, atol=TOLERANCE, rtol=0)
