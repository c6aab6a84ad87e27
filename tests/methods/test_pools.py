"""What every method promises of any pool of tokens, without a model: counts, order, no repeats, ties."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from methods.cases import CASES
from methods.pools import Pool
from transprune.core.plan import Stage
from transprune.methods import ProjectorPruner

STEPS = {
    f"{name}/{step.name}" if len(case.method.steps) > 1 else name: (step, case)
    for name, case in CASES.items()
    for step in case.method.steps
    if case.drops
}
each_step = pytest.mark.parametrize(("step", "case"), STEPS.values(), ids=STEPS)


def choose(step, pool, stage):
    carry = pool.draw(pool.n).abs() if hasattr(step, "observed") and step.observed(8) else None
    view = pool.view(step, stage)
    return step.select(view) if isinstance(step, ProjectorPruner) else step.select(view, carry)


@each_step
@pytest.mark.parametrize("n", [1, 2, 3, 7, 17, 64, 576, 577])
def test_the_plan_fits_any_number_of_tokens_and_is_kept(step, case, n):
    here = n
    for stage in step.plan(8, n):
        assert 1 <= stage.count <= here
        keep = choose(step, Pool(here), stage).keep.tolist()
        assert keep == sorted(set(keep))
        assert all(0 <= token < here for token in keep)
        assert len(keep) == stage.count or (stage.at_most and 1 <= len(keep) <= stage.count)
        here = stage.count


@each_step
@pytest.mark.parametrize("n", [1, 5, 16, 33])
def test_any_count_can_be_asked_for(step, case, n):
    for count in {1, (n + 1) // 2, n - 1, n} - {0}:
        stage = replace(step.plan(8, n)[0], count=count, merged=0)
        keep = choose(step, Pool(n), stage).keep.tolist()
        assert keep == sorted(set(keep))
        assert len(keep) == count or (stage.at_most and 1 <= len(keep) <= count)


@each_step
@pytest.mark.parametrize("copies", [2, 3, 100])
def test_equal_tokens_are_never_taken_twice(step, case, copies):
    n = 21
    for count in (1, 8, 20):
        stage = replace(step.plan(8, n)[0], count=count, merged=0)
        keep = choose(step, Pool(n, copies), stage).keep.tolist()
        assert keep == sorted(set(keep))
        assert len(keep) == count or (stage.at_most and 1 <= len(keep) <= count)


@each_step
def test_ties_go_to_the_lower_index(step, case):
    """Every token alike: the first ones stay, unless the table says why not."""
    if case.ties and step in (case.method, *case.method.steps):
        pytest.skip(case.ties)
    for stage in step.plan(8, 21)[:1]:
        keep = choose(step, Pool(21, copies=100), stage).keep.tolist()
        assert keep == list(range(len(keep)))


@each_step
def test_the_same_pool_gives_the_same_choice(step, case):
    stage: Stage = step.plan(8, 40)[0]
    first, second = (choose(step, Pool(40), stage) for _ in range(2))
    assert torch.equal(first.keep, second.keep)
    assert (first.features is None) == (second.features is None)
    assert first.features is None or torch.equal(first.features, second.features)


@each_step
def test_other_tokens_give_another_choice(step, case):
    """Otherwise the pools say nothing: only a control that never looks may choose the same."""
    if step.name in ("random", "uniform", "pool", "downsample"):
        pytest.skip("looks at nothing")
    stage = step.plan(8, 40)[0]
    choices = {tuple(choose(step, Pool(40, seed=seed), stage).keep.tolist()) for seed in range(5)}
    assert len(choices) > 1
