"""What every method keeps on every family: keep-all is the identity, text stays, a batch equals its singles."""

import pytest
import torch

from evicted import evicted_of
from families.cases import FAMILIES, IMAGE, greedy
from methods.cases import CASES, METHODS, PROBES
from reference import TOLERANCE, reference
from transprune import prune
from transprune.core.library import cache_of_output
from transprune.errors import PruneError
from transprune.methods.common.recipe import METHODS as REGISTRY


@pytest.fixture(params=CASES)
def case(request, family):
    case = CASES[request.param]
    if family in case.refuses:
        pytest.skip(case.refuses[family])
    return case


@pytest.fixture
def dropping(case):
    """A case in which tokens go."""
    if not case.drops:
        pytest.skip("drops no token")
    return case


@torch.no_grad()
def kept(model, method, inputs, **options):
    """Per stage and sample the tokens that stayed, and the logits."""
    with prune(model, method, **options) as session:
        logits = model(**inputs).logits
    return (
        [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages],
        logits,
        session.trace,
    )


def test_the_probes_are_methods_of_the_table():
    assert set(CASES) > PROBES


def test_every_registered_method_has_a_row():
    ours = {name for name in REGISTRY if REGISTRY.get(name).__module__.startswith("transprune.")}
    assert ours == set(METHODS)


def test_keeping_everything_is_the_identity(model, case, inputs):
    plain = greedy(model, inputs, steps=4)
    with prune(model, case.keep_all):
        same = greedy(model, inputs, steps=4)
    assert torch.equal(same.sequences, plain.sequences)
    assert all(torch.equal(a, b) for a, b in zip(same.logits, plain.logits, strict=True))


@pytest.mark.parametrize(
    ("name", "unfit"),
    [(name, family) for name, case in CASES.items() for family in case.refuses] or [("", "")],
)
def test_a_pair_that_cannot_work_says_why(zoo, name, unfit):
    if not name:
        pytest.skip("every method works on every family")
    case, inputs = CASES[name], FAMILIES[unfit].batch(FAMILIES[unfit].even())
    with pytest.raises(PruneError, match=case.refuses[unfit]):
        kept(zoo(unfit, "sdpa"), case.method, inputs)


def test_the_asked_counts_come_out(model, dropping, samples, inputs):
    stages, _, trace = kept(model, dropping.method, inputs)
    for row, sample in enumerate(samples):
        plan = dropping.method.plan(8, sample.visual_tokens)
        for stage, keep in zip(plan, stages, strict=True):
            assert len(keep[row]) == stage.count or (
                stage.at_most and 1 <= len(keep[row]) <= stage.count
            )
        assert [stage.boundary for stage in trace.stages] == [stage.boundary for stage in plan]
        assert len(stages[-1][row]) < sample.visual_tokens


def test_kept_tokens_are_nested_ascending_and_original(model, case, samples, inputs):
    stages, _, trace = kept(model, case.method, inputs)
    for row, sample in enumerate(samples):
        arrived = list(range(sample.visual_tokens))
        for stage, keep in zip(trace.stages, stages, strict=True):
            assert stage.candidates[row].tolist() == arrived
            assert len(keep[row]) == len(set(keep[row]))
            assert case.order or keep[row] == sorted(keep[row])
            assert set(keep[row]) <= set(arrived)
            arrived = keep[row]


def test_text_is_never_dropped(model, case, samples, inputs):
    stages, logits, _ = kept(model, case.method, inputs)
    dropped_looks_like = model.get_output_embeddings()(
        model.get_decoder().norm(torch.zeros(1, 64))
    )[0]
    for row, sample in enumerate(samples):
        alive = (logits[row, -len(sample.ids) :] != dropped_looks_like).any(dim=-1)
        visual = torch.tensor(sample.ids) == IMAGE
        assert alive[~visual].all()
        left = stages[-1][row] if case.drops else list(range(sample.visual_tokens))
        assert alive[visual].nonzero().flatten().tolist() == sorted(left)


def test_no_order_and_no_padding_changes_a_choice(model, family, dropping, samples):
    """Samples the other way round, and eight more columns of padding on the left."""
    stages, _, _ = kept(model, dropping.method, FAMILIES[family].batch(samples))
    turned, _, _ = kept(model, dropping.method, FAMILIES[family].batch(samples[::-1]))
    assert [keep[::-1] for keep in turned] == stages
    wide = FAMILIES[family].batch(samples)
    for key in {"input_ids", "attention_mask", "mm_token_type_ids"} & set(wide):
        wide[key] = torch.nn.functional.pad(wide[key], (8, 0))
    assert kept(model, dropping.method, wide)[0] == stages


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


@pytest.fixture
def chosen(case, monkeypatch):
    """Every selection of the case's methods as it is made: boundary -> one per sample."""
    seen = {}
    for cls in {type(step) for step in case.method.steps if hasattr(step, "select")}:

        def select(self, view, *carry, _select=cls.select):
            selection = _select(self, view, *carry)
            seen.setdefault(view.boundary, []).append(selection)
            return selection

        monkeypatch.setattr(cls, "select", select)
    return seen


def test_the_answer_is_that_of_the_oracle_for_the_tokens_kept(
    zoo, model, family, case, samples, inputs, chosen
):
    """With what the kept tokens became, what their keys weigh, and the layers that were frozen."""
    with prune(model, case.method, positions="keep") as session:
        run = greedy(model, inputs)
    for row, sample in enumerate(samples):
        of_row = {boundary: selections[row] for boundary, selections in chosen.items()}
        expected = reference(
            zoo(family),
            FAMILIES[family].batch([sample]),
            {stage.boundary: stage.keep[row].tolist() for stage in session.trace.stages},
            run.sequences[row, -9:-1],
            biases={
                b: one.key_bias.tolist() for b, one in of_row.items() if one.key_bias is not None
            },
            frozen=session.trace.frozen,
            contents={b: one.features for b, one in of_row.items() if one.features is not None},
            evicts=evicted_of(session.trace, row, len(sample.ids)),
        )[-9:]
        torch.testing.assert_close(
            torch.stack(run.logits, dim=1)[row], expected, atol=TOLERANCE, rtol=0
        )


def test_the_cache_really_is_shorter_and_its_bytes_are_told(model, case, samples, inputs):
    longest = inputs["input_ids"].shape[1]
    with prune(model, case.method) as session:
        layers = cache_of_output(greedy(model, inputs, steps=1)).layers
    stored = sum(
        t.numel() * t.element_size() for layer in layers for t in (layer.keys, layer.values)
    )
    assert session.trace.kv_bytes == stored
    assert (layers[-1].keys.shape[-2] < longest) == (case.drops or case.evicts)
    assert tuple(layer.keys.shape[-2] for layer in layers) == session.trace.kv_lengths


def test_leaving_restores_the_model(model, case, inputs):
    plain = greedy(model, inputs, steps=2)
    kept(model, case.method, inputs)
    again = greedy(model, inputs, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(again.logits, plain.logits, strict=True))


def test_transprune_can_follow(model, case, samples, inputs):
    stages, logits, trace = kept(model, case.composed, inputs)
    before = len(stages[-2][0]) if case.drops else samples[0].visual_tokens
    assert trace.stages[-1].method == "transprune"
    assert len(stages[-1][0]) == max(1, int(before * 0.6))
    assert logits.isfinite().all()


@pytest.mark.parametrize("pool", ["sample", "image"])
def test_pools_share_the_budget_or_split_it(model, family, dropping, samples, inputs, pool):
    first, second = (image.tokens for image in samples[0].images)
    stages, _, _ = kept(model, dropping.method, inputs, pool=pool)
    left = torch.tensor(stages[0][0])
    split = [int((left < first).sum()), int((left >= first).sum())]
    counts, sizes = (
        (split, (first, second)) if pool == "image" else ([len(left)], (first + second,))
    )
    for count, size in zip(counts, sizes, strict=True):
        stage = dropping.method.plan(8, size)[0]
        assert count == stage.count or (stage.at_most and 1 <= count <= stage.count)


def test_scores_are_recorded_for_every_candidate_when_asked(model, case, samples, inputs):
    _, _, trace = kept(model, case.method, inputs, record="scores")
    for stage in trace.stages:
        for candidates, score in zip(stage.candidates, stage.scores["score"], strict=True):
            assert score.shape == candidates.shape
    assert all(stage.scores is None for stage in kept(model, case.method, inputs)[2].stages)
