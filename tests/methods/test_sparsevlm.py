"""SparseVLM: raters, recycling, rank, version 2, budgets - on tensors made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from methods.layer_views import Given
from transprune.core.schedule import Schedule
from transprune.errors import MethodError, ScheduleError
from transprune.methods import SparseVLM
from transprune.methods.sparsevlm import clusters_of, find_raters


def raters_of(visual: torch.Tensor, words: torch.Tensor) -> list[int]:
    return find_raters(visual, words).nonzero().flatten().tolist()


def test_raters_match_the_image_better_than_average() -> None:
    visual = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    words = torch.tensor([[4.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    match = (
        (visual @ words.T).softmax(dim=1).mean(dim=0)
    )  # each visual token spreads one vote over the words
    assert raters_of(visual, words) == [i for i in range(3) if match[i] > match.mean()] == [0]


def test_the_softmax_runs_over_the_words() -> None:
    """A word that all visual tokens dislike equally less must not win by a softmax over the image."""
    visual, words = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [2.0]])
    assert raters_of(visual, words) == [1]


def test_one_word_alone_rates() -> None:
    assert raters_of(torch.ones(3, 2), torch.ones(1, 2)) == [0]
    assert raters_of(torch.ones(3, 2), torch.ones(4, 2)) == [0, 1, 2, 3]


RATER = (torch.ones(1, 2), torch.tensor([[9.0, 9.0], [0.0, 0.0]]))  # of two words the first


def test_only_raters_count_and_heads_are_averaged() -> None:
    image = torch.tensor([[[0.1, 0.4, 0.2], [9.0, 0.0, 0.0]], [[0.3, 0.0, 0.2], [9.0, 0.0, 0.0]]])
    score = SparseVLM().score(Given(torch.zeros(3, 2), image, embedded=RATER).view(1), None)[
        "score"
    ]
    assert score.tolist() == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize(
    ("dropped", "clusters"), [(1, 1), (29, 1), (30, 2), (94, 3), (109, 4), (276, 9), (300, 10)]
)
def test_how_many_are_recycled(dropped: int, clusters: int) -> None:
    assert clusters_of(dropped) == clusters


def test_the_published_budget_with_what_is_recycled() -> None:
    stages = SparseVLM().plan(32, 576)
    assert [(s.boundary, s.count, s.merged) for s in stages] == [
        (3, 309, 9),
        (7, 204, 4),
        (16, 113, 3),
    ]
    assert [s.count for s in SparseVLM(recycle=False).plan(32, 576)] == [300, 200, 110]
    credited = (2 * 576 + 4 * 309 + 9 * 204 + 17 * 113) / 32
    assert credited == pytest.approx(192.03, abs=0.005)


@pytest.mark.parametrize(
    ("budget", "counts"),
    [(192, (300, 200, 110)), (128, (303, 110, 36)), (96, (238, 48, 26)), (64, (66, 30, 17))],
)
def test_published_budgets(budget: int, counts: tuple) -> None:
    assert tuple(s.count for s in SparseVLM(budget, recycle=False).plan(32, 576)) == counts


@pytest.mark.parametrize(
    ("budget", "counts"),
    [(192, (300, 200, 118)), (128, (238, 108, 60)), (96, (246, 54, 28)), (64, (66, 34, 20))],
)
def test_budgets_of_version_2(budget: int, counts: tuple) -> None:
    assert tuple(s.count for s in SparseVLM.plus(budget).plan(32, 576)) == counts


def test_other_budgets_lie_between() -> None:
    assert [s.count for s in SparseVLM(160, recycle=False).plan(32, 576)] == [302, 155, 73]
    assert [s.count for s in SparseVLM(576).plan(32, 576)] == [576, 576, 576]
    assert [s.count for s in SparseVLM(32, recycle=False).plan(32, 576)] == [33, 15, 8]
    with pytest.raises(ScheduleError, match=r"1\.\.576"):
        SparseVLM(577)


def recycling() -> Given:
    """Twelve tokens: 0 and 1 rated best, the next four recycled, of which 2 and 3 are alike and 4 and 5 are."""
    hidden = torch.tensor(
        [[9.0], [8.0], [1.0], [1.2], [5.0], [5.4], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0]]
    )
    rates = torch.linspace(1, 0, 12)
    return Given(hidden, torch.stack([rates, rates])[None], embedded=RATER)


def test_the_best_of_the_rest_become_the_means_of_their_clusters() -> None:
    # 10 dropped: 30 % and one are four candidates, a tenth and one is one cluster
    selection = SparseVLM(seed=None).select(recycling().view(3, merged=1))
    assert selection.keep.tolist()[:2] == [0, 1]
    assert selection.keep[2] in (2, 3, 4, 5)
    assert selection.features[:, 0].tolist() == pytest.approx([9.0, 8.0, (1 + 1.2 + 5 + 5.4) / 4])
    assert SparseVLM(recycle=False).select(recycling().view(2)).keep.tolist() == [0, 1]


def test_the_noise_is_seeded() -> None:
    pool = recycling()
    pool.hidden = torch.tensor([[9.0], [8.0], *[[0.0], [1.0]] * 5])
    picks = {
        s: SparseVLM(seed=s).select(pool.view(3, merged=1)).keep.tolist()
        for s in (0, 1, 2, 3, 4, 5)
    }
    assert picks == {
        s: SparseVLM(seed=s).select(pool.view(3, merged=1)).keep.tolist() for s in picks
    }
    assert len({tuple(pick) for pick in picks.values()}) > 1
    assert SparseVLM(seed=None).select(pool.view(3, merged=1)).keep.tolist() == [0, 1, 2]


def test_the_default_dtype_of_torch_changes_no_noise() -> None:
    pool = recycling()
    pool.hidden = torch.tensor([[9.0], [8.0], *[[0.0], [1.0]] * 5])
    expected = [SparseVLM(seed=s).select(pool.view(3, merged=1)).keep.tolist() for s in range(6)]
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = [SparseVLM(seed=s).select(pool.view(3, merged=1)).keep.tolist() for s in range(6)]
    finally:
        torch.set_default_dtype(torch.float32)

    assert found == expected


def test_rank_deficiency_keeps_fewer() -> None:
    by_rank = SparseVLM(budget="rank", rank_scale=2.0, rank_offset=1.0, recycle=False)
    words = torch.tensor([[9.0, 9.0], [9.0, 9.0], [9.0, 9.0], [0.0, 0.0], [0.0, 0.0]])
    full = torch.rand(2, 5, 12, generator=torch.Generator().manual_seed(0))
    same = full[:, :1].expand(-1, 5, -1).contiguous()  # three raters that say the same: rank 1
    for image, kept in ((full, 7), (same, 3)):
        pool = Given(torch.zeros(12, 2), image, embedded=(torch.ones(1, 2), words))
        assert len(by_rank.select(pool.view(12)).keep) == kept
    assert [s.boundary for s in by_rank.plan(32, 576)] == [3, 7, 16, 20]
    assert all(s.at_most for s in by_rank.plan(32, 576))
    tiny = replace(by_rank, rank_scale=0.1, rank_offset=0.0)
    assert len(tiny.select(pool.view(12)).keep) == 1


def of_rank(rank: int, tokens: int) -> Given:
    """Six words that all rate, whose attention has this rank; the first tokens get most of it."""
    generator = torch.Generator().manual_seed(rank)
    rows = torch.rand(6, rank, generator=generator)
    columns = torch.rand(rank, tokens, generator=generator)
    image = (rows @ columns)[None] * torch.linspace(2, 1, tokens)
    return Given(torch.zeros(tokens, 2), image, embedded=(torch.ones(1, 2), torch.ones(6, 2)))


@pytest.mark.parametrize(("tokens", "rank", "kept"), [(4, 4, 4), (5, 5, 5), (5, 4, 3), (4, 3, 2)])
def test_a_pool_as_large_as_its_rank_stays_whole(tokens: int, rank: int, kept: int) -> None:
    method = SparseVLM(budget="rank", rank_scale=0.8, recycle=False)  # int(0.8 * rank) else
    selection = method.select(of_rank(rank, tokens).view(tokens))
    assert len(selection.keep) == kept


def test_nothing_is_recycled_of_a_pool_that_stays_whole() -> None:
    method = SparseVLM(budget="rank", rank_scale=0.8)
    selection = method.select(of_rank(5, 5).view(5))
    assert (selection.keep.tolist(), selection.features) == ([0, 1, 2, 3, 4], None)


def test_a_whole_pool_still_respects_the_bound_of_its_schedule() -> None:
    method = SparseVLM(budget="rank", rank_scale=0.8, recycle=False)
    assert len(method.select(of_rank(5, 5).view(3)).keep) == 3


def decayed(by: float, **changes: object) -> torch.Tensor:
    image = torch.tensor([[[0.2, 0.1], [0.0, 0.0]]])
    pool = Given(
        torch.zeros(2, 2), image, decay=torch.tensor([[1.0, by], [1.0, 1.0]]), embedded=RATER
    )
    return SparseVLM.plus(heads=1.0, **changes).score(pool.view(1), None)["score"]


def test_version_2_undoes_the_decay_of_distance() -> None:
    assert decayed(0.25).tolist() == pytest.approx([0.2, 0.4])
    assert decayed(0.25, decay="off").tolist() == pytest.approx([0.2, 0.1])


def test_a_negative_decay_turns_the_released_score_round_and_the_guarded_one_not() -> None:
    assert decayed(-0.25, decay="released").tolist() == pytest.approx([0.2, -0.4])
    assert decayed(-0.25).tolist() == pytest.approx([0.2, 1.0])  # by 0.1 at least


def test_a_share_of_the_heads_takes_those_that_look_at_the_image() -> None:
    image = torch.tensor(
        [[[0.1, 0.0], [0, 0]], [[0.3, 0.4], [0, 0]], [[0.0, 0.0], [0, 0]], [[0.5, 0.1], [0, 0]]]
    )
    pool = Given(torch.zeros(2, 2), image, decay=torch.ones(2, 2), embedded=RATER)
    half = SparseVLM.plus(heads=0.5)
    assert half.score(pool.view(1), None)["score"].tolist() == pytest.approx([0.4, 0.25])


def many_heads(heads: int) -> Given:
    """Attention of two raters and one other word, and a decay that favours the last tokens."""
    generator = torch.Generator().manual_seed(heads)
    words = torch.tensor([[9.0, 9.0], [0.0, 0.0], [9.0, 9.0]])  # the first and the last rate
    return Given(
        torch.zeros(6, 2),
        torch.rand(heads, 3, 6, generator=generator),
        decay=torch.linspace(0.2, 1.0, 6).expand(3, -1),
        embedded=(torch.ones(1, 2), words),
    )


def slow_version_2(pool: Given, count: int) -> list[float]:
    """Every number divided first; then the heads with the largest sums; then the mean of those."""
    freed = []
    for head in pool.image.tolist():
        rows = []
        for word in (0, 2):
            decay = pool.decay[word].tolist()
            rows.append([a / d for a, d in zip(head[word], decay, strict=True)])
        freed.append(rows)

    best = sorted(freed, key=lambda rows: -sum(map(sum, rows)))[:count]
    flat = [row for rows in best for row in rows]
    return [sum(column) / len(flat) for column in zip(*flat, strict=True)]


@pytest.mark.parametrize("heads", [1, 8, 14, 16, 28, 32])
def test_version_2_takes_14_heads_whatever_their_number(heads: int) -> None:
    pool = many_heads(heads)
    score = SparseVLM.plus().score(pool.view(1), None)["score"]
    assert score.tolist() == pytest.approx(slow_version_2(pool, min(14, heads)), rel=1e-5)


def test_version_2_frees_attention_of_distance_before_it_chooses_heads() -> None:
    """The first head looks more, but nearby; freed of distance the second one looks more."""
    image = torch.tensor([[[0.0, 0.5], [0, 0]], [[0.3, 0.0], [0, 0]]])
    decay = torch.tensor([[0.25, 1.0], [1.0, 1.0]])
    pool = Given(torch.zeros(2, 2), image, decay=decay, embedded=RATER)

    one = SparseVLM.plus(heads=0.5).score(pool.view(1), None)["score"]
    assert one.tolist() == pytest.approx([1.2, 0.0])

    as_it_is = SparseVLM.plus(heads=0.5, decay="off").score(pool.view(1), None)["score"]
    assert as_it_is.tolist() == pytest.approx([0.0, 0.5])


def test_heads_are_a_share_up_to_1_and_a_count_above() -> None:
    pool = many_heads(5)
    scores = {
        heads: SparseVLM.plus(heads=heads).score(pool.view(1), None)["score"].tolist()
        for heads in (0.01, 0.4, 2, 5, 99, 1, 1.0)
    }
    assert scores[0.4] == scores[2] == pytest.approx(slow_version_2(pool, 2), rel=1e-5)
    assert scores[0.01] == pytest.approx(slow_version_2(pool, 1), rel=1e-5)
    # 1 was all of them in 0.1, as an int and as a float
    assert scores[1] == scores[1.0] == scores[5] == scores[99]


def test_defaults_and_policies() -> None:
    assert (SparseVLM().policy, SparseVLM.plus().policy) == ("renumber", "keep")
    assert SparseVLM().keep == SparseVLM(192).keep
    assert SparseVLM(keep={3: 0.5}).keep == Schedule({3: 0.5})


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": "free"},
        {"decay": "on"},
        {"heads": 0},
        {"heads": 1.5},
        {"heads": -3},
        {"heads": True},
        {"heads": "most"},
        {"rank_scale": 0},
    ],
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(MethodError):
        SparseVLM(**wrong)
