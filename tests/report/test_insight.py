"""What is measured inside the model is what a plain run, and eager attention, show."""

import numpy as np
import pytest
import torch

from transprune.bench.data.tasks import load_tasks
from transprune.bench.run.prepared import PreparedQuestions
from transprune.models.checkpoint import LoadOptions, load
from transprune.report.auc import auc, layer_aucs
from transprune.report.insight import keep_rates, measure, most_common_grid


@pytest.fixture(scope="module")
def items():
    return load_tasks("nano", n=2).items


@pytest.fixture(scope="module")
def prepared(items):
    options = LoadOptions(dtype="float32", device="cpu", attention="eager")
    return PreparedQuestions(load("nano", options), items)


def test_auc_is_the_chance_to_rank_right() -> None:
    truth = np.array([True, True, False, False])
    assert auc(np.array([4.0, 3, 2, 1], np.float32), truth) == 1
    assert auc(np.array([1.0, 2, 3, 4], np.float32), truth) == 0
    assert auc(np.array([1.0, 1, 1, 1], np.float32), truth) == 0.5
    assert auc(np.array([4.0, 1, 2, 3], np.float32), truth) == 0.5
    assert np.isnan(auc(np.ones(4, np.float32), np.zeros(4, bool)))


def test_auc_equals_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, 40).astype(np.float32)
    truth = rng.random(40) < 0.3

    pairs = []
    for positive in scores[truth]:
        for negative in scores[~truth]:
            pairs.append((positive > negative) + 0.5 * (positive == negative))
    assert auc(scores, truth) == pytest.approx(np.mean(pairs))


def test_iga_is_eager_attention(prepared, items) -> None:
    insight = measure(prepared, items)
    for number in (0, len(items) - 1):
        inputs = prepared.batch([items[number]], encoded=False)
        with torch.no_grad():
            maps = prepared.checkpoint.model(**inputs, output_attentions=True).attentions
        mask = prepared.family.visual_mask(prepared.base, inputs["input_ids"])
        visual = mask[0].nonzero().flatten()
        instruction = slice(int(visual[-1]) + 1, None)

        for boundary in (1, 5, insight.layers - 1):
            # [1, H, L, L] -> [H, instruction, N] -> [N]
            rows = maps[boundary][0][:, instruction][:, :, visual].mean(dim=(0, 1))
            expected = (rows / rows.sum()).numpy()
            np.testing.assert_allclose(insight.iga[number, boundary - 1], expected, atol=1e-5)


def test_ttv_is_made_of_the_changes(prepared, items) -> None:
    insight = measure(prepared, items)
    assert insight.ttv.shape == (*insight.magnitude.shape[:2], 144)
    assert np.isfinite(insight.cosine).all()
    assert (np.abs(insight.cosine) <= 1 + 1e-5).all()

    # the direction weights of a module sum to 1 over all tokens, so TTV lies below the sum of the
    # magnitudes
    assert (insight.ttv > 0).all()
    assert (insight.ttv < insight.magnitude.sum(axis=2)).all()


def test_visual_transitions_do_not_depend_on_the_question(prepared, items) -> None:
    """The image comes first and attention is causal, so its tokens change alike."""
    same = [item for item in items if item.image == items[0].image]
    insight = measure(prepared, same)

    for values in (insight.magnitude, insight.cosine):
        np.testing.assert_allclose(values, np.broadcast_to(values[:1], values.shape), atol=2e-3)
    assert np.abs(insight.iga - insight.iga[:1]).max() > 1e-3  # the attention of the question does


def test_keep_rates_average_to_the_schedule(prepared, items) -> None:
    rates = keep_rates(prepared, items)
    assert set(rates) == {"TTV", "IGA"}

    for stages in rates.values():
        assert [round(float(rate.mean()) * 144) for rate in stages.values()] == [126, 90, 18]
        for rate in stages.values():
            assert rate.min() >= 0
            assert rate.max() <= 1


def test_auc_is_1_where_the_score_is_the_truth(prepared, items) -> None:
    insight = measure(prepared, items[:2])
    scores = insight.ttv[:, 3]
    truth = scores > np.median(scores, axis=1, keepdims=True)

    curves = layer_aucs(insight, truth, ~truth)
    assert curves["TTV, objects"][3] == 1
    assert curves["TTV, asked"][3] == 0
    assert len(curves["IGA, asked"]) == insight.layers - 1


def test_the_most_common_grid_wins() -> None:
    assert most_common_grid({}) is None
    assert most_common_grid({"a": (2, 2), "b": (3, 3), "c": (3, 3)}) == ((3, 3), ["b", "c"])
