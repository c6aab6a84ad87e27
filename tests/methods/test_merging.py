"""ToMe, PruMerge and VScan on hand-made towers: what is kept and what it absorbs."""

from __future__ import annotations

import pytest
import torch

from methods.signals import choose, numbered, on_grids
from transprune import TransPrune
from transprune.algebra.select import match_bipartite, select_spread
from transprune.core.plan import Stage
from transprune.errors import MethodError, ScheduleError
from transprune.methods import Compose, PruMerge, ToMe, VScan
from transprune.methods.vscan import Scan, number_windows

GENERATOR = torch.Generator().manual_seed(0)


def test_bipartite_matching() -> None:
    """Even: 0, 2, 4; odd: 1, 3. 4 is 1, 2 is nearly 3, 0 is far from both."""
    metric = torch.tensor([[0.0, 1], [1, 0], [-1, 0.1], [-1, 0], [1, 0]])
    assert [t.tolist() for t in match_bipartite(metric, 2)] == [[4, 2], [1, 3]]
    assert match_bipartite(metric, 9)[0].tolist() == [4, 2], "at most as many as there are odd ones"
    assert [len(t) for t in match_bipartite(metric[:1], 3)] == [0, 0]


def test_tome_merges_into_means_weighted_by_size() -> None:
    """Four equal keys, one stays: two rounds, (0+1)/2 and (2+3)/2, then the mean of all, at the place of the last."""
    selection = choose(ToMe(1), numbered(4), keys=torch.ones(4, 3))
    assert selection.keep.tolist() == [3]
    assert selection.features is not None and selection.features[0].tolist() == [1.5, 1.5]
    assert selection.scores["score"].tolist() == [1, 1, 1, 4]


def test_tome_in_an_odd_number_of_tokens_weighs_by_size() -> None:
    """Five, one stays: 0 into 1, 2 into 3, then 1 into 3, then 3 (made of four) into 4: the mean of all five."""
    selection = choose(ToMe(1), torch.tensor([[1.0], [2], [4], [8], [100]]), keys=torch.ones(5, 2))
    assert selection.features is not None and float(selection.features) == pytest.approx(115 / 5)


def test_tome_merges_in_front_of_the_projector() -> None:
    states = torch.tensor([[1.0], [3.0]])
    selection = choose(
        ToMe(1), states.square(), keys=torch.ones(2, 2), states=states, project=torch.square
    )
    assert selection.features is not None and float(selection.features) == 4.0


def outliers(*places: int, n: int = 40) -> torch.Tensor:
    """Attention that is flat but for these places."""
    c = 1 + torch.arange(n) * 1e-4
    c[list(places)] = 50.0
    return c


def test_prumerge_keeps_outliers_and_one_token_of_the_rest() -> None:
    c, features = outliers(3, 20), torch.randn(40, 5, generator=GENERATOR)
    selection = choose(
        PruMerge(neighbours=0), features, outer_saliency=c, outer_keys=torch.randn(40, 4)
    )
    assert selection.keep.tolist() == [3, 20, 39], (
        "the rest stands at the place of the last that goes"
    )
    assert selection.features is not None
    assert torch.equal(selection.features[:2], features[[3, 20]])
    gone = [i for i in range(40) if i not in (3, 20)]
    torch.testing.assert_close(selection.features[2], (c[gone, None] * features[gone]).sum(0))


def test_prumerge_neighbours_are_nearest_by_keys_and_weigh_by_attention() -> None:
    c = torch.tensor([9.0, 0.1, 0.2, 0.3, 0.05, 0.1, 0.1, 0.1])
    keys = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [1, 0.2], [-1, 0], [0, 1], [0, 1], [0, 1]])
    selection = choose(PruMerge(2, neighbours=2), numbered(8, 1), outer_saliency=c, outer_keys=keys)
    assert selection.features is not None
    assert float(selection.features[0]) == pytest.approx(0 + 0.1 * 1 + 0.3 * 3)


def test_prumerge_without_an_outlier_keeps_the_first_of_all_and_the_rest() -> None:
    flat = torch.full((40,), 0.025)
    for method, kept in ((PruMerge(), [0, 39]), (PruMerge.plus(), [0, 13, 26, 38, 39])):
        selection = choose(method, numbered(40), outer_saliency=flat, outer_keys=torch.ones(40, 4))
        assert selection.keep.tolist() == kept
        assert selection.features is not None and selection.features.isfinite().all()


def test_prumerge_plus_adds_three_at_even_distances_for_each_outlier() -> None:
    selection = choose(
        PruMerge.plus(), numbered(40), outer_saliency=outliers(3, 20), outer_keys=torch.ones(40, 4)
    )
    assert selection.keep.tolist() == sorted({3, 20, *range(0, 40, 40 // 2 // 3), 39})


def many_outliers(*places: int, n: int) -> torch.Tensor:
    """Attention that is exactly flat but for these places, fewer than a quarter of all."""
    assert len(places) < n / 4
    return torch.ones(n).index_fill(0, torch.tensor(places), 50.0)


def slow_plus(c: torch.Tensor, features: torch.Tensor) -> dict[int, torch.Tensor]:
    """Place -> row of adaptive PruMerge+ without neighbours, as the released code counts.

    The row of the rest stands at the place of the last patch that goes, as everywhere here.
    """
    n = len(c)
    outliers = [i for i in range(n) if float(c[i]) > float(c.min())]
    stride = int(int(n / len(outliers)) / 3)
    kept = {*outliers, *range(0, n - 1, stride)}  # the last patch is on no stride
    rows = {i: features[i] for i in kept}

    gone = [i for i in range(n) if i not in kept]
    if gone:
        rows[gone[-1]] = sum(c[i] * features[i] for i in gone)
    return rows


# 7 outliers of 40 give stride 1, 6 give 2; once with the last patch among them and once without
@pytest.mark.parametrize("last", [38, 39])
@pytest.mark.parametrize("others", [(0, 3, 9, 20, 21, 33), (0, 3, 9, 20, 33)], ids=[1, 2])
def test_prumerge_plus_keeps_all_rows_where_nothing_goes(last: int, others: tuple) -> None:
    c = many_outliers(*others, last, n=40)
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(8))
    selection = choose(
        PruMerge.plus(neighbours=0), features, outer_saliency=c, outer_keys=torch.ones(40, 4)
    )
    expected = slow_plus(c, features)
    assert selection.keep.tolist() == sorted(expected)
    assert selection.features is not None
    torch.testing.assert_close(
        selection.features, torch.stack([expected[place] for place in sorted(expected)])
    )


def test_prumerge_plus_of_the_usual_576_patches_with_97_outliers() -> None:
    """From 97 outliers on the stride is 1: with the last patch among them all 576 rows stay."""
    spread = range(5, 576, 6)
    assert (len(spread), spread[-1]) == (96, 575)
    for places, unchanged in (((*spread, 0), 576), ((*spread[:-1], 0, 1), 575)):
        c = many_outliers(*places, n=576)
        features = numbered(576)
        selection = choose(
            PruMerge.plus(neighbours=0), features, outer_saliency=c, outer_keys=torch.ones(576, 4)
        )
        assert selection.keep.tolist() == list(range(576))
        assert selection.features is not None
        assert int((selection.features == features).all(dim=1).sum()) >= unchanged


def test_prumerge_plans_an_upper_bound_where_the_picture_decides() -> None:
    assert PruMerge().plan(32, 576) == (Stage(0, 146, at_most=True),)
    assert PruMerge(1 / 8).plan(32, 576) == (Stage(0, 72),)
    assert PruMerge().scaled_by(2.0).keep == pytest.approx(0.11)
    with pytest.raises(MethodError):
        PruMerge(neighbours=-1)
    with pytest.raises(ScheduleError):
        PruMerge(0)


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_every_count_of_every_size(n: int) -> None:
    signals = {
        "outer_saliency": torch.rand(n),
        "outer_keys": torch.rand(n, 3),
        "keys": torch.rand(n, 3),
    }
    for count in range(1, n + 1):
        for method in (ToMe(count), PruMerge(count), PruMerge.plus(keep=count)):
            keep = choose(method, numbered(n), **signals).keep.tolist()
            assert len(keep) == count and keep == sorted(set(keep))
    for method in (PruMerge(), PruMerge.plus()):
        assert 1 <= len(choose(method, numbered(n), **signals).keep) <= n


def test_windows_of_a_grid_that_is_not_square() -> None:
    """5 x 7 in windows of 2: two by three, the fifth row and the seventh column join the last."""
    where = on_grids((5, 7))
    windows = number_windows(where["place"], where["grid"], where["crop"], 2).view(5, 7)
    assert windows.tolist() == [[0, 0, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5, 5]] * 3


def test_windows_of_two_pictures_of_unequal_size() -> None:
    where = on_grids((2, 2), (4, 2))
    windows = number_windows(where["place"], where["grid"], where["crop"], 2)
    assert windows.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_spread_selection() -> None:
    score, group = torch.tensor([9.0, 8, 7, 1, 2, 3]), torch.tensor([0, 0, 0, 1, 1, 1])
    assert select_spread(score, group, 4, 2).tolist() == [0, 1, 4, 5]
    assert select_spread(score, group, 3, 2).tolist() == [0, 1, 5]
    assert select_spread(score, group, 3, 3).tolist() == [0, 1, 2]
    assert select_spread(torch.ones(6), group, 2, 1).tolist() == [0, 3]
    assert select_spread(score, group, 4, 0).tolist() == []


def test_vscan_scans_locally_and_globally() -> None:
    """4 x 4 in four windows; 8 stay: the best of each window early in the tower, then the four best of the others."""
    where = on_grids((4, 4))
    early, late = torch.zeros(16), torch.arange(16.0)
    early[[0, 7, 8, 15]] = 1
    signals = {
        "saliency": late,
        "early_saliency": early,
        "place": where["place"],
        "grid": where["grid"],
    }
    selection = choose(Scan(8, window=2), numbered(16), states=numbered(16), **signals)
    assert selection.keep.tolist() == [0, 7, 8, 11, 12, 13, 14, 15]


def test_vscan_fills_up_globally_what_the_windows_cannot_share() -> None:
    """Five local ones in four windows: one each, and the global scan takes seven instead of six."""
    where = on_grids((4, 4))
    signals = {
        "saliency": torch.rand(16),
        "early_saliency": torch.rand(16),
        **{k: where[k] for k in ("place", "grid")},
    }
    assert len(choose(Scan(11, window=2), numbered(16), states=numbered(16), **signals).keep) == 11


def test_vscan_averages_what_it_merges() -> None:
    features = torch.tensor([[1.0, 0], [3.0, 0], [0, 2.0], [0, 6.0]])
    signals = {"saliency": [4.0, 1, 3, 1], "early_saliency": torch.zeros(4), **on_grids((1, 4))}
    selection = choose(Scan(2, local=0.1), features, states=features, **signals)
    assert selection.keep.tolist() == [0, 2]
    assert selection.features is not None and selection.features.tolist() == [[2, 0], [0, 4]]


def test_vscan_is_a_hybrid_with_the_published_counts() -> None:
    for keep, cut in ((96, 32), (192, 64), (288, 96)):
        assert VScan(keep).plan(32, 576) == (Stage(0, keep), Stage(16, cut))
    assert [s.boundary for s in VScan().plan(28, 576)] == [0, 14]
    assert VScan(96, None).plan(32, 576) == (Stage(0, 96),)
    behind = Compose([VScan(96, None), TransPrune.high()])
    assert behind.plan(32, 576)[1:] == TransPrune.high().plan(32, 96)
    assert VScan(96).scaled_by(2.0) == VScan(192)
    assert VScan.kind == "hybrid" and {step.name for step in VScan().steps} == {"vscan"}
    with pytest.raises(MethodError, match="only come first"):
        Compose([TransPrune.high(), VScan()])


def test_the_default_dtype_of_torch_changes_no_outlier() -> None:
    signals = {
        "outer_saliency": outliers(3, 20).float(),
        "outer_keys": torch.randn(40, 4, generator=GENERATOR),
    }
    expected = choose(PruMerge(), numbered(40), **signals)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = choose(PruMerge(), numbered(40).float(), **signals)
    finally:
        torch.set_default_dtype(torch.float32)

    assert torch.equal(found.keep, expected.keep)
