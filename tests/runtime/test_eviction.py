"""Keys evicted head by head: the prefill is the model's own, and decoding that of masks with gaps in every head."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from transformers import DynamicCache

from evicted import Evicted, evicted_of
from families.cases import FAMILIES, MODELS, greedy
from families.contract import Beside, apart, case_of, products
from families.modes.turns import empty_cache, inputs_of_turn, positions_of
from families.refusals import refusal
from reference import TOLERANCE, reference
from transprune import Compose, FastV, TransPrune, prune
from transprune.core.cache_view import HeadRanking
from transprune.core.library import cache_argument, cache_of_output
from transprune.core.signals import Reads
from transprune.errors import CacheError, LayoutError, MethodError, PruneWarning
from transprune.families import find_family
from transprune.methods import PACT, PLPHP, DivPrune, ShortV
from transprune.methods.common.cache_pruner import CachePruner
from transprune.runtime.cache_layers import KeptLayer
from transprune.runtime.eviction.checks import check_kinds

METHOD = PLPHP(alpha=0.5, beta=0.4, layer=1)
HEADS = ("llava", "qwen2_5_vl")  # each query head has keys of its own; two share them
KINDS = ("alone", "even", "level", "ragged")


@pytest.fixture(params=["llava", pytest.param("qwen2_5_vl", marks=pytest.mark.slow)])
def family(request):
    return request.param


def is_quick(family, attn, kind):
    return (attn, kind) in (("sdpa", "ragged"), ("eager", "alone"))


def samples_of(family, kind):
    case = FAMILIES[family]
    return case.ragged()[:1] if kind == "alone" else getattr(case, kind)()


def expected_of(zoo, family, sample, row, trace, new, **told):
    """Logits of the reference at the end of the prompt and behind each new token."""
    keeps = {stage.boundary: stage.keep[row].tolist() for stage in trace.stages}
    return reference(
        zoo(family),
        FAMILIES[family].batch([sample]),
        keeps,
        new,
        evicts=evicted_of(trace, row, len(sample.ids)),
        frozen=trace.frozen,
        **told,
    )[-len(new) - 1 :]


def check(zoo, family, samples, run, trace, **told):
    """Every step of every sample is the reference's."""
    steps = torch.stack(run.logits, dim=1)
    count = steps.shape[1]
    for row, sample in enumerate(samples):
        expected = expected_of(
            zoo, family, sample, row, trace, run.sequences[row, -count:-1], **told
        )
        torch.testing.assert_close(steps[row], expected, atol=TOLERANCE, rtol=0)


def run_of(model, method, inputs, steps=9, **options):
    with prune(model, method, **options) as session:
        run = greedy(model, inputs, steps=steps)
    return run, session.trace


@pytest.mark.parametrize(
    ("family", "attn", "kind"), products(is_quick, HEADS, ("eager", "sdpa"), KINDS)
)
def test_decoding_is_the_reference_and_the_prefill_the_model(zoo, family, attn, kind):
    samples = samples_of(family, kind)
    model, inputs = zoo(family, attn), FAMILIES[family].batch(samples)
    with torch.no_grad():
        plain = model(**inputs).logits
        with prune(model, METHOD):
            assert torch.equal(model(**inputs).logits, plain)
    run, trace = run_of(model, METHOD, inputs)
    assert torch.equal(run.logits[0], greedy(model, inputs, steps=1).logits[0])
    check(zoo, family, samples, run, trace)


@pytest.mark.parametrize("family", HEADS)
def test_evicted_keys_matter(zoo, family):
    """The comparison above would mean nothing if the answer did not depend on them."""
    (sample,) = samples_of(family, "alone")
    inputs = FAMILIES[family].batch([sample])
    run, trace = run_of(zoo(family), METHOD, inputs)
    new = run.sequences[0, -8:-1]
    ours = expected_of(zoo, family, sample, 0, trace, new)
    whole = reference(zoo(family), inputs, {}, new)[-8:]
    assert apart(ours[1:], whole[1:]) > 0.03

    # the heads of a layer really keep different tokens
    assert any((e.keep[0][0] != e.keep[0][1]).any() for e in trace.evictions)
    (gone,) = evicted_of(trace, 0, len(sample.ids))
    turned = {layer: heads[::-1] for layer, heads in gone.layers.items()}
    other = Evicted(turned, gone.behind, gone.tokens)
    exchanged = reference(zoo(family), inputs, {}, new, evicts=[other])[-8:]
    assert apart(exchanged[1:], ours[1:]) > 1e-3


@pytest.mark.parametrize("family", HEADS)
def test_rates_and_tokens_are_those_of_the_eager_maps(zoo, family):
    """Layer by layer, head by head, by plain loops over the attention that the eager model returns."""
    samples = samples_of(family, "level")
    model, inputs = zoo(family), FAMILIES[family].batch(samples)
    with torch.no_grad():
        maps = model(**inputs, output_attentions=True).attentions  # layers of [B, H, L, L]
    looks = visual_attention(maps, inputs, samples)
    low, high = (between(looks, part) for part in (1 / 3, 2 / 3))
    method = PLPHP(alpha=high, beta=low, layer=2)
    _, trace = run_of(model, method, inputs, steps=1)

    classes = set()
    assert [eviction.layer for eviction in trace.evictions] == list(range(2, 8))
    for eviction in trace.evictions:
        heads = len(eviction.keep[0])
        for row, sample in enumerate(samples):
            visual = (inputs["input_ids"][row] == 90).nonzero().flatten()
            last = maps[eviction.layer][row, :, -1, visual]  # [H, N]
            looked = float(last.sum(dim=1).mean())
            rate = 0.7 if looked >= method.alpha else 0.1 if looked <= method.beta else 0.4
            classes.add(rate)
            count = math.ceil(rate * sample.visual_tokens - 1e-6)

            together = last.view(heads, -1, len(visual)).sum(dim=1)
            best = together.topk(count).indices.sort().values
            assert eviction.keep[row].tolist() == best.tolist()
    assert classes == {0.1, 0.4, 0.7}


def visual_attention(maps, inputs, samples):
    """What the last token gives to the picture, in the layers from 2 on, ascending."""
    looks = []
    for row in range(len(samples)):
        visual = (inputs["input_ids"][row] == 90).nonzero().flatten()
        looks += [float(m[row, :, -1, visual].sum(dim=1).mean()) for m in maps[2:]]
    return sorted(looks)


def between(looks, part):
    """Halfway between two neighbours, so that rounding decides nothing."""
    place = int(len(looks) * part)
    return (looks[place - 1] + looks[place]) / 2


def test_samples_of_a_batch_have_their_own_rates(zoo, family):
    samples = samples_of(family, "ragged")
    inputs = FAMILIES[family].batch(samples)
    with torch.no_grad():
        maps = zoo(family)(**inputs, output_attentions=True).attentions
    middle = between(visual_attention(maps, inputs, samples), 1 / 2)
    method = PLPHP(alpha=middle, beta=middle, layer=2)
    run, trace = run_of(zoo(family, "sdpa"), method, inputs)

    many = [math.ceil(0.7 * sample.visual_tokens) for sample in samples]
    apart_here = [(e.counts[0] == many[0]) != (e.counts[1] == many[1]) for e in trace.evictions]
    assert any(apart_here)
    check(zoo, family, samples, run, trace)
    for row, sample in enumerate(samples):
        _, alone = run_of(zoo(family, "sdpa"), method, FAMILIES[family].batch([sample]), steps=1)
        for ours, single in zip(trace.evictions, alone.evictions, strict=True):
            assert torch.equal(ours.keep[row], single.keep[0])


def test_a_prompt_without_a_picture_in_the_batch_and_one_that_ends_with_it(zoo, family):
    case = FAMILIES[family]
    # of Qwen2.5-VL the token that closes the picture is the last one
    samples = [case.sample([0], [3, 0]), case.sample([], [9], seed=2)]
    run, trace = run_of(zoo(family, "sdpa"), METHOD, case.batch(samples))
    check(zoo, family, samples, run, trace)
    for eviction in trace.evictions:
        assert eviction.counts[0] in METHOD.counts(eviction.layer, samples[0].visual_tokens)
        assert eviction.counts[1] == 0
    assert trace.sample_cost(1).kv_share == 1


def test_keeping_everything_leaves_the_cache_as_it_is(zoo, family):
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(samples_of(family, "even"))
    run, trace = run_of(model, PLPHP(rate=1.0, step=0.0), inputs, steps=2)
    layers = cache_of_output(run).layers
    assert not any(isinstance(layer, KeptLayer) for layer in layers)
    assert trace.evictions == ()
    assert trace.cost().kv_share == trace.cost().prefill_share == 1


def test_each_image_has_a_rate_of_its_own(zoo, family):
    (sample,) = samples_of(family, "alone")
    inputs = FAMILIES[family].batch([sample])
    run, trace = run_of(zoo(family, "sdpa"), METHOD, inputs, pool="image", record="scores")
    first = sample.images[0].tokens
    for eviction in trace.evictions:
        split = {(int((head < first).sum()), len(head)) for head in eviction.keep[0]}
        assert len(split) == 1
        assert eviction.scores[0].shape == (len(eviction.keep[0]), sample.visual_tokens)
        assert eviction.scores[0].isfinite().all()
    check(zoo, family, [sample], run, trace)


# ------------------------------------------------------------------------------------- generate


def test_beams_and_samples(zoo, family):
    samples = samples_of(family, "ragged")
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(samples)
    with prune(model, METHOD) as session:
        run = greedy(model, inputs, steps=5, num_beams=3, output_scores=True)
    for row, sample in enumerate(samples):
        new = run.sequences[row, -5:]
        logits = expected_of(zoo, family, sample, 3 * row, session.trace, new[:-1])
        chosen = logits.log_softmax(dim=-1).gather(1, new[:, None]).sum() / 5
        assert apart(run.sequences_scores[row], chosen) < TOLERANCE

    torch.manual_seed(0)
    with prune(model, METHOD) as session:
        run = greedy(model, inputs, do_sample=True, temperature=3.0, num_return_sequences=2)
    assert not torch.equal(run.sequences[0], run.sequences[1])
    check(zoo, family, [samples[0]] * 2 + [samples[1]] * 2, run, session.trace)


def test_drafts_that_come_with_the_prompt_are_refused(zoo, family):
    """They would be verified against keys that go behind the prefill, and might be right only there."""
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch([FAMILIES[family].even()[0]])
    assistant = zoo.fresh(family)
    assistant.generation_config.assistant_confidence_threshold = 0.0  # draft on, however unsure
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Passing `generation_config`")
        with prune(model, METHOD), pytest.raises(CacheError, match="without an assistant"):
            greedy(model, inputs, steps=12, assistant_model=assistant)
    # nothing is left of the call that was refused
    run, trace = run_of(model, METHOD, inputs, steps=4)
    check(zoo, family, [FAMILIES[family].even()[0]], run, trace)


def test_a_crop_stops_in_front_of_evicted_keys(zoo, family):
    sample = FAMILIES[family].even()[0]  # three words, the picture, six words
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch([sample])
    with torch.no_grad(), prune(model, METHOD):
        cache = cache_of_output(model(**inputs, use_cache=True))
        behind = 7 if FAMILIES[family].brackets else 6
        with pytest.raises(CacheError, match="crop would cut into pruned tokens"):
            cache.crop(-behind - 1)
        before = [layer.keys.clone() for layer in cache.layers]
        cache.crop(-behind)
    for layer, keys in zip(cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys[:, :, :-behind])


@pytest.mark.parametrize("kind", ["even", "ragged"])
def test_static_buffers_give_the_same(zoo, family, kind):
    samples = samples_of(family, kind)
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(samples)
    run, trace = run_of(model, METHOD, inputs, decode="static")
    check(zoo, family, samples, run, trace)
    both = Compose([FastV(layer=3, keep_ratio=0.5), METHOD])
    second, after = run_of(model, both, inputs, decode="static")
    check(zoo, family, samples, second, after)
    dynamic, other = run_of(model, METHOD, inputs, steps=1)
    assert trace.kv_lengths == other.kv_lengths
    assert torch.equal(run.sequences[:, :-8], dynamic.sequences)


@pytest.mark.slow
def test_compiled_steps_give_the_same(zoo):
    samples = samples_of("llava", "even")
    model, inputs = zoo.fresh("llava", "sdpa"), FAMILIES["llava"].batch(samples)
    run, trace = run_of(model, METHOD, inputs, decode="static", compile="eager")
    check(zoo, "llava", samples, run, trace)


# ---------------------------------------------------------------------------------- later turns


def test_a_second_turn_goes_on_with_what_stayed(zoo, family):
    case, sample = FAMILIES[family], FAMILIES[family].even()[0]
    model, inputs = zoo(family, "sdpa"), case.batch([sample])
    with prune(model, METHOD) as session:
        first = greedy(model, inputs, steps=4)
        ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
        cache = cache_argument(model, cache_of_output(first))
        second = greedy(model, case.text_turn(ids), steps=4, **cache)
    new = second.sequences[0, len(sample.ids) : -1]
    expected = expected_of(zoo, family, sample, 0, session.trace, new)[-4:]
    assert apart(torch.stack(second.logits, dim=1)[0], expected) < TOLERANCE


def test_another_picture_in_a_second_turn(zoo, family):
    """Both pictures lose keys, each behind its own prompt."""
    case = MODELS[family]
    beside = Beside(zoo, family, "sdpa")
    first, second = case.sample([0], [3, 2]), case.sample([1], [1, 4], seed=1)
    joint = type(first)((*first.ids, *second.ids), (*first.images, *second.images))
    turn = inputs_of_turn(beside, first, second, joint)
    cache = empty_cache(beside.model)
    positions = positions_of(beside.model, case.batch([joint]))
    next_one = positions[..., -1:].amax() + torch.ones_like(positions[..., -1:])
    with torch.no_grad(), prune(beside.model, METHOD) as session:
        beside.model(**case.batch([first]), **cache, use_cache=True)
        (early,) = evicted_of(session.trace, 0, len(first.ids))
        logits = beside.model(**turn, **cache, use_cache=True).logits[0]
        layers = {e.layer: e.keep[0] + first.visual_tokens for e in session.trace.evictions}
        token = logits[-1:].argmax(dim=-1)
        last = beside.model(token[None], position_ids=next_one, **cache).logits[0]

    tokens = range(first.visual_tokens, joint.visual_tokens)
    late = Evicted({n: keep.tolist() for n, keep in layers.items()}, len(joint.ids), tokens)
    expected = reference(zoo(family), case.batch([joint]), {}, token, evicts=[early, late])
    assert apart(torch.cat([logits, last]), expected[len(first.ids) :]) < TOLERANCE


def test_a_refreshed_turn_chooses_anew(zoo, family):
    case, sample = FAMILIES[family], FAMILIES[family].even()[0]
    model, inputs = zoo(family, "sdpa"), case.batch([sample])
    with prune(model, METHOD, turns="refresh") as session:
        first = greedy(model, inputs, steps=4)
        before = session.trace.evictions
        ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
        cache = cache_argument(model, cache_of_output(first))
        second = greedy(model, case.text_turn(ids), steps=4, **cache)
    after = session.trace.evictions
    pairs = [(a.keep[0].tolist(), b.keep[0].tolist()) for a, b in zip(before, after, strict=True)]
    assert any(a != b for a, b in pairs)

    # as one prompt that ends with the new words: evicted behind them
    whole = ids.shape[1]
    new = second.sequences[0, len(sample.ids) : -1]
    expected = reference(zoo(family), inputs, {}, new, evicts=evicted_of(session.trace, 0, whole))[
        -4:
    ]
    assert apart(torch.stack(second.logits, dim=1)[0], expected) < TOLERANCE


def test_the_cache_needs_a_session(zoo, family):
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(samples_of(family, "even")[:1])
    for method in (METHOD, PLPHP(layer=0)):
        with torch.no_grad(), prune(model, method):
            cache = cache_of_output(model(**inputs, use_cache=True))
        given = cache_argument(model, copy.deepcopy(cache))
        with torch.no_grad(), pytest.raises(CacheError, match="lacks the pruned tokens"):
            model(torch.tensor([[7]]), **given)

        # any session will do
        with torch.no_grad(), prune(model, FastV()):
            model(torch.tensor([[7]]), **cache_argument(model, cache))


# --------------------------------------------------------------------------------- compositions


@pytest.mark.parametrize(
    "method",
    [
        Compose([DivPrune(0.6), METHOD]),
        Compose([FastV(layer=3, keep_ratio=0.5), METHOD]),
        Compose([METHOD, TransPrune({4: 0.6})]),
        Compose([ShortV((1, 3, 4)), METHOD]),
    ],
    ids=["projector", "layer-in-front", "layer-behind", "frozen"],
)
def test_behind_another_method(zoo, family, method):
    samples = samples_of(family, "ragged")
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(samples)
    positions = "keep" if family == "qwen2_5_vl" else "renumber"
    for policy in {"keep", positions}:
        run, trace = run_of(model, method, inputs, positions=policy)
        check(zoo, family, samples, run, trace, positions=policy)
        arrived = [trace.tokens_per_layer(row) for row in range(2)]
        for eviction in trace.evictions:
            for row in range(2):
                there = arrived[row][eviction.layer]
                assert eviction.counts[row] in METHOD.counts(eviction.layer, there)


def test_behind_keys_that_are_weighed_it_is_refused(zoo, family):
    inputs = FAMILIES[family].batch(samples_of(family, "even"))
    method = Compose([PACT(layer=2), METHOD])
    with pytest.raises(MethodError, match="plphp lets every head keep other keys"):
        run_of(zoo(family, "sdpa"), method, inputs)


def test_two_that_evict_are_refused():
    with pytest.raises(MethodError, match=r"one method evicts keys.*plphp, plphp"):
        Compose([METHOD, PLPHP()])


# ------------------------------------------------------------------------------------- refusals


def test_without_a_cache_it_says_that_nothing_went(zoo, family):
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(samples_of(family, "even"))
    plain = greedy(model, inputs, steps=3)
    with prune(model, METHOD) as session, pytest.warns(PruneWarning, match="nothing was evicted"):
        run = greedy(model, inputs, steps=3, use_cache=False)
    assert torch.equal(run.sequences, plain.sequences)
    assert any("nothing was evicted" in note for note in session.trace.notes)
    assert session.trace.cost().kv_share == 1


def test_a_mask_that_may_choose_among_visual_tokens_is_refused(zoo):
    model, inputs = zoo("llava", "sdpa"), FAMILIES["llava"].batch(samples_of("llava", "even")[:1])
    length = inputs["input_ids"].shape[1]
    square = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    with torch.no_grad(), prune(model, METHOD):
        with pytest.raises(LayoutError, match="every head keeps other visual keys"):
            model(**{**inputs, "attention_mask": square})
        cache = cache_of_output(model(**inputs, use_cache=True))
    later = torch.ones(1, 1, 1, length + 1, dtype=torch.bool)
    refused = pytest.raises(LayoutError, match="every head keeps other visual keys")
    with torch.no_grad(), prune(model, FastV()), refused:
        model(torch.tensor([[7]]), attention_mask=later, **cache_argument(model, cache))


def test_windows_and_shared_keys_are_refused(zoo):
    family = find_family(zoo("llava"))
    kinds = family.layer_kinds(family.base(zoo("llava")))
    check_kinds(METHOD, kinds)
    windowed = [replace(kinds[0], windowed=True), *kinds[1:]]
    with pytest.raises(CacheError, match="decoder layers 0 attend to the newest"):
        check_kinds(METHOD, windowed)
    shared = [*kinds[:6], *(replace(kind, keys_of=3) for kind in kinds[6:])]
    with pytest.raises(CacheError, match="decoder layers 6 to 7 read those of other layers"):
        check_kinds(METHOD, shared)


# ------------------------------------------------------------------------------- other methods


@dataclass(frozen=True)
class SmallKeys(CachePruner):
    """Keeps a third of the visual keys, the shortest of each head, in every other layer. Not registered."""

    name: ClassVar[str] = "small-keys"
    reads: ClassVar[Reads] = Reads()

    def layers(self, num_layers):
        return tuple(range(0, num_layers, 2))

    def counts(self, layer, visual_tokens):
        return (max(1, visual_tokens // 3),)

    def rank(self, view):
        return HeadRanking(-view.keys.float().norm(dim=-1))


@dataclass(frozen=True)
class Window(SmallKeys):
    """By the attention of the whole instruction."""

    reads: ClassVar[Reads] = Reads(rows="instruction")

    def rank(self, view):
        return HeadRanking(view.attention_by_kv_head("instruction").sum(dim=2))


@pytest.mark.parametrize("method", [SmallKeys(), Window()])
def test_another_method_is_one_small_class(zoo, family, method):
    samples = samples_of(family, "ragged")
    inputs = FAMILIES[family].batch(samples)
    run, trace = run_of(zoo(family, "sdpa"), method, inputs)
    assert [e.layer for e in trace.evictions] == [0, 2, 4, 6]
    check(zoo, family, samples, run, trace)


def test_a_wrong_ranking_is_an_error_and_leaves_the_cache_whole(zoo, family):
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(samples_of(family, "even"))

    class Flat(SmallKeys):
        def rank(self, view):
            return HeadRanking(view.keys.float().norm(dim=-1).mean(dim=1))

    class Third(SmallKeys):
        def rank(self, view):
            return HeadRanking(view.keys.float().norm(dim=-1), torch.tensor([0, 3]))

    class Reader(SmallKeys):
        def rank(self, view):
            return HeadRanking(view.attention_by_kv_head("last")[:, :, 0])

    for method, words in (
        (Flat(), "must score every visual key of every head"),
        (Third(), r"is one of 0\.\.0; got 3"),
    ):
        cache = DynamicCache(config=model.config.get_text_config())
        with torch.no_grad(), prune(model, method), pytest.raises(MethodError, match=words):
            model(**inputs, use_cache=True, **cache_argument(model, cache))
        assert not any(isinstance(layer, KeptLayer) for layer in cache.layers)
    with pytest.raises(Exception, match="announced None and read 'last'"):
        run_of(model, Reader(), inputs, steps=1)


# ----------------------------------------------------------------------------------- the trace


def test_the_trace_tells_what_the_cache_holds_and_costs(zoo, family):
    (sample,) = samples_of(family, "alone")
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch([sample])
    run, trace = run_of(model, METHOD, inputs, steps=1)
    layers = cache_of_output(run).layers
    text = len(sample.ids) - sample.visual_tokens
    stored = [layer.keys.shape[-2] for layer in layers]
    assert [count + text for count in trace.cached_per_layer()] == stored == list(trace.kv_lengths)
    assert set(trace.tokens_per_layer()) == {sample.visual_tokens}

    exact, paper = trace.cost("exact"), trace.cost("paper")
    assert exact.kv_bytes == trace.kv_bytes == sum(2 * layer.keys.nbytes for layer in layers)
    assert paper.prefill_share == 1
    assert exact.prefill == exact.full_prefill + exact.scoring
    assert exact.decode < exact.full_decode
    # one row of all keys in each of seven layers
    width = trace.geometry.q_width
    assert exact.scoring == 7 * 2 * len(sample.ids) * width

    told = trace.to_dict()["evictions"]
    assert told[0] == {"layer": 1, "method": "plphp", "kept": [stored[1] - text]}
    assert "visual keys that each head keeps" in str(trace)


# ------------------------------------------------------------------------------- every family


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_later_turns_and_beams_of_every_family(zoo, name):
    """What `tests/families` shows of greedy answers, for a second turn and for beams."""
    if refusal(name, "plphp") is not None:
        pytest.skip("refused, which the contract of methods shows")
    beside = Beside(zoo, name, "sdpa")
    case, model, sample = case_of(name), beside.model, MODELS[name].even()[0]
    inputs = case.batch([sample])

    with prune(model, METHOD) as session:
        first = greedy(model, inputs, steps=4)
        ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
        cache = cache_argument(model, cache_of_output(first))
        second = greedy(model, case.text_turn(ids), steps=4, **cache)
    told = {"evicts": evicted_of(session.trace, 0, len(sample.ids))}
    new = second.sequences[0, len(sample.ids) : -1]
    expected = beside.expected(sample, {}, new, **told)[-4:]
    beside.near(apart(torch.stack(second.logits, dim=1)[0], expected), [sample])

    with prune(model, METHOD):
        run = greedy(model, inputs, steps=5, num_beams=3, output_scores=True)
    new = run.sequences[0, -5:]
    expected = beside.expected(sample, {}, new[:-1], **told)[-5:]
    chosen = expected.log_softmax(dim=-1).gather(1, new[:, None]).sum() / 5
    beside.near(apart(run.sequences_scores[0], chosen), [sample])
