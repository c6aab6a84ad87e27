"""LVPruning in training: masked tokens count as little as dropped ones, and the answer is never read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from families.cases import MODELS
from methods.trained import draw_weights, weights_for
from reference import Forced
from transprune import prune
from transprune.methods import LVPruning
from transprune.methods.common.trained_weights import load_weights
from transprune.training import lvpruning
from transprune.training.lvpruning import (
    FLOOR,
    LVPruningTrainee,
    Masking,
    draw_decisions,
)

BOUNDARIES = (1, 3, 5)
# attention of every kind, M-RoPE, merged features, windows, brackets, shared keys in none
SOME = ("llava", "qwen2_5_vl", "gemma3", "internvl", "llava_onevision")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def masking(samples, temperature=1.0, **changes):
    modules = {at: draw_weights("lvpruning").modules[at] for at in BOUNDARIES}
    return replace(Masking(modules, (0,) * samples, temperature, generator()), **changes)


@pytest.fixture
def certain(monkeypatch):
    """Every decision is certain: at each boundary the lower quarter goes."""
    monkeypatch.setattr(
        lvpruning,
        "draw_decisions",
        lambda score, temperature, noise: (score > score.quantile(0.25)).float(),
    )


@pytest.mark.parametrize("name", SOME)
@torch.no_grad()
def test_masking_equals_dropping(zoo, certain, name):
    """The last row, whose logits are the answer, is that of a run in which the tokens are gone."""
    case, model = MODELS[name], zoo(name, "sdpa")
    samples = case.ragged()
    inputs = case.batch(samples)
    masked = masking(len(samples))
    with prune(model, masked):
        ours = model(**inputs, use_cache=False).logits[:, -1]

    keeps = [
        {at: masked.kept[at][row].nonzero()[:, 0].tolist() for at in BOUNDARIES}
        for row in range(len(samples))
    ]
    with prune(model, Forced.of(samples, keeps), positions="keep"):
        theirs = model(**inputs, use_cache=False).logits[:, -1]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)

    # and the comparison says something: tokens went
    for sample, keep in zip(samples, keeps, strict=True):
        assert 0 < len(keep[5]) < len(keep[1]) < sample.visual_tokens
    plain = model(**inputs, use_cache=False).logits[:, -1]
    assert (plain - ours).abs().max() > 0.01


@pytest.mark.parametrize("name", SOME)
@torch.no_grad()
def test_modules_rate_in_training_as_at_inference(zoo, monkeypatch, name):
    """Of tokens that are left, a later module gives each the same score, masked or dropped the others."""
    case, model = MODELS[name], zoo(name, "sdpa")
    inputs, keep = case.batch(case.ragged()), 0.6
    dropping = LVPruning({1: keep, 3: 0.3}, weights_for("lvpruning"))
    with prune(model, dropping, record=("scores",)) as session:
        model(**inputs, use_cache=False)
    first, second = session.trace.stages

    def best(score, temperature, noise):
        return torch.zeros_like(score).index_fill(0, score.topk(int(len(score) * keep)).indices, 1)

    monkeypatch.setattr(lvpruning, "draw_decisions", best)
    modules = load_weights(weights_for("lvpruning")).modules
    masked = masking(2, modules={at: modules[at] for at in (1, 3)})
    with prune(model, masked, record=("scores",)) as session:
        model(**inputs, use_cache=False)
    for row, left in enumerate(first.keep):
        assert masked.kept[1][row].nonzero()[:, 0].tolist() == left.tolist()
        ours = session.trace.stages[1].scores["score"][row][left]
        torch.testing.assert_close(ours, second.scores["score"][row], atol=1e-4, rtol=0)


@torch.no_grad()
def test_what_was_dropped_stays_dropped(zoo):
    case = MODELS["llava"]
    masked = masking(2)
    with prune(zoo("llava", "sdpa"), masked):
        zoo("llava", "sdpa")(**case.batch(case.ragged()), use_cache=False)
    for sample in range(2):
        kept = [masked.kept[at][sample] for at in BOUNDARIES]
        assert (kept[1] <= kept[0]).all()
        assert (kept[2] <= kept[1]).all()
        assert kept[2].sum() < kept[0].sum()


@torch.no_grad()
def test_decisions_never_read_the_answer(zoo):
    """Two answers of two lengths behind one prompt: the same scores at every boundary."""
    case, model = MODELS["llava"], zoo("llava", "sdpa")
    sample = case.even()[0]
    scores = []
    for answer in ([], [11], [12, 13, 14]):
        inputs = case.batch([replace(sample, ids=[*sample.ids, *answer])])
        masked = masking(1, answer_rows=(len(answer),))
        with prune(model, masked, record=("scores",)) as session:
            model(**inputs, use_cache=False)
        scores.append([stage.scores["score"][0] for stage in session.trace.stages])
    for other in scores[1:]:
        for expected, came in zip(scores[0], other, strict=True):
            torch.testing.assert_close(came, expected, atol=1e-5, rtol=0)

    # were the answer among the words, they would be others
    with prune(model, masking(1), record=("scores",)) as session:
        model(**inputs, use_cache=False)
    assert (session.trace.stages[0].scores["score"][0] - scores[0][0]).abs().max() > 1e-3


def test_decisions_are_drawn_with_the_odds_of_their_scores():
    score = torch.tensor([0.0, 2.0, -2.0]).expand(20000, 3).flatten()
    decisions = draw_decisions(score, 0.5, generator()).view(-1, 3)
    assert set(decisions.unique().tolist()) == {0.0, 1.0}
    expected = torch.tensor([0.0, 2.0, -2.0]).sigmoid()
    torch.testing.assert_close(decisions.mean(dim=0), expected, atol=0.01, rtol=0)


def test_the_gradient_of_a_dropped_token_is_that_of_a_weight_in_the_softmax():
    """d of sum(softmax(l + log d) * v), against the quotient it stands for, also where d is 0."""
    logits = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)
    values = torch.tensor([1.0, -2.0, 3.0, 0.7], dtype=torch.float64)
    decision = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    bias = (FLOOR + (1 - FLOOR) * decision).log()
    ((logits + bias).softmax(dim=0) * values).sum().backward()

    weights = logits.exp()
    total = weights[decision.detach() > 0].sum()
    mean = (weights * decision.detach() * values).sum() / total
    expected = weights * (values - mean) / total
    torch.testing.assert_close(decision.grad, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
def test_every_weight_gets_a_gradient_and_the_model_none(zoo, attn):
    case, model = MODELS["llava"], zoo.fresh("llava", attn)
    model.requires_grad_(False)
    masked = masking(2)
    weights = [
        value.requires_grad_(True) for at in BOUNDARIES for value in masked.modules[at].values()
    ]
    with prune(model, masked):
        logits = model(**case.batch(case.ragged()), use_cache=False).logits
    logits[:, -1].logsumexp(dim=-1).sum().backward()
    missing = [value.shape for value in weights if value.grad is None]
    assert not missing
    assert all(value.grad.isfinite().all() for value in weights)
    matrices = [value for value in weights if value.ndim == 2]
    assert all(value.grad.abs().sum() > 0 for value in matrices)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_ratio_loss_is_zero_at_the_targets():
    trainee = LVPruningTrainee.__new__(LVPruningTrainee)
    trainee._targets = {1: 0.75, 3: 0.25}
    at_targets = {1: torch.tensor([0.75, 0.75]), 3: torch.tensor([0.25, 0.25])}
    assert trainee._ratio_loss(at_targets) == 0
    # 0.1 beside it in one of two samples, and 0.2 in both
    off = {1: torch.tensor([0.85, 0.75]), 3: torch.tensor([0.05, 0.45])}
    assert float(trainee._ratio_loss(off)) == pytest.approx(0.01 / 2 + 0.04)
