"""The controls: random and evenly spaced tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from transprune.core.plan import Reading, Stage
from transprune.core.views import LayerView
from transprune.errors import MethodError, ScheduleError
from transprune.methods import Random, TransPrune, Uniform

CONTROLS = (Random, Uniform)


def view_of(candidates: Tensor, count: int) -> LayerView:
    return LayerView(7, count, candidates, lambda: torch.zeros(len(candidates), 4))


def stages_of(method: Any, total: int, *counts: int) -> list[list[int]]:
    """Tokens kept at each stage, each choosing among those of the one before."""
    candidates, kept = torch.arange(total), []
    for count in counts:
        candidates = candidates[method.select(view_of(candidates, count)).keep]
        kept.append(candidates.tolist())
    return kept


@pytest.mark.parametrize("control", CONTROLS)
def test_stages_have_the_asked_counts_and_are_nested(control: Any) -> None:
    for total, counts in ((576, (504, 360, 72)), (577, (361, 108, 36)), (13, (5, 3, 1))):
        stages = stages_of(control(), total, *counts)
        assert [len(stage) for stage in stages] == list(counts)
        for before, after in zip([range(total), *stages], stages, strict=False):
            assert set(after) <= set(before) and after == sorted(set(after))


@pytest.mark.parametrize("control", CONTROLS)
def test_follow_the_schedules_of_transprune(control: Any) -> None:
    for layers in (16, 28, 32, 40):
        assert control.high().plan(layers, 576) == TransPrune.high().plan(layers, 576)
        assert control.low().plan(layers, 576) == TransPrune.low().plan(layers, 576)
    assert control() == control.high()
    assert control.presets == ("high", "low")


@pytest.mark.parametrize("control", CONTROLS)
def test_read_nothing(control: Any) -> None:
    assert control().reads_at(32) == (Reading(7), Reading(9), Reading(12))
    assert control().policy == "keep"


@pytest.mark.parametrize("control", CONTROLS)
def test_tell_how_they_were_adapted(control: Any) -> None:
    assert control().notes(32) == control().notes(28) == control(keep={3: 0.5}).notes(16) == ()
    assert control().notes(16) == ("boundaries 7, 9, 12 of 32 layers became 4, 5, 6 of 16",)


@pytest.mark.parametrize("control", CONTROLS)
def test_may_also_act_before_the_language_model(control: Any) -> None:
    assert control(keep={0: 0.5}).plan(16, 9) == (Stage(0, 4),)
    with pytest.raises(ScheduleError, match=r"must lie in 0\.\.15"):
        control(keep={16: 0.5}).plan(16, 9)


@pytest.mark.parametrize("control", CONTROLS)
def test_refuse_what_is_no_schedule(control: Any) -> None:
    with pytest.raises(ScheduleError):
        control(keep={7: 0.5, 9: 0.9})


@pytest.mark.parametrize("control", CONTROLS)
def test_keep_everything_if_asked(control: Any) -> None:
    assert stages_of(control(), 31, 31) == [list(range(31))]


def test_random_repeats_with_its_seed() -> None:
    first = stages_of(Random(seed=5), 576, 72)
    assert first == stages_of(Random(seed=5), 576, 72)
    assert first != stages_of(Random(seed=6), 576, 72)
    assert Random().seed == 0


def test_random_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    Random(seed=9).select(view_of(torch.arange(100), 10))
    assert torch.equal(torch.rand(3), expected)


def test_a_random_draw_belongs_to_the_token_not_to_its_company() -> None:
    """A later stage, or another prompt, sees some of the tokens only: each keeps its number."""
    everyone = Random(seed=2).score(view_of(torch.arange(3000), 1), None)["score"]
    assert len(everyone.unique()) > 2900
    for some in ([0], [4, 7, 11], list(range(0, 576, 7)), [2999], list(range(17))):
        alone = Random(seed=2).score(view_of(torch.tensor(some), 1), None)["score"]
        assert torch.equal(alone, everyone[some])


def test_random_is_spread_over_the_image() -> None:
    hits = torch.zeros(100)
    for seed in range(400):
        hits[stages_of(Random(seed=seed), 100, 25)[0]] += 1
    assert hits.min() > 60 and hits.max() < 140  # 100 expected, 8.7 one standard deviation


@pytest.mark.parametrize("seed", ["abc", 1.5, None, True])
def test_the_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(MethodError, match="seed is an int"):
        Random(seed=seed)


def test_uniform_spacing() -> None:
    assert stages_of(Uniform(), 12, 4) == [[1, 4, 7, 10]]
    assert stages_of(Uniform(), 576, 72) == [[8 * i + 4 for i in range(72)]]
    (kept,) = stages_of(Uniform(), 577, 100)
    gaps = {after - before for before, after in zip(kept, kept[1:], strict=False)}
    assert gaps == {5, 6}


def test_uniform_scores_say_who_stays() -> None:
    score = Uniform().score(view_of(torch.arange(6), 2), None)["score"]
    assert score.tolist() == [0, 1, 0, 0, 1, 0]
