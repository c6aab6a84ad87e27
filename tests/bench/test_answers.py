"""Answers of a batch, the draws of random methods, the oracle, and the planned trials."""

import pytest
import torch

from transprune.bench.run.answers import answer
from transprune.bench.run.budgets import fit
from transprune.bench.run.oracle import Oracle, interleave
from transprune.bench.run.trials import DRAWS, ORACLES, default_methods, plan_trials
from transprune.errors import BenchError, UnknownMethod
from transprune.methods.common.recipe import resolve


@pytest.fixture(scope="module")
def nominal(prepared):
    return prepared.nominal()


def _trial(name, nominal, budget=0.41):
    return plan_trials([name], [budget], nominal)[-1]


@pytest.mark.parametrize(
    "name", ["unpruned", "transprune", "fastv", "visionzip", "divprune", "random", "oracle"]
)
def test_a_batch_equals_its_singles(prepared, questions, nominal, name) -> None:
    trial = plan_trials([], [0.41], nominal)[0] if name == "unpruned" else _trial(name, nominal)
    items = questions.items[::4]
    together = answer(prepared, items, trial.bind(items, 0), 2)

    for item, in_batch in zip(items, together, strict=True):
        (alone,) = answer(prepared, [item], trial.bind([item], 0), 2)
        assert in_batch.text == alone.text
        assert in_batch.kept == alone.kept
        assert in_batch.exact_share == pytest.approx(alone.exact_share)
        assert in_batch.kv_bytes == alone.kv_bytes


def test_encoded_pictures_give_the_logits_of_raw_ones(prepared, questions) -> None:
    items = questions.items[:3]
    encoded = prepared.batch(items, encoded=True)
    raw = prepared.batch(items, encoded=False)
    assert "mm_encoder_outputs" in encoded
    assert "pixel_values" in raw

    model = prepared.checkpoint.model
    with torch.no_grad():
        from_encoded = model(**encoded).logits
        from_raw = model(**raw).logits
    torch.testing.assert_close(from_encoded, from_raw, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("budget", [0.41, 0.20])
def test_the_oracle_keeps_the_target_tokens(prepared, questions, nominal, name, budget) -> None:
    items = questions.items
    trial = _trial(name, nominal, budget)
    answers = answer(prepared, items, trial.bind(items, 0), 1)

    for item, given in zip(items, answers, strict=True):
        targets = set(interleave(item.relevant))
        last = given.kept[max(given.kept)]
        assert len(last) == trial.condition.tokens[-1]

        # all of them, or nothing else if there are too few slots
        assert targets <= set(last) or set(last) <= targets


def test_an_oracle_with_too_few_slots_keeps_a_part_of_every_object() -> None:
    assert interleave([[1, 2, 3], [7, 8, 9, 10], []])[:4] == [2, 8, 1, 9]
    assert sorted(interleave([[1, 2], [2, 3]])) == [1, 2, 3]
    assert interleave([]) == []


def test_an_oracle_has_no_recipe() -> None:
    with pytest.raises(TypeError, match="no recipe"):
        Oracle().to_dict()


def test_another_draw_keeps_other_tokens_and_the_same_draw_the_same(
    prepared, questions, nominal
) -> None:
    items = questions.items[:2]
    trial = _trial("random", nominal)

    kept = []
    for draw in (0, 1, 0):
        given = answer(prepared, items, trial.bind(items, draw), 1)[0]
        kept.append(given.kept)
    assert kept[0] == kept[2] != kept[1]


def test_a_run_uses_every_draw_and_records_its_seed(go, tmp_path) -> None:
    run = go(tmp_path / "run", methods=("random",), n=3)

    seeds = {}
    for record in run.records:
        if record.condition == "random@41":
            seeds[record.image] = record.method_repr
    assert len(set(seeds.values())) == min(3, DRAWS)


def test_trials_begin_unpruned_and_equal_methods_share_a_row(nominal) -> None:
    trials = plan_trials(["transprune", "fastv", "transprune-high"], [0.41], nominal)
    found = {trial.condition.name: trial.condition.also for trial in trials}
    assert list(found) == ["unpruned", "transprune@41", "fastv@41"]
    assert found["transprune@41"] == ("transprune-high",)


def test_own_budgets_leave_methods_as_they_are(nominal) -> None:
    condition = _trial("fastv", nominal, None).condition
    assert (condition.name, condition.budget, condition.reached) == ("fastv", None, True)
    assert condition.recipe == resolve("fastv").to_dict()


def test_groups_separate_methods_from_controls(nominal) -> None:
    trials = plan_trials(default_methods(), [0.41], nominal)
    groups = {trial.condition.method: trial.condition.group for trial in trials}
    assert groups["fastv"] == "methods"
    assert {groups[name] for name in ("random", "uniform", *ORACLES)} == {"controls"}


def test_ablations_run_at_one_budget(nominal) -> None:
    trials = plan_trials(["transprune"], [0.60, 0.41], nominal, ablate=True)
    conditions = [trial.condition for trial in trials]
    ablated = [one for one in conditions if one.group.startswith("ablation: ")]

    assert {condition.budget for condition in ablated} == {0.41}
    assert len({condition.name for condition in ablated}) == len(ablated)

    groups = {condition.group.removeprefix("ablation: ") for condition in ablated}
    assert {"layers", "accumulation layers", "terms", "direction", "alpha", "positions"} <= groups

    # boundaries are compared, so they stay, and the paper's own are too deep for this budget here
    unreached = {condition.method for condition in ablated if not condition.reached}
    assert unreached == {"transprune/depth=as-printed"}
    assert not any("starts earlier" in condition.note for condition in ablated)


def test_unknown_and_impossible_methods_are_errors(nominal) -> None:
    with pytest.raises(UnknownMethod, match="Did you mean 'fastv'"):
        plan_trials(["fastvv"], [0.41], nominal)
    with pytest.raises(BenchError, match="cannot run here"):
        plan_trials(["fastv:layer=99"], [None], nominal)


def test_planned_and_measured_shares_agree_on_the_nominal_prompt(
    prepared, questions, nominal
) -> None:
    method = fit(resolve("fastv"), 0.41, nominal).method

    # a question as long as the nominal prompt
    length = nominal.text_tokens
    item = next(item for item in questions.items if prepared.count(item).text == length)

    (given,) = answer(prepared, [item], method, 1)
    assert given.exact_share == pytest.approx(nominal.share(method), abs=0.005)
