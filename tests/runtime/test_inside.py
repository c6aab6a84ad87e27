"""Cuts inside a layer: which rows its modules run on, that nothing else differs, and where they are not made."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from families.cases import FAMILIES, IMAGE, build
from families.contract import case_of
from transprune import Compose, TransPrune, prune
from transprune.core.plan import Reading, inside_layers
from transprune.core.signals import Reads
from transprune.cost import count_method
from transprune.cost.layers import head_cost
from transprune.errors import MethodError, MissingSignal
from transprune.methods import FitPrune, ShortV
from transprune.runtime import inside

CUTS = {1: 0.8, 2: 0.6, 4: 0.3, 7: 0.1}
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


@dataclass(frozen=True)
class Behind(FitPrune):
    """The same choice, with every cut behind its layer. Not registered."""

    name: ClassVar[str] = "behind"
    reads: ClassVar[Reads] = replace(FitPrune.reads, inside=False)


def rows_of_modules(model, run):
    """Rows [layer] that the output projection and the MLP of each layer are given in `run`."""
    seen = {"o_proj": [], "mlp": []}
    layers = model.get_decoder().layers
    with ExitStack() as stack:
        for layer in layers:
            for name, module in (("o_proj", layer.self_attn.o_proj), ("mlp", layer.mlp)):

                def note(module, args, output, name=name):
                    # behind the hooks of the session: what went in, and not what came out
                    seen[name].append(args[0].shape[1])

                stack.callback(module.register_forward_hook(note).remove)
        run()
    return seen


@torch.no_grad()
def run(model, inputs, method, **options):
    with prune(model, method, **options) as session:
        logits = model(**inputs, use_cache=True).logits
    return logits, session.trace


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_modules_run_on_the_rows_that_stay(zoo, family):
    case, model = FAMILIES[family], zoo(family)
    inputs = case.batch(case.even()[:1])
    total = inputs["input_ids"].shape[1]
    method = FitPrune(CUTS)
    # hooks of the session come on later, so those of this test see what they were given
    seen = rows_of_modules(model, lambda: run(model, inputs, method))

    _, trace = run(model, inputs, method)
    behind = [total - trace.visual_tokens[0] + count for count in trace.tokens_per_layer()]
    # inside layers 0, 1, 3 and 6 as many as enter the next one; in the others as many as enter them
    assert seen["mlp"] == seen["o_proj"] == [*behind[1:], behind[-1]]
    assert len(set(seen["mlp"])) == 4


def test_the_answer_is_that_of_a_cut_behind_the_layer(model, inputs):
    ours, trace = run(model, inputs, FitPrune(CUTS))
    theirs, other = run(model, inputs, Behind(CUTS))
    for one, two in zip(trace.stages, other.stages, strict=True):
        assert all(map(torch.equal, one.keep, two.keep))
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[mask], theirs[mask], **CLOSE)
    assert trace.cost("exact").prefill < other.cost("exact").prefill
    assert trace.cost("paper").prefill < other.cost("paper").prefill
    assert trace.kv_bytes == other.kv_bytes


def test_gradients_are_those_of_a_cut_behind_the_layer(zoo):
    gradients = []
    for method in (FitPrune(CUTS), Behind(CUTS)):
        model = zoo.fresh("llava", "sdpa")
        with prune(model, method):
            model(**FAMILIES["llava"].batch(FAMILIES["llava"].ragged())).logits[
                :, -1
            ].sum().backward()
        weights = model.get_decoder().layers[1].mlp.up_proj.weight.grad
        gradients.append(weights)
        assert weights.abs().max() > 0
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


def test_a_frozen_layer_drops_behind_it(zoo):
    inputs = FAMILIES["llava"].batch(FAMILIES["llava"].ragged())
    model = zoo("llava")
    frozen = ShortV((1, 5))
    ours, trace = run(model, inputs, Compose([frozen, FitPrune(CUTS)]))
    theirs, _ = run(model, inputs, Compose([frozen, Behind(CUTS)]))
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[mask], theirs[mask], **CLOSE)
    assert inside_layers(trace.readings, trace.frozen) == (0, 3, 6)


def test_a_layer_that_shows_its_changes_drops_behind_it(zoo):
    inputs = FAMILIES["llava"].batch(FAMILIES["llava"].ragged())
    ours, trace = run(zoo("llava"), inputs, FitPrune(CUTS), record=("changes",))
    theirs, other = run(zoo("llava"), inputs, Behind(CUTS))
    mask = inputs["attention_mask"].bool()
    assert torch.equal(ours[mask], theirs[mask])
    # and it costs as much
    assert trace.cost("exact") == other.cost("exact")


def test_an_observed_layer_drops_behind_it(zoo):
    """TransPrune gathers evidence in layers 1 and 2 already, which FitPrune cuts."""
    second = TransPrune({4: 0.5}, accumulate=(1, 2, 3, 4))
    inputs = FAMILIES["llava"].batch(FAMILIES["llava"].ragged())
    first = {1: 0.8, 2: 0.6}
    ours, trace = run(zoo("llava"), inputs, Compose([FitPrune(first), second]))
    theirs, _ = run(zoo("llava"), inputs, Compose([Behind(first), second]))
    mask = inputs["attention_mask"].bool()
    assert torch.equal(ours[mask], theirs[mask])
    assert inside_layers(trace.readings) == ()


def test_checkpointed_layers_drop_behind_them_and_say_so(zoo):
    model = zoo.fresh("llava", "sdpa")
    inputs = FAMILIES["llava"].batch(FAMILIES["llava"].ragged())
    plain, _ = run(model, inputs, Behind(CUTS))
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    model.train()
    with prune(model, FitPrune(CUTS)) as session:
        logits = model(**inputs, use_cache=False).logits
        logits[:, -1].sum().backward()
    assert inside.WHOLE_LAYERS in session.trace.notes
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(logits.detach()[mask], plain[mask], **CLOSE)


def test_nothing_is_left_on_the_model(zoo):
    model = zoo("llava")
    layer = model.get_decoder().layers[0]
    run(model, FAMILIES["llava"].batch(FAMILIES["llava"].even()), FitPrune(CUTS))
    for module in (layer.self_attn.o_proj, layer.mlp):
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_which_layers_cut_inside():
    cut = Reading(3, rows="all", source="previous", inside=True)
    assert inside_layers([cut]) == (2,)
    assert inside_layers([cut], frozen=(2,)) == ()
    assert inside_layers([cut, Reading(5, observed=(3,))]) == ()
    assert inside_layers([replace(cut, inside=False)]) == ()


def test_a_run_costs_what_was_counted(zoo, family):
    case, model = FAMILIES[family], zoo(family)
    method = FitPrune(CUTS)
    _, trace = run(model, case.batch(case.even()[:1]), method)
    for convention in ("paper", "exact"):
        counted = count_method(
            trace.geometry,
            method,
            trace.visual_tokens[0],
            trace.text_tokens[0],
            convention,
            instruction=trace.instruction_tokens[0],
            dtype_bytes=4,
        )
        assert trace.cost(convention) == counted


@torch.no_grad()
def eager_received(zoo, family, samples, layer):
    """What each visual token receives, from the eager maps [B, H, L, L] of an unpruned run."""
    maps = zoo(family)(**FAMILIES[family].batch(samples), output_attentions=True).attentions[layer]
    found = []
    for row, sample in enumerate(samples):
        largest = maps[row, :, -len(sample.ids) :, -len(sample.ids) :].amax(dim=0)
        visual = [slot for slot, token in enumerate(sample.ids) if token == IMAGE]
        columns = largest[:, visual]
        found.append((columns[visual].mean(dim=0), columns[visual[-1] + 1 :].sum(dim=0)))
    return found


@pytest.mark.parametrize("block", [2**22, 400])
def test_what_tokens_receive_is_that_of_the_eager_maps(zoo, model, family, monkeypatch, block):
    """Ragged, so with padding on the left and two pictures in one prompt; grouped heads in most families."""
    from transprune.runtime.taps.attention import pool

    monkeypatch.setattr(pool, "BLOCK", block)
    samples = FAMILIES[family].ragged()
    _, trace = run(model, FAMILIES[family].batch(samples), FitPrune({3: 1.0}), record=("scores",))
    scores = trace.stages[0].scores
    for row, (of_image, of_words) in enumerate(eager_received(zoo, family, samples, layer=2)):
        torch.testing.assert_close(scores["from_image"][row], of_image, atol=1e-5, rtol=0)
        torch.testing.assert_close(scores["from_words"][row], of_words, atol=1e-5, rtol=0)
        torch.testing.assert_close(scores["score"][row], of_image * of_words, atol=1e-5, rtol=0)


def test_a_picture_of_its_own_receives_from_its_own_rows(zoo):
    samples = FAMILIES["llava"].ragged()[:1]
    _, trace = run(
        zoo("llava", "sdpa"),
        FAMILIES["llava"].batch(samples),
        FitPrune({3: 1.0}),
        record=("scores",),
        pool="image",
    )
    with torch.no_grad():
        maps = zoo("llava")(**FAMILIES["llava"].batch(samples), output_attentions=True).attentions
    largest = maps[2][0].amax(dim=0)
    visual = [slot for slot, token in enumerate(samples[0].ids) if token == IMAGE]
    expected, first = [], 0
    for image in samples[0].images:
        own = visual[first : first + image.tokens]
        expected.append(largest[own][:, own].mean(dim=0))
        first += image.tokens
    assert len(expected) == 2
    torch.testing.assert_close(
        trace.stages[0].scores["from_image"][0], torch.cat(expected), atol=1e-5, rtol=0
    )


@torch.no_grad()
def counted_by_torch(model, inputs, method):
    """FLOPs of the decoder in one prefill, and its trace."""
    counter = FlopCounterMode(display=False)

    def start(module, args):
        counter.__enter__()

    def stop(module, args, output):
        counter.__exit__(None, None, None)

    with ExitStack() as stack:
        decoder = model.get_decoder()
        stack.callback(decoder.register_forward_pre_hook(start).remove)
        stack.callback(decoder.register_forward_hook(stop).remove)
        session = stack.enter_context(prune(model, method))
        model(**inputs, use_cache=True)
    return counter.get_total_flops(), session.trace


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma4"])
def test_torch_counts_as_many_flops(name):
    """Layers, the half of them that runs on fewer rows, and the attention that is read: nothing else multiplies."""
    case = case_of(name)
    model = build(case).eval()
    model.set_attn_implementation("eager")
    flops, trace = counted_by_torch(model, case.batch(case.even()[:1]), FitPrune(CUTS))
    assert trace.cost("exact").prefill - head_cost(trace.geometry, "exact") == flops


def test_a_module_that_is_given_rows_of_another_shape_is_refused(zoo):
    model = zoo.fresh("llava", "sdpa")
    layer = model.get_decoder().layers[1]
    inputs = FAMILIES["llava"].batch(FAMILIES["llava"].even())

    def flat(module, args):
        return (args[0].flatten(0, 1),)

    def shaped(module, args, output):
        return output.view(len(inputs["input_ids"]), -1, output.shape[-1])

    layer.mlp.register_forward_pre_hook(flat)
    layer.mlp.register_forward_hook(shaped)
    with (
        torch.no_grad(),
        prune(model, FitPrune({2: 0.5})),
        pytest.raises(MissingSignal, match=r"\[batch, rows, width\]"),
    ):
        model(**inputs)


def test_a_choice_inside_a_layer_reads_that_layer(zoo):
    @dataclass(frozen=True)
    class Ahead(FitPrune):
        name: ClassVar[str] = "ahead"
        reads: ClassVar[Reads] = replace(FitPrune.reads, source="next")

    with pytest.raises(MethodError, match='source="previous"'):
        prune(zoo("llava"), Ahead(CUTS))
