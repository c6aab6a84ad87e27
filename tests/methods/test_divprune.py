"""DivPrune: few tokens, as far from each other as a greedy search can make them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transprune.core.plan import Reading, Stage
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MethodError, MissingSignal, ScheduleError
from transprune.methods import DivPrune


def run(features: Tensor, count: int) -> Selection:
    return DivPrune().select(ProjectorView(0, count, torch.arange(len(features)), lambda: features))


def at_angles(*degrees: float) -> Tensor:
    return torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees])


def test_one_token_is_the_most_isolated() -> None:
    assert run(at_angles(0, 5, 80, 10, 20), 1).keep.tolist() == [2]
    assert run(at_angles(90, 5, 0, 10, 8), 1).keep.tolist() == [0]


def test_distance_is_by_angle_not_by_length() -> None:
    features = at_angles(0, 5, 10, 90) * torch.tensor([[100.0], [1.0], [0.01], [1.0]])
    assert run(features, 1).keep.tolist() == [3]


def test_the_greedy_order_by_hand() -> None:
    # 80 is the most isolated (55 from 25); 0 is farthest from it; then 25 is 25 from the set {80, 0}, 10 only 10
    selection = run(at_angles(0, 10, 25, 80), 3)
    assert selection.keep.tolist() == [0, 2, 3]
    expected = [1 - math.cos(math.radians(a)) for a in (80, 10, 25, 55)]
    assert selection.scores["score"].tolist() == pytest.approx(expected, abs=1e-6)


def test_planted_clusters_get_one_pick_each() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(6) * 10
    members = np.repeat(np.arange(6), 12)
    rng.shuffle(members)
    features = torch.tensor(centres[members] + rng.normal(scale=0.05, size=(72, 6)))
    selection = run(features, 6)
    assert sorted(members[selection.keep.numpy()].tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [1, 3, 7, 12])
def test_duplicates_are_never_picked_twice(count: int) -> None:
    features = at_angles(0, 0, 0, 45, 45, 45, 90, 90, 90, 0, 45, 90)
    keep = run(features, count).keep.tolist()
    assert len(keep) == count and keep == sorted(set(keep))
    if count == 3:
        assert sorted({i % 3 if i > 8 else i // 3 for i in keep}) == [0, 1, 2], "one of each"


def without_marks(distance: Tensor, count: int) -> list[int]:
    """The greedy search that does not mark what it took."""
    picks = [int(distance.topk(2, dim=0, largest=False).values[1].argmax())]
    while len(picks) < count:
        picks.append(int(distance[picks].amin(dim=0).argmax()))
    return picks


def test_where_it_differs_from_the_code() -> None:
    """Two directions among six tokens: without marks the third pick is one that was taken already."""
    features = at_angles(0, 90, 0, 90, 0, 90)
    distance = 1 - torch.eye(2)[[0, 1] * 3][:, :2] @ torch.eye(2)[[0, 1] * 3].T
    taken = without_marks(distance, 4)
    assert len(set(taken)) < 4
    assert len(set(run(features, 4).keep.tolist())) == 4
    assert "no token is taken twice" in DivPrune.differs_from_code

    # among distinct tokens both are the same
    spread = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(spread, dim=-1)
    assert sorted(without_marks(1 - unit @ unit.T, 9)) == run(spread, 9).keep.tolist()


def test_identical_tokens_only() -> None:
    assert run(torch.ones(9, 4), 9).keep.tolist() == list(range(9))


def test_features_that_are_no_numbers_come_last() -> None:
    features = at_angles(0, 30, 60, 90)
    features[1] = float("nan")
    assert run(features, 3).keep.tolist() == [0, 2, 3]
    assert run(features, 4).keep.tolist() == [0, 1, 2, 3]


def test_against_a_search_without_bookkeeping() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(30, 5))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    picks = [int(np.argmax([min(distance[i][j] for j in range(30) if j != i) for i in range(30)]))]
    while len(picks) < 11:
        left = [i for i in range(30) if i not in picks]
        picks.append(max(left, key=lambda i: min(distance[i][p] for p in picks)))
    assert run(torch.tensor(features), 11).keep.tolist() == sorted(picks)


@pytest.mark.parametrize(
    ("ratio", "tokens", "count"),
    [
        (0.098, 576, 56),
        (0.098, 2880, 282),
        (0.1, 1152, 115),
        (0.5, 3, 2),
        (0.3, 9, 3),
        (1, 9, 9),
        (1 / 3, 576, 192),
    ],
)
def test_the_count_is_rounded_to_the_nearest(ratio: float, tokens: int, count: int) -> None:
    assert DivPrune(ratio).plan(32, tokens) == (Stage(0, count),)


def test_in_proportion_a_token_weighs_as_much_as_those_nearest_to_it() -> None:
    # kept: 0, 50 and 90; 5 and 10 are nearest to 0, 80 to 90; 50 stands for itself
    view = ProjectorView(0, 3, torch.arange(6), lambda: at_angles(0, 5, 10, 50, 80, 90))
    selection = DivPrune(proportional=True).select(view)
    assert selection.keep.tolist() == [0, 3, 5] == DivPrune().select(view).keep.tolist()
    torch.testing.assert_close(selection.key_bias, torch.tensor([3.0, 1.0, 2.0]).log())
    assert DivPrune().select(view).key_bias is None


def test_in_proportion_twins_that_both_stay_count_themselves() -> None:
    selection = DivPrune(proportional=True).select(
        ProjectorView(0, 3, torch.arange(4), lambda: torch.ones(4, 2))
    )
    assert selection.key_bias is not None
    assert sorted(selection.key_bias.exp().round().tolist()) == [1, 1, 2]


def test_in_proportion_nothing_is_weighed_where_all_stay() -> None:
    view = ProjectorView(0, 4, torch.arange(4), lambda: at_angles(0, 5, 10, 90))
    assert DivPrune(1.0, proportional=True).select(view).key_bias is None


def test_a_flag_that_is_none_is_refused() -> None:
    with pytest.raises(MethodError, match="proportional is True or False"):
        DivPrune(proportional="no")  # type: ignore[arg-type]


def test_at_least_one_token_stays() -> None:
    assert DivPrune(0.098).plan(32, 4) == (Stage(0, 1, rounded_up=True),)
    assert run(torch.ones(1, 4), 1).keep.tolist() == [0]


@pytest.mark.parametrize("ratio", [0, -0.1, 1.2, 56, True, "0.1", None, float("nan")])
def test_bad_ratios_are_refused(ratio: Any) -> None:
    with pytest.raises(ScheduleError, match="keep_ratio"):
        DivPrune(ratio)


def test_reads_features_only() -> None:
    assert DivPrune().reads_at(32) == (Reading(0, similarity="features"),)
    assert DivPrune(0.25, proportional=True).reads_at(32) == (
        Reading(0, similarity="features", pairs=1.25),
    )
    assert not DivPrune.reads.vision
    assert DivPrune().policy == "keep"
    with pytest.raises(MissingSignal):
        ProjectorView(0, 1, torch.arange(1), lambda: torch.ones(1, 2)).vision  # noqa: B018
