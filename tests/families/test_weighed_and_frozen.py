"""Keys that weigh more and layers that freeze visual rows: the slow reference's answer, at every step, in any batch."""

import copy

import pytest
import torch

from families.cases import FAMILIES, greedy
from reference import PLACES, TOLERANCE, Forced, draw_biases, draw_keeps, reference
from transprune import prune
from transprune.core.library import cache_argument, cache_of_output

POSITIONS = [(name, policy) for name, case in FAMILIES.items() for policy in case.positions]
FROZEN = (1, 2, 5, 7)  # the last layer too, and layers in front of, at and behind a cut
WAYS = {"weighed": (True, ()), "frozen": (False, FROZEN), "both": (True, FROZEN)}
each_way = pytest.mark.parametrize("way", WAYS)
each_kind = pytest.mark.parametrize("kind", ["even", "level", "ragged"])


@pytest.fixture
def case(family):
    return FAMILIES[family]


def forced(samples, way, places):
    """The method, and for each sample what the reference must be told."""
    weigh, freeze = WAYS[way]
    keeps = [draw_keeps(sample, places) for sample in samples]
    biases = [
        draw_biases(sample, keep) if weigh else {}
        for sample, keep in zip(samples, keeps, strict=True)
    ]
    told = [{"keeps": k, "biases": b, "frozen": freeze} for k, b in zip(keeps, biases, strict=True)]
    return Forced.of(samples, keeps, biases, freeze), told


def assert_near(actual, expected):
    torch.testing.assert_close(actual, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("family", "positions"), POSITIONS)
@pytest.mark.parametrize("places", [PLACES[0], PLACES[1]], ids=str)
@each_way
@each_kind
def test_prefill_and_every_step_equal_the_oracle(zoo, attn, family, kind, places, positions, way):
    case, model = FAMILIES[family], zoo(family, attn)
    samples = getattr(case, kind)()
    method, told = forced(samples, way, places)
    inputs = case.batch(samples)
    with torch.no_grad(), prune(model, method, positions=positions):
        full, run = model(**inputs).logits, greedy(model, inputs)
    steps, new = torch.stack(run.logits, dim=1), run.sequences[:, -9:]
    for row, (sample, tell) in enumerate(zip(samples, told, strict=True)):
        expected = reference(
            zoo(family), case.batch([sample]), extra=new[row, :-1], positions=positions, **tell
        )
        length = len(sample.ids)
        assert_near(steps[row], expected[length - 1 :])
        alive = ~expected[:length].isnan().any(dim=-1)
        assert_near(full[row, -length:][alive], expected[:length][alive])


@each_way
def test_beams_equal_those_of_each_sample(model, case, way):
    samples = case.ragged()
    with prune(model, forced(samples, way, PLACES[0])[0]):
        together = greedy(model, case.batch(samples), steps=5, num_beams=3, output_scores=True)
    for row, sample in enumerate(samples):
        with prune(model, forced([sample], way, PLACES[0])[0]):
            alone = greedy(model, case.batch([sample]), steps=5, num_beams=3, output_scores=True)
        assert torch.equal(together.sequences[row, -5:], alone.sequences[0, -5:])
        assert_near(together.sequences_scores[row], alone.sequences_scores[0])


@each_way
def test_beam_scores_are_the_log_probabilities_of_the_oracle(zoo, model, family, case, way):
    sample = case.even()[0]
    method, told = forced([sample], way, PLACES[0])
    with prune(model, method):
        run = greedy(model, case.batch([sample]), steps=5, num_beams=3, output_scores=True)
    new = run.sequences[0, -5:]
    expected = reference(zoo(family), case.batch([sample]), extra=new[:-1], **told[0])[-5:]
    assert_near(
        run.sequences_scores[0], expected.log_softmax(dim=-1).gather(1, new[:, None]).sum() / 5
    )


@pytest.mark.parametrize("copied", [False, True], ids=["same cache", "deep copy"])
@each_way
def test_a_second_turn_continues(zoo, model, family, case, way, copied):
    sample = case.even()[0]
    method, told = forced([sample], way, PLACES[0])
    inputs = case.batch([sample])
    with prune(model, method):
        first = greedy(model, inputs, steps=4)
        cache = copy.deepcopy(cache_of_output(first)) if copied else cache_of_output(first)
        ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
        second = greedy(model, case.text_turn(ids), steps=4, **cache_argument(model, cache))
    expected = reference(
        zoo(family), inputs, extra=second.sequences[0, len(sample.ids) : -1], **told[0]
    )
    assert_near(torch.stack(second.logits, dim=1)[0], expected[-4:])


@each_way
def test_without_a_cache_the_answer_is_the_same(model, case, way):
    samples = case.ragged()
    with prune(model, forced(samples, way, PLACES[0])[0]):
        cached = greedy(model, case.batch(samples), steps=4)
        uncached = greedy(model, case.batch(samples), steps=4, use_cache=False)
    for a, b in zip(cached.logits, uncached.logits, strict=True):
        assert_near(a, b)


@each_way
def test_a_prompt_without_an_image_beside_one_with(zoo, model, family, case, way):
    with_image, text = case.even()[0], case.sample([], [5], seed=3)
    method, told = forced([with_image], way, PLACES[0])
    with prune(model, method):
        run = greedy(model, case.batch([with_image, text]))
    for row, (sample, tell) in enumerate([(with_image, told[0]), (text, {"keeps": {}})]):
        expected = reference(
            zoo(family), case.batch([sample]), extra=run.sequences[row, -9:-1], **tell
        )
        assert_near(torch.stack(run.logits, dim=1)[row], expected[-9:])


def test_both_change_the_answer(zoo, family, case):
    """Otherwise the comparisons above would say nothing."""
    sample = case.even()[0]
    keeps = draw_keeps(sample, PLACES[0])
    inputs = case.batch([sample])
    plain = reference(zoo(family), inputs, keeps)[-1]
    weighed = reference(zoo(family), inputs, keeps, biases=draw_biases(sample, keeps))[-1]
    frozen = reference(zoo(family), inputs, keeps, frozen=FROZEN)[-1]
    assert float((weighed - plain).abs().max()) > 0.1
    assert float((frozen - plain).abs().max()) > 0.1


def test_decoding_behind_frozen_layers_runs_no_hook_of_ours(model, case):
    """Nothing but whole rows in the cache, so the steps are those of an unpruned model."""
    sample = case.even()[0]
    method = Forced.of([sample], [{3: range(sample.visual_tokens)}], freeze=FROZEN)
    with torch.no_grad(), prune(model, method) as session:
        cache = cache_of_output(model(**case.batch([sample]), use_cache=True))
        assert {type(layer).__name__ for layer in cache.layers} == {"DynamicLayer"}
        assert session._engine._passes.running() is None
        token = torch.tensor([[7]])
        inside = model(input_ids=token, **cache_argument(model, copy.deepcopy(cache))).logits
    with torch.no_grad():
        outside = model(input_ids=token, **cache_argument(model, cache)).logits
    assert torch.equal(inside, outside)
