"""PACT: score, clusters and sizes, on tensors made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from methods.layer_views import Given
from transprune.core.plan import Stage
from transprune.errors import MethodError, ScheduleError
from transprune.methods import PACT


def test_score_is_softmax_over_the_image_times_norm() -> None:
    keys = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]]])  # [1, 3, 2]
    query = torch.tensor([[math.sqrt(2.0), 5.0]])  # one head
    hidden = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 0.5]])  # norms 5, 1, 0.5
    score = PACT().score(Given(hidden, plain_keys=keys, query=query).view(3), None)["score"]
    weights = torch.tensor([1.0, 0.0, 2.0]).softmax(dim=0)  # q.k / sqrt(2)
    torch.testing.assert_close(score, weights * torch.tensor([5.0, 1.0, 0.5]))


def test_query_heads_that_share_a_key_head() -> None:
    keys = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    query = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    hidden = torch.nn.functional.normalize(torch.ones(3, 5), dim=-1)
    score = PACT().score(Given(hidden, plain_keys=keys, query=query).view(3), None)["score"]
    expected = torch.stack(
        [(keys[head // 2] @ query[head] / 2).softmax(dim=0) for head in range(4)]
    ).mean(dim=0)
    torch.testing.assert_close(score, expected)


def angles(*degrees: float) -> torch.Tensor:
    radians = torch.tensor(degrees).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=-1)[None]  # one head of width 2


def given(*degrees: float, scores: list[float]) -> Given:
    """Rotated keys at angles; scores through the norm of the states, as no key wants anything."""
    n = len(degrees)
    hidden = torch.zeros(n, 4)
    hidden[:, 0] = torch.tensor(scores)
    return Given(
        hidden,
        plain_keys=torch.zeros(1, n, 2),
        rotated_keys=angles(*degrees),
        query=torch.zeros(1, 2),
    )


def test_clusters_become_their_means_and_weigh_their_size() -> None:
    # cosine distance: 10 degrees 0.015, 40 degrees 0.234, 90 degrees 1
    pool = given(0, 10, 90, 100, 200, scores=[5, 4, 3, 2, 1])
    selection = PACT(keep_ratio=1.0, cutoff=0.21).select(pool.view(5))
    assert selection.keep.tolist() == [1, 2, 4]  # the densest of each group, alone the last
    torch.testing.assert_close(selection.features[:, 0], torch.tensor([4.5, 2.5, 1.0]))
    torch.testing.assert_close(selection.key_bias, torch.tensor([2.0, 2.0, 1.0]).log())


def test_dropped_tokens_near_a_centre_join_its_mean() -> None:
    # the last three are dropped: at 20 degrees (0.06) and 45 (0.29 < 1.5 * 0.21) they come back, at 100 (1.17) not
    pool = given(0, 200, 20, 45, 100, scores=[5, 4, 3, 2, 1])
    selection = PACT(keep_ratio=0.4).select(pool.view(2))
    assert selection.keep.tolist() == [0, 1]
    torch.testing.assert_close(selection.features[:, 0], torch.tensor([10 / 3, 4.0]))
    torch.testing.assert_close(selection.key_bias, torch.tensor([3.0, 1.0]).log())
    narrow = PACT(keep_ratio=0.4, recover=1.0).select(pool.view(2))
    torch.testing.assert_close(narrow.features[:, 0], torch.tensor([4.0, 4.0]))


def test_without_neighbours_nothing_is_merged_and_nothing_weighs() -> None:
    pool = given(0, 90, 180, 270, scores=[1, 2, 3, 4])
    selection = PACT(keep_ratio=0.5).select(pool.view(2))
    assert (selection.keep.tolist(), selection.features, selection.key_bias) == ([2, 3], None, None)


def test_parts_can_be_left_out() -> None:
    pool = given(0, 10, 90, 100, 200, scores=[5, 4, 3, 2, 1])
    assert PACT(cutoff=0).select(pool.view(3)).keep.tolist() == [0, 1, 2]
    assert PACT(keep_ratio=1.0, proportional=False).select(pool.view(5)).key_bias is None


def test_the_plan_is_an_upper_bound() -> None:
    assert PACT().plan(32, 576) == (Stage(4, 316, at_most=True),)
    assert PACT(cutoff=0).plan(28, 1296) == (Stage(4, 712),)
    assert PACT().policy == "keep"


@pytest.mark.parametrize(
    "wrong", [{"layer": 0}, {"cutoff": -1.0}, {"recover": "much"}, {"proportional": "no"}]
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(MethodError):
        PACT(**wrong)
    with pytest.raises(ScheduleError):
        PACT(keep_ratio=1.5)
