"""What is measured inside the model is what a plain run, and eager attention, show."""

import numpy as np
import pytest
import torch

from transprune.bench.data.tasks import load_tasks
from transprune.bench.run.prepared import PreparedQuestions
from transprune.models.checkpoint import LoadOptions, load
from transprune.report.insight import auc, keep_rates, layer_aucs, look, same_grid


@pytest.fixture(scope="module")
def prompts():
    items = [item for task in load_tasks("nano", n=2).tasks for item in task.items]
    options = LoadOptions(dtype="float32", device="cpu", attention="eager")
    return PreparedQuestions(load("nano", options), items), items


def test_auc_is_the_chance_to_rank_right() -> None:
    truth = np.array([True, True, False, False])
    assert auc(np.array([4.0, 3, 2, 1], np.float32), truth) == 1
    assert auc(np.array([1.0, 2, 3, 4], np.float32), truth) == 0
    assert auc(np.array([1.0, 1, 1, 1], np.float32), truth) == 0.5
    assert auc(np.array([4.0, 1, 2, 3], np.float32), truth) == 0.5
    assert np.isnan(auc(np.ones(4, np.float32), np.zeros(4, bool)))


def test_auc_equals_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 6, 40).astype(np.float32), rng.random(40) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth] for b in scores[~truth]]
    assert auc(scores, truth) == pytest.approx(np.mean(pairs))


def test_iga_is_eager_attention_and_ttv_is_made_of_the_changes(prompts) -> None:
    made, items = prompts
    seen = look(made, items)
    for row in (0, len(items) - 1):
        inputs = made.batch([items[row]], encoded=False)
        with torch.no_grad():
            maps = made.checkpoint.model(**inputs, output_attentions=True).attentions
        visual = made.family.visual(made.base, inputs["input_ids"])[0].nonzero().flatten()
        for boundary in (1, 5, seen.layers - 1):
            rows = maps[boundary][0][:, int(visual[-1]) + 1 :][:, :, visual].mean(dim=(0, 1))
            np.testing.assert_allclose(
                seen.iga[row, boundary - 1], (rows / rows.sum()).numpy(), atol=1e-5
            )
    # the direction weights of a module sum to 1 over all tokens, so TTV lies below the sum of the magnitudes
    assert seen.ttv.shape == (*seen.magnitude.shape[:2], 144) and np.isfinite(seen.cosine).all()
    assert (seen.ttv > 0).all() and (seen.ttv < seen.magnitude.sum(axis=2)).all()
    assert (np.abs(seen.cosine) <= 1 + 1e-5).all()


def test_visual_transitions_do_not_know_the_question(prompts) -> None:
    """The picture comes first and attention is causal, so two questions about one picture see the same changes."""
    made, items = prompts
    same = [item for item in items if item.image == items[0].image]
    seen = look(made, same)
    for values in (seen.magnitude, seen.cosine):
        np.testing.assert_allclose(values, np.broadcast_to(values[:1], values.shape), atol=2e-3)
    assert np.abs(seen.iga - seen.iga[:1]).max() > 1e-3  # attention does


def test_keep_rates_average_to_the_schedule(prompts) -> None:
    made, items = prompts
    rates = keep_rates(made, items)
    assert set(rates) == {"TTV", "IGA"}
    for stages in rates.values():
        assert [round(float(rate.mean()) * 144) for rate in stages.values()] == [126, 90, 18]
        assert all(rate.min() >= 0 and rate.max() <= 1 for rate in stages.values())


def test_layer_aucs_tell_the_truth_when_the_score_is_the_truth(prompts) -> None:
    made, items = prompts
    seen = look(made, items[:2])
    truth = seen.ttv[:, 3] > np.median(seen.ttv[:, 3], axis=1, keepdims=True)
    curves = layer_aucs(seen, truth, ~truth)
    assert curves["TTV, objects"][3] == 1 and curves["TTV, asked"][3] == 0
    assert len(curves["IGA, asked"]) == seen.layers - 1


def test_the_commonest_grid_wins() -> None:
    assert same_grid({}) is None
    assert same_grid({"a": (2, 2), "b": (3, 3), "c": (3, 3)}) == ((3, 3), ["b", "c"])
