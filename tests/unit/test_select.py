"""Index algebra against answers worked out by hand or by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transprune.algebra.match import hash_rows, match_hashes
from transprune.algebra.select import (
    assign_nearest,
    cosine_matrix,
    group_mean,
    normalise_sum,
    rankable,
    select_diverse,
    select_even,
    select_top,
)

NAN, INF = float("nan"), float("inf")


def match_rows(rows: torch.Tensor, source: torch.Tensor) -> np.ndarray:
    """For each row an identical row of `source`, as the vision tap finds it."""
    return match_hashes(hash_rows(rows).numpy(), hash_rows(source.to(rows.dtype)).numpy())


def test_top_is_ascending() -> None:
    assert select_top(torch.tensor([0.1, 0.9, 0.3, 0.8]), 2).tolist() == [1, 3]
    assert select_top(torch.tensor([0.9, 0.1, 0.8, 0.3]), 3).tolist() == [0, 2, 3]


def test_top_ties_go_to_the_lower_index() -> None:
    assert select_top(torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]), 3).tolist() == [0, 1, 3]
    assert select_top(torch.zeros(1000), 7).tolist() == list(range(7))


def test_top_of_everything_is_everything() -> None:
    assert select_top(torch.tensor([0.3, NAN, 0.1]), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_top_ranks_what_is_no_number_last(bad: float) -> None:
    score = torch.tensor([bad, 0.2, bad, -5.0, bad, 0.1])
    assert select_top(score, 3).tolist() == [1, 3, 5]
    assert select_top(score, 4).tolist() == [0, 1, 3, 5], "ties among them to the lower index"


def test_top_without_any_number() -> None:
    assert select_top(torch.tensor([INF, NAN, -INF, NAN]), 2).tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_top_against_a_sort_in_python(seed: int) -> None:
    score = np.random.default_rng(seed).integers(0, 9, 200).astype(np.float32)  # many ties
    for k in (1, 50, 199):
        expected = sorted(sorted(range(200), key=lambda i: (-score[i], i))[:k])
        assert select_top(torch.from_numpy(score), k).tolist() == expected


def test_top_of_half_precision_and_whole_numbers() -> None:
    assert select_top(torch.tensor([1, 5, 3]), 1).tolist() == [1]
    assert select_top(torch.tensor([1, 5, 3], dtype=torch.bfloat16), 2).tolist() == [1, 2]


def test_rankable_leaves_numbers_alone() -> None:
    ranked = rankable(torch.tensor([1.5, NAN, -2.0, INF], dtype=torch.float16))
    assert ranked.dtype == torch.float32
    assert ranked.tolist() == [1.5, -INF, -2.0, -INF]


def test_even_takes_the_middle_of_each_share() -> None:
    assert select_even(9, 3).tolist() == [1, 4, 7]
    assert select_even(8, 2).tolist() == [2, 6]
    assert select_even(5, 1).tolist() == [2]
    assert select_even(7, 3).tolist() == [1, 3, 5]  # 1.17, 3.5, 5.83


def test_even_of_everything_is_everything() -> None:
    assert select_even(577, 577).tolist() == list(range(577))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 31, 97, 576, 577, 2881])
def test_even_never_repeats_nor_leaves_the_range(n: int) -> None:
    for k in {1, 2, 3, n // 3, n // 2, n - 1, n} - {0}:
        if k > n:
            continue
        picks = select_even(n, k).tolist()
        assert picks == [(2 * i + 1) * n // (2 * k) for i in range(k)]
        assert len(set(picks)) == k and picks == sorted(picks) and picks[0] >= 0 and picks[-1] < n
        gaps = np.diff(picks)
        assert k < 3 or gaps.max() - gaps.min() <= 1


def brute_force_diverse(distance: np.ndarray, k: int) -> list[int]:
    """The two sentences of the method, searched without any bookkeeping."""
    n = len(distance)
    isolation = [min((distance[i, j] for j in range(n) if j != i), default=0) for i in range(n)]
    picks = [int(np.argmax(isolation))]
    while len(picks) < k:
        left = [i for i in range(n) if i not in picks]
        picks.append(max(left, key=lambda i: (min(distance[i, p] for p in picks), -i)))
    return picks


@pytest.mark.parametrize("seed", range(8))
def test_diverse_is_the_greedy_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distance = rng.random((23, 23)).astype(np.float32)
    distance = distance + distance.T
    np.fill_diagonal(distance, 0)
    for k in (1, 2, 7, 22, 23):
        picks, _ = select_diverse(torch.from_numpy(distance), k)
        assert picks.tolist() == brute_force_diverse(distance, k)


def test_diverse_tells_the_distance_to_the_set() -> None:
    places = torch.tensor([0.0, 1.0, 3.0, 10.0])
    distance = (places[:, None] - places[None, :]).abs()
    picks, value = select_diverse(distance, 2)
    # token 3 is 7 from its nearest neighbour; then 0 is 10 away; 1 and 2 are 1 and 3 from the set {10, 0}
    assert picks.tolist() == [3, 0]
    assert value.tolist() == [10, 1, 3, 7]


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_diverse_of_duplicates_never_repeats(n: int) -> None:
    for k in range(1, n + 1):
        picks, _ = select_diverse(torch.zeros(n, n), k)
        assert picks.tolist() == list(range(k))


def test_diverse_with_slightly_negative_distances() -> None:
    """1 - cosine of duplicates may come out below zero; a picked token must still not come back."""
    picks, _ = select_diverse(torch.full((6, 6), -1e-7), 6)
    assert sorted(picks.tolist()) == list(range(6))


def test_diverse_picks_what_is_no_number_last_and_once() -> None:
    places = torch.tensor([0.0, NAN, 3.0, 10.0, NAN])
    distance = (places[:, None] - places[None, :]).abs()
    assert select_diverse(distance, 3)[0].tolist() == [3, 0, 2]
    assert select_diverse(distance, 5)[0].tolist() == [3, 0, 2, 1, 4]
    assert select_diverse(torch.full((4, 4), NAN), 3)[0].tolist() == [0, 1, 2]


def test_cosine_matrix() -> None:
    rows = torch.tensor([[3.0, 4.0], [-6.0, -8.0], [4.0, -3.0], [1.0, 0.0]])
    expected = [[1, -1, 0, 0.6], [-1, 1, 0, -0.6], [0, 0, 1, 0.8], [0.6, -0.6, 0.8, 1]]
    torch.testing.assert_close(cosine_matrix(rows), torch.tensor(expected), atol=1e-6, rtol=0)
    assert cosine_matrix(rows.bfloat16()).dtype == torch.float32


def test_assign_nearest_is_by_angle_not_by_length() -> None:
    targets = torch.tensor([[100.0, 0.0], [0.0, 0.1]])
    metric = torch.tensor([[1.0, 0.9], [1.0, 1.1], [0.0, 50.0], [-1.0, -2.0]])
    assert assign_nearest(metric, targets).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("width", [3, 7, 16, 64])
@pytest.mark.parametrize("count", [2, 5, 30, 33])
def test_assign_nearest_ties_go_to_the_first_target(width: int, count: int) -> None:
    for members in (1, 5, 77, 400):
        key = torch.randn(1, width, generator=torch.Generator().manual_seed(width + members))
        assert (
            assign_nearest(key.expand(members, -1), key.expand(count, -1)).tolist() == [0] * members
        )


def test_assign_nearest_without_members() -> None:
    assert assign_nearest(torch.zeros(0, 4), torch.ones(3, 4)).shape == (0,)


def test_group_mean_with_an_empty_group() -> None:
    values = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    assert group_mean(values, torch.tensor([2, 0, 2]), 4).tolist() == [
        [2, 20],
        [0, 0],
        [3.5, 35],
        [0, 0],
    ]


def test_group_mean_of_nothing() -> None:
    assert group_mean(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), 2).tolist() == [
        [0, 0],
        [0, 0],
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_group_mean_of_many_half_precision_rows(dtype: torch.dtype) -> None:
    """3000 rows of 30 sum to 90000, more than float16 can hold, and 3000 is no bfloat16 number."""
    mean = group_mean(
        torch.full((3000, 2), 30.0, dtype=dtype), torch.zeros(3000, dtype=torch.long), 1
    )
    assert mean.tolist() == [[30, 30]]


def test_normalise_sum() -> None:
    shares = normalise_sum(torch.tensor([1.0, 2.0, 5.0]))
    assert shares.tolist() == pytest.approx([0.125, 0.25, 0.625], abs=1e-7)
    assert normalise_sum(torch.zeros(3)).tolist() == [0, 0, 0]
    assert normalise_sum(torch.ones(4, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_match_rows_finds_where_rows_came_from(dtype: torch.dtype) -> None:
    source = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    assert match_rows(source[order], source).tolist() == order.tolist()


def test_match_rows_takes_duplicates_in_order() -> None:
    source = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    assert match_rows(source, source).tolist() == [0, 1, 2, 3, 4]
    assert match_rows(source[[3, 1, 0, 4, 2]], source).tolist() == [1, 3, 0, 4, 2]


def test_match_rows_begins_anew_where_the_source_has_fewer_copies() -> None:
    source = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    rows = torch.tensor([[1.0, 2.0]] * 5)
    assert match_rows(rows, source).tolist() == [0, 1, 0, 1, 0]


def test_match_rows_marks_strangers() -> None:
    source = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    rows = torch.tensor(
        [[2.0, 1.0], [3.0, 4.0], [3.0, torch.nextafter(torch.tensor(4.0), torch.tensor(5.0))]]
    )
    assert match_rows(rows, source).tolist() == [-1, 1, -1]


def test_match_rows_is_about_bits() -> None:
    """Zero and minus zero are equal numbers but different rows; NaN is no number but the same row."""
    source = torch.tensor([[0.0, 1.0], [NAN, 1.0]])
    assert match_rows(torch.tensor([[-0.0, 1.0], [NAN, 1.0]]), source).tolist() == [-1, 1]


def test_match_rows_of_nothing() -> None:
    assert match_rows(torch.ones(3, 2), torch.zeros(0, 2)).tolist() == [-1, -1, -1]
    assert match_rows(torch.zeros(0, 2), torch.ones(3, 2)).shape == (0,)


def test_match_rows_across_precisions() -> None:
    """The projector may run in fp32 while the prompt is half precision: the source is rounded first."""
    source = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    assert match_rows(source.bfloat16().flip(0), source).tolist() == list(range(19, -1, -1))


def test_match_rows_of_strided_views() -> None:
    source = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    assert match_rows(source.T, source.T.clone()).tolist() == list(range(20))
