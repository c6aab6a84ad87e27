"""Answers and what is told about them: a batch equals its singles, chance is fair, the oracle keeps what counts."""

import pytest
import torch

from transprune.bench.run.answers import answer
from transprune.bench.run.budgets import fit
from transprune.bench.run.oracle import Oracle, interleave
from transprune.bench.run.trials import DRAWS, ORACLES, default_methods, plan_trials
from transprune.errors import BenchError, UnknownMethod
from transprune.methods.common.recipe import resolve


@pytest.fixture(scope="module")
def nominal(prompts):
    return prompts.nominal()


def _trial(name, nominal, budget=0.41):
    return plan_trials([name], [budget], nominal)[-1]


@pytest.mark.parametrize(
    "name", ["unpruned", "transprune", "fastv", "visionzip", "divprune", "random", "oracle"]
)
def test_a_batch_equals_its_singles(prompts, questions, nominal, name) -> None:
    trial = plan_trials([], [0.41], nominal)[0] if name == "unpruned" else _trial(name, nominal)
    items = questions.items[::4]
    together = answer(prompts, items, trial.bind(items, 0), 2)
    alone = [answer(prompts, [item], trial.bind([item], 0), 2)[0] for item in items]
    for one, other in zip(together, alone, strict=True):
        assert one.text == other.text
        assert one.kept == other.kept
        assert one.exact_share == pytest.approx(other.exact_share)
        assert one.kv_bytes == other.kv_bytes


def test_encoded_pictures_answer_as_raw_ones(prompts, questions) -> None:
    items = questions.items[:3]
    encoded, raw = (prompts.batch(items, encoded=on) for on in (True, False))
    assert "mm_encoder_outputs" in encoded
    assert "pixel_values" in raw
    model = prompts.checkpoint.model
    with torch.no_grad():
        one, other = (model(**inputs).logits for inputs in (encoded, raw))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("budget", [0.41, 0.20])
def test_the_oracle_keeps_what_is_asked_about(prompts, questions, nominal, name, budget) -> None:
    items = questions.items
    trial = _trial(name, nominal, budget)
    for item, given in zip(items, answer(prompts, items, trial.bind(items, 0), 1), strict=True):
        asked = set(interleave(item.relevant))
        last = given.kept[max(given.kept)]
        assert len(last) == trial.condition.tokens[-1]
        assert asked <= set(last) or set(last) <= asked


def test_an_oracle_with_too_few_slots_keeps_a_part_of_every_object() -> None:
    assert interleave([[1, 2, 3], [7, 8, 9, 10], []])[:4] == [2, 8, 1, 9]
    assert sorted(interleave([[1, 2], [2, 3]])) == [1, 2, 3]
    assert interleave([]) == []


def test_an_oracle_is_no_recipe() -> None:
    with pytest.raises(TypeError, match="no recipe"):
        Oracle().to_dict()


def test_chance_is_drawn_anew_for_others_and_again_for_the_same(
    prompts, questions, nominal
) -> None:
    items, trial = questions.items[:2], _trial("random", nominal)
    kept = [answer(prompts, items, trial.bind(items, draw), 1)[0].kept for draw in (0, 1, 0)]
    assert kept[0] == kept[2] != kept[1]


def test_a_run_uses_every_draw_and_says_which(go, tmp_path) -> None:
    run = go(tmp_path / "run", methods=("random",), n=3)
    drawn = {
        record.image: record.method_repr
        for record in run.records
        if record.condition == "random@41"
    }
    assert len(set(drawn.values())) == min(3, DRAWS)


def test_trials_begin_unpruned_and_share_what_is_the_same(nominal) -> None:
    trials = plan_trials(["transprune", "fastv", "transprune-high"], [0.41], nominal)
    found = {trial.condition.name: trial.condition.also for trial in trials}
    assert list(found) == ["unpruned", "transprune@41", "fastv@41"]
    assert found["transprune@41"] == ("transprune-high",)


def test_own_budgets_leave_methods_as_they_are(nominal) -> None:
    condition = _trial("fastv", nominal, None).condition
    assert (condition.name, condition.budget, condition.reached) == ("fastv", None, True)
    assert condition.recipe == resolve("fastv").to_dict()


def test_groups_tell_methods_from_controls(nominal) -> None:
    groups = {
        trial.condition.method: trial.condition.group
        for trial in plan_trials(default_methods(), [0.41], nominal)
    }
    assert groups["fastv"] == "methods"
    assert {groups[name] for name in ("random", "uniform", *ORACLES)} == {"controls"}


def test_ablations_run_at_one_budget(nominal) -> None:
    trials = plan_trials(["transprune"], [0.60, 0.41], nominal, ablate=True)
    ablated = [
        trial.condition for trial in trials if trial.condition.group.startswith("ablation: ")
    ]
    assert {condition.budget for condition in ablated} == {0.41}
    groups = {condition.group.removeprefix("ablation: ") for condition in ablated}
    assert {"layers", "accumulation layers", "terms", "direction", "alpha", "positions"} <= groups
    # boundaries are what is compared, so they stay, and the paper's own are too deep for this budget here
    assert {condition.method for condition in ablated if not condition.reached} == {
        "transprune/depth=as-printed"
    }
    assert not any("starts earlier" in condition.note for condition in ablated)
    assert len({condition.name for condition in ablated}) == len(ablated)


def test_what_no_method_is(nominal) -> None:
    with pytest.raises(UnknownMethod, match="Did you mean 'fastv'"):
        plan_trials(["fastvv"], [0.41], nominal)
    with pytest.raises(BenchError, match="cannot run here"):
        plan_trials(["fastv:layer=99"], [None], nominal)


def test_planned_and_measured_agree_on_the_nominal_prompt(prompts, questions, nominal) -> None:
    method = fit(resolve("fastv"), 0.41, nominal).method
    like = [item for item in questions.items if prompts.count(item).text == nominal.text_tokens][:1]
    (given,) = answer(prompts, like, method, 1)
    assert given.exact_share == pytest.approx(nominal.share(method), abs=0.005)
