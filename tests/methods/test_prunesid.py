"""PruneSID: groups, suppression and seats, each by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.signals import choose
from transprune.core.plan import Stage
from transprune.errors import MethodError
from transprune.methods import FasterVLM, PruneSID
from transprune.methods.prunesid import Groups, fill_seats, principal_groups, suppress


def planted(groups: int, each: int, seed: int = 0) -> Tensor:
    """`each` noisy copies of one random direction per group, group by group."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(groups, 64, generator=generator)
    noise = 0.05 * torch.randn(groups * each, 64, generator=generator)
    return centres.repeat_interleave(each, dim=0) + noise


def test_planted_groups_are_found() -> None:
    # sizes differ, so that the components have an order
    rows = torch.cat([planted(3, 6)[:6], planted(3, 6)[6:10], planted(3, 6)[12:15]])
    group = principal_groups(rows, 3)
    assert [len(set(part.tolist())) for part in group.split([6, 4, 3])] == [1, 1, 1]
    assert len(set(group.tolist())) == 3


def test_equal_tokens_are_one_group() -> None:
    assert principal_groups(torch.ones(5, 4), 3).tolist() == [0] * 5
    assert principal_groups(torch.randn(1, 8).expand(6, 8), 4).tolist() == [0] * 6


def test_suppression_by_hand() -> None:
    """A chain by falling score 0 - 1 - 2: 0 suppresses 1, which then suppresses nothing."""
    near = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()
    assert suppress(near, torch.tensor([3.0, 2.0, 1.0])).tolist() == [False, True, False]
    assert suppress(near, torch.tensor([1.0, 3.0, 2.0])).tolist() == [True, False, True]
    assert suppress(near, torch.ones(3)).tolist() == [False, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_suppression_against_a_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    near = torch.rand(20, 20, generator=generator) > 0.7
    near = near | near.T
    score = torch.rand(20, generator=generator)
    kept: list[int] = []
    for token in score.argsort(descending=True).tolist():
        if not any(near[token, other] for other in kept):
            kept.append(token)
    assert (~suppress(near, score)).nonzero()[:, 0].tolist() == sorted(kept)


def seats(group: list[int], suppressed: list[int], count: int) -> list[int]:
    """What stays when the first tokens are the most salient."""
    number = torch.tensor(group)
    gone = torch.zeros(len(group), dtype=torch.bool)
    gone[suppressed] = True
    found = Groups(number, int(number.max()) + 1, gone)
    return fill_seats(found, torch.arange(len(group)).flip(0).float(), count).tolist()


def test_one_seat_for_each_group_and_the_rest_in_proportion() -> None:
    """Six and two survivors share four seats: one each, then 1.5 and 0.5, rounded cumulatively."""
    group = [0] * 6 + [1] * 2
    assert seats(group, [], 4) == [0, 1, 2, 6]
    assert seats(group, [], 2) == [0, 6]


def test_what_is_suppressed_comes_back_only_when_all_others_have_a_seat() -> None:
    group = [0, 0, 0, 1, 1, 1]
    assert seats(group, [1, 2], 4) == [0, 3, 4, 5]
    # the group with more survivors gives the first one back, and here it has none to give
    assert seats(group, [1, 2], 5) == [0, 1, 3, 4, 5]
    assert seats(group, [1, 2, 4, 5], 3) == [0, 1, 3]


def test_an_empty_group_has_no_seat() -> None:
    assert seats([0, 0, 2, 2], [], 2) == [0, 2]


def test_of_twins_the_less_salient_goes() -> None:
    """Two pairs of twins: one of each stays, though the first pair is the most salient."""
    first, second = torch.randn(2, 32, generator=torch.Generator().manual_seed(3))
    features = torch.stack([first, first, second, second])
    saliency = [0.5, 0.4, 0.1, 0.2]
    assert choose(PruneSID(2, scale=4.0), features, saliency=saliency).keep.tolist() == [0, 3]
    # a threshold that nothing exceeds leaves the twins alone
    assert choose(PruneSID(2, scale=0.01), features, saliency=saliency).keep.tolist() == [0, 1]


def test_above_the_threshold_s_reach_nothing_is_suppressed() -> None:
    """One group and a threshold above 1: the most salient stay, as in FasterVLM."""
    generator = torch.Generator().manual_seed(0)
    features = 2 + 0.1 * torch.randn(30, 8, generator=generator)
    saliency = torch.rand(30, generator=generator)
    ours = choose(PruneSID(8, per_group=8, scale=1.0), features, saliency=saliency).keep
    assert torch.equal(ours, choose(FasterVLM(8), features, saliency=saliency).keep)


def test_newline_tokens_go_first() -> None:
    features = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    crop = torch.tensor([0, -1, 0, 0])
    saliency = [0.1, float("nan"), 0.3, 0.2]
    assert choose(PruneSID(3), features, saliency=saliency, crop=crop).keep.tolist() == [0, 2, 3]


def test_plan_and_settings() -> None:
    assert PruneSID().plan(32, 576) == (Stage(0, 64),)
    for wrong in ({"per_group": 0}, {"scale": 0}):
        with pytest.raises(MethodError):
            PruneSID(**wrong)
