"""What every method promises on every family: keep-all is the identity, text stays, a batch equals its singles."""

import pytest
import torch

from families.cases import FAMILIES, IMAGE, greedy
from methods.cases import CASES, METHODS
from oracle import TOLERANCE, reference
from transprune import prune
from transprune.recipe import METHODS as REGISTRY


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@torch.no_grad()
def kept(model, method, inputs, **options):
    """Per stage and sample the tokens that stayed, and the logits."""
    with prune(model, method, **options) as session:
        logits = model(**inputs).logits
    return [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages], logits, session.trace


def test_every_registered_method_has_a_row():
    ours = {name for name in REGISTRY if REGISTRY.get(name).__module__.startswith("transprune.")}
    assert ours == set(METHODS)


def test_keeping_everything_is_the_identity(model, case, inputs):
    plain = greedy(model, inputs, steps=4)
    with prune(model, case.keep_all):
        same = greedy(model, inputs, steps=4)
    assert torch.equal(same.sequences, plain.sequences)
    assert all(torch.equal(a, b) for a, b in zip(same.logits, plain.logits, strict=True))


def test_the_asked_counts_come_out(model, case, samples, inputs):
    stages, _, trace = kept(model, case.method, inputs)
    for row, sample in enumerate(samples):
        plan = case.method.plan(8, sample.visual_tokens)
        assert [len(keep[row]) for keep in stages] == [stage.count for stage in plan]
        assert [stage.boundary for stage in trace.stages] == [stage.boundary for stage in plan]
        assert len(stages[-1][row]) < sample.visual_tokens


def test_kept_tokens_are_nested_ascending_and_original(model, case, samples, inputs):
    stages, _, trace = kept(model, case.method, inputs)
    for row, sample in enumerate(samples):
        arrived = list(range(sample.visual_tokens))
        for stage, keep in zip(trace.stages, stages, strict=True):
            assert stage.candidates[row].tolist() == arrived
            assert keep[row] == sorted(set(keep[row]))
            assert set(keep[row]) <= set(arrived)
            arrived = keep[row]


def test_text_is_never_dropped(model, case, samples, inputs):
    stages, logits, _ = kept(model, case.method, inputs)
    dropped_looks_like = model.get_output_embeddings()(model.get_decoder().norm(torch.zeros(1, 64)))[0]
    for row, sample in enumerate(samples):
        alive = (logits[row, -len(sample.ids) :] != dropped_looks_like).any(dim=-1)
        visual = torch.tensor(sample.ids) == IMAGE
        assert alive[~visual].all()
        assert alive[visual].nonzero().flatten().tolist() == stages[-1][row]


def test_a_batch_equals_its_singles(model, family, case, samples, inputs):
    stages, logits, _ = kept(model, case.method, inputs)
    for row, sample in enumerate(samples):
        alone_stages, alone_logits, _ = kept(model, case.method, FAMILIES[family].batch([sample]))
        assert [keep[row] for keep in stages] == [keep[0] for keep in alone_stages]
        torch.testing.assert_close(logits[row, -1], alone_logits[0, -1], atol=TOLERANCE, rtol=0)


def test_generate_prunes_as_a_forward_does(model, case, inputs):
    stages, logits, _ = kept(model, case.method, inputs)
    with prune(model, case.method) as session:
        run = greedy(model, inputs, steps=3)
    assert [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages] == stages
    torch.testing.assert_close(run.logits[0], logits[:, -1], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", [case for case in CASES.values() if not case.merges], ids=lambda c: repr(c.method))
def test_the_answer_is_that_of_the_oracle_for_the_tokens_kept(zoo, model, family, case, samples, inputs):
    with prune(model, case.method, positions="keep") as session:
        run = greedy(model, inputs)
    for row, sample in enumerate(samples):
        keeps = {stage.boundary: stage.keep[row].tolist() for stage in session.trace.stages}
        alone = FAMILIES[family].batch([sample])
        expected = reference(zoo(family), alone, keeps, run.sequences[row, -9:-1])[-9:]
        torch.testing.assert_close(torch.stack(run.logits, dim=1)[row], expected, atol=TOLERANCE, rtol=0)


def test_the_cache_really_is_shorter_and_its_bytes_are_told(model, case, samples, inputs):
    longest = inputs["input_ids"].shape[1]
    with prune(model, case.method) as session:
        layers = greedy(model, inputs, steps=1).past_key_values.layers
    stored = sum(t.numel() * t.element_size() for layer in layers for t in (layer.keys, layer.values))
    assert session.trace.kv_bytes == stored
    assert layers[-1].keys.shape[-2] < longest
    assert tuple(layer.keys.shape[-2] for layer in layers) == session.trace.kv_lengths


def test_leaving_restores_the_model(model, case, inputs):
    plain = greedy(model, inputs, steps=2)
    kept(model, case.method, inputs)
    again = greedy(model, inputs, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(again.logits, plain.logits, strict=True))


def test_transprune_can_follow(model, case, samples, inputs):
    stages, logits, trace = kept(model, case.composed, inputs)
    before = case.method.plan(8, samples[0].visual_tokens)[-1].count
    assert trace.stages[-1].method == "transprune"
    assert len(stages[-1][0]) == int(before * 0.6)
    assert logits.isfinite().all()


@pytest.mark.parametrize("pool", ["sample", "image"])
def test_pools_share_the_budget_or_split_it(model, family, case, samples, inputs, pool):
    first, second = (image.tokens for image in samples[0].images)
    stages, _, _ = kept(model, case.method, inputs, pool=pool)
    chosen = torch.tensor(stages[0][0])
    plan = [case.method.plan(8, tokens)[0].count for tokens in (first, second)]
    if pool == "image":
        assert [int((chosen < first).sum()), int((chosen >= first).sum())] == plan
    else:
        assert len(chosen) == case.method.plan(8, first + second)[0].count


def test_scores_are_recorded_for_every_candidate_when_asked(model, case, samples, inputs):
    _, _, trace = kept(model, case.method, inputs, record="scores")
    for stage in trace.stages:
        for candidates, score in zip(stage.candidates, stage.scores["score"], strict=True):
            assert score.shape == candidates.shape
    assert kept(model, case.method, inputs)[2].stages[0].scores is None
