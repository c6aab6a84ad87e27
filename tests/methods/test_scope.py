"""SCOPE: gains by hand, against a search without bookkeeping, and what a weight does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.signals import choose, numbered
from transprune.algebra.coverage import select_coverage
from transprune.core.plan import Reading, Stage
from transprune.errors import MethodError
from transprune.methods import SCOPE, FasterVLM


def at_angles(*degrees: float) -> Tensor:
    radians = torch.tensor([math.radians(angle) for angle in degrees])
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def slow(similarity: Tensor, weight: Tensor, k: int) -> list[int]:
    """The definition, written out."""
    n = len(weight)
    picks: list[int] = []
    while len(picks) < k:
        gains = {}
        for j in (j for j in range(n) if j not in picks):
            added = 0.0
            for i in range(n):
                now = max([0.0, *(float(similarity[i, p]) for p in picks)])
                added += max(0.0, float(similarity[i, j]) - now)
            gains[j] = added * float(weight[j])
        picks.append(max(gains, key=gains.__getitem__))
    return picks


def test_the_order_by_hand() -> None:
    """Two groups, {0, 1, 2} and {3, 4}: the middle of the larger one first, then the other group."""
    similarity = torch.eye(5)
    for i, j, cosine in ((0, 1, 0.9), (1, 2, 0.9), (0, 2, 0.6), (3, 4, 0.8)):
        similarity[i, j] = similarity[j, i] = cosine
    picks, gain = select_coverage(similarity, torch.ones(5), 3)
    # 0.9 + 1 + 0.9 = 2.8; then 1 + 0.8 = 1.8; then token 4 adds 0.2 to itself, 0 and 2 add 0.1
    assert picks.tolist() == [1, 3, 4]
    assert gain.tolist() == pytest.approx([0.1, 2.8, 0.1, 1.8, 0.2], abs=1e-6)


def test_a_weight_can_turn_the_order() -> None:
    """The middle one covers most; where it is salient enough the lone one comes first."""
    features = at_angles(0, 5, 90)
    assert choose(SCOPE(1), features, saliency=[0.3, 0.3, 0.4]).keep.tolist() == [1]
    assert choose(SCOPE(1), features, saliency=[0.1, 0.1, 0.8]).keep.tolist() == [2]
    assert choose(SCOPE(1, alpha=0.0), features, saliency=[0.1, 0.1, 0.8]).keep.tolist() == [1]


def test_a_high_power_of_small_probabilities_still_chooses() -> None:
    """Attention to one of thousands of patches, to the eighth power, is 0 in float32."""
    saliency = [1e-6, 1e-6, 5e-6, 1e-6]
    keep = choose(SCOPE(1, alpha=8.0), at_angles(0, 5, 90, 95), saliency=saliency).keep
    assert keep.tolist() == [2]
    with pytest.raises(MethodError, match="at most 8"):
        SCOPE(alpha=8.5)


@pytest.mark.parametrize("seed", range(3))
def test_against_a_search_without_bookkeeping(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(17, 4, generator=generator)
    weight = torch.rand(17, generator=generator)
    unit = features / features.norm(dim=1, keepdim=True)
    picks, _ = select_coverage(unit @ unit.T, weight, 9)
    assert picks.tolist() == slow(unit @ unit.T, weight, 9)


def test_once_nothing_is_gained_the_salient_follow() -> None:
    """Four equal patches: one covers all, and the others add nothing."""
    keep = choose(SCOPE(2), torch.ones(4, 3), saliency=[0.1, 0.4, 0.2, 0.3]).keep
    assert keep.tolist() == [1, 3]


def test_opposite_patches_do_not_cover_less_than_nothing() -> None:
    picks, gain = select_coverage(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.ones(2), 2)
    assert picks.tolist() == [0, 1]
    assert gain.tolist() == [1, 1]


def test_equal_patches_far_apart_are_salient_ones() -> None:
    """Orthogonal patches cover only themselves, so the weight alone decides."""
    saliency = torch.rand(6, generator=torch.Generator().manual_seed(1))
    ours = choose(SCOPE(3), torch.eye(6), saliency=saliency).keep
    assert torch.equal(ours, choose(FasterVLM(3), numbered(6), saliency=saliency).keep)


def test_features_are_those_in_front_of_the_projector() -> None:
    states = at_angles(0, 2, 90)
    features = at_angles(0, 90, 92)
    keep = choose(SCOPE(2), features, states=states, saliency=torch.ones(3)).keep
    assert keep.tolist() == [1, 2]
    assert choose(SCOPE(2), features, saliency=torch.ones(3)).keep.tolist() == [0, 1]


def test_newline_tokens_go_first() -> None:
    saliency, features = [0.1, float("nan"), 0.3, 0.2], at_angles(0, 45, 90, 120)
    crop = torch.tensor([0, -1, 0, 0])
    assert 1 not in choose(SCOPE(3), features, saliency=saliency, crop=crop).keep.tolist()


def test_plan_and_settings() -> None:
    assert SCOPE().plan(32, 576) == (Stage(0, 192),)
    assert SCOPE().reads_at(32) == (Reading(0, similarity="features"),)
    with pytest.raises(MethodError, match="alpha"):
        SCOPE(alpha=-1)
