"""PLPHP: three classes of layers, and heads that choose for themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from transprune.core.cache_view import CacheView
from transprune.core.plan import Eviction, cached_per_layer
from transprune.cost.count import count_method
from transprune.cost.geometry import known_geometry
from transprune.errors import MethodError, MissingSignal, ScheduleError
from transprune.methods import PLPHP, Compose, DivPrune, FastV


def view_of(attention: Tensor, kv_heads: int) -> CacheView:
    """A view of the last token's attention [G, H, N], and of nothing else."""

    def nothing() -> Tensor:
        raise AssertionError("keys and values are not read")

    _, heads, total = attention.shape
    return CacheView(
        layer=3,
        total=total,
        heads=heads,
        kv_heads=kv_heads,
        rows="last",
        _attention=lambda rows: attention[:, :, None],
        _keys=nothing,
        _values=nothing,
    )


def looking(*shares: float) -> CacheView:
    """Pools of four tokens, to each of which two heads give so much attention together."""
    return view_of(torch.tensor(shares)[:, None, None].expand(-1, 2, 4) / 4, 2)


def test_a_layer_is_indifferent_balanced_or_attentive() -> None:
    choice = PLPHP(alpha=0.5, beta=0.25).rank(looking(0.2, 0.25, 0.3, 0.5, 0.9)).choice
    assert choice is not None
    # a share that is exactly a threshold belongs to the outer class
    assert choice.tolist() == [0, 0, 1, 2, 2]


def test_where_both_thresholds_are_one_number_it_makes_a_layer_attentive() -> None:
    choice = PLPHP(alpha=0.5, beta=0.5).rank(looking(0.4, 0.5, 0.6)).choice
    assert choice is not None
    assert choice.tolist() == [0, 2, 2]


def test_attention_to_the_image_is_the_mean_over_heads_of_its_sum_over_tokens() -> None:
    # head 0 gives 0.9, head 1 nothing: 0.45 in the mean
    attention = torch.tensor([[[0.6, 0.3], [0.0, 0.0]]])
    assert PLPHP(alpha=0.46, beta=0.44).rank(view_of(attention, 2)).choice.tolist() == [1]
    assert PLPHP(alpha=0.44, beta=0.43).rank(view_of(attention, 2)).choice.tolist() == [2]


def test_every_head_ranks_by_its_own_attention() -> None:
    attention = torch.tensor([[[0.1, 0.3, 0.2], [0.4, 0.0, 0.1]]])
    assert torch.equal(PLPHP().rank(view_of(attention, 2)).scores, attention)


def test_heads_that_share_keys_add_their_attention() -> None:
    attention = torch.tensor([[[0.1, 0.3], [0.4, 0.0], [0.2, 0.1], [0.0, 0.3]]])
    scores = PLPHP().rank(view_of(attention, 2)).scores
    torch.testing.assert_close(scores, torch.tensor([[[0.5, 0.3], [0.2, 0.4]]]))


def test_rows_that_were_not_announced_are_refused() -> None:
    with pytest.raises(MissingSignal, match="announced 'last' and read 'instruction'"):
        looking(0.3).attention("instruction")


def test_shares_are_rounded_up_and_one_stays() -> None:
    # 0.4 - 0.3 of 100 is 10 in whole numbers, and not the 11 of floating point
    assert PLPHP().counts(5, 100) == (10, 40, 70)
    assert PLPHP().counts(5, 101) == (11, 41, 71)
    assert PLPHP(rate=0.4, step=0.4).counts(5, 10) == (1, 4, 8)
    assert PLPHP(rate=0.9, step=0.3).counts(5, 10) == (6, 9, 10)
    assert PLPHP().counts(5, 1) == (1, 1, 1)


def test_the_plan() -> None:
    method = PLPHP()
    assert method.plan(32, 576) == ()
    assert method.reads_at(32) == ()
    evicts = method.evicts(32, [576] * 32)
    assert evicts[0] == Eviction(2, (58, 231, 404), "last")
    assert [eviction.layer for eviction in evicts] == list(range(2, 32))
    assert evicts[0].at_most
    assert cached_per_layer([576] * 32, evicts) == (576, 576, *[404] * 30)
    assert PLPHP(rate=1.0, step=0.0).evicts(32, [576] * 32) == ()


def test_its_cost_is_the_whole_prefill_and_less_memory() -> None:
    """The upper bound: every layer is attentive."""
    sizes = known_geometry("llava-1.5-7b")
    paper, exact = (count_method(sizes, PLPHP(), convention=c) for c in ("paper", "exact"))
    assert paper.prefill == paper.full_prefill
    # one row of 640 keys in each of 30 layers
    assert exact.scoring == 30 * 2 * 640 * 4096
    assert exact.prefill == exact.full_prefill + exact.scoring
    rows = 2 * 640 + 30 * (404 + 64)
    assert exact.kv_bytes == 2 * rows * 4096 * 2
    # the new token attends to that many keys, and to itself
    saved = 30 * (576 - 404) * 2 * 2 * 4096
    assert exact.full_decode - exact.decode == saved


def test_behind_others_it_takes_its_share_of_what_they_left() -> None:
    method = Compose([DivPrune(0.5), PLPHP()])
    assert method.evicts(32, [100] * 32)[0].counts == (10, 40, 70)
    late = Compose([FastV(layer=4, keep_ratio=0.5), PLPHP()])
    counts = {kept.layer: kept.count for kept in late.evicts(8, [100] * 4 + [50] * 4)}
    assert counts == {2: 70, 3: 70, 4: 35, 5: 35, 6: 35, 7: 35}


def test_scaling_scales_all_three_rates() -> None:
    half = PLPHP().scaled_by(0.5)
    assert half.counts(5, 1000) == (50, 200, 350)
    assert PLPHP().scaled_by(2).counts(5, 1000) == (200, 800, 1000)
    assert PLPHP().scaled_by(1e4).counts(5, 1000) == (1000, 1000, 1000)
    assert PLPHP().scaled_by(1e-4).counts(5, 1000) == (1, 1, 1)
    with pytest.raises(MethodError, match="positive factor"):
        PLPHP().scaled_by(0)


def test_settings_are_checked() -> None:
    for wrong in ({"rate": 0}, {"rate": 1.1}, {"step": -0.1}, {"rate": 0.2, "step": 0.3}):
        with pytest.raises(ScheduleError):
            PLPHP(**wrong)
    for wrong in ({"alpha": 1.5}, {"beta": "much"}, {"alpha": 0.1, "beta": 0.2}, {"layer": -1}):
        with pytest.raises(MethodError):
            PLPHP(**wrong)
    with pytest.raises(ScheduleError, match="below 8 on this model; got 8"):
        PLPHP(layer=8).plan(8, 10)
