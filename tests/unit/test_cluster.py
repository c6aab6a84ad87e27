"""The two clusterings, on points placed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from transprune.algebra.cluster import cover, density_peaks


def line(*points: float) -> torch.Tensor:
    return torch.tensor(points)[:, None]


def apart(*points: float) -> torch.Tensor:
    return (line(*points) - line(*points).T).abs()


def density_cover(
    distance: torch.Tensor, cutoff: float, last_of_equals: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres, and the number of each token's centre, after as many rounds as are ever needed."""
    found = cover(distance, cutoff, last_of_equals, rounds=len(distance))
    assert not found.unfinished
    return found.numbered(int(found.centre.sum()))


def test_two_groups_have_their_middles_as_peaks() -> None:
    centres, group = density_peaks(line(0.0, 0.1, 0.2, 5.0, 5.1, 5.2), 2)
    assert sorted(group.tolist()) == [0, 0, 0, 1, 1, 1]
    assert group[:3].unique().numel() == 1
    assert [int(c) // 3 for c in centres] == [0, 1]
    assert group[centres].tolist() == [0, 1]


def test_peaks_by_hand() -> None:
    """Three points, two clusters: density exp(-d^2 / 2) of the nearer neighbour, itself included."""
    centres, group = density_peaks(line(0.0, 1.0, 3.0), 2)
    density = [math.exp(-0.5), math.exp(-0.5), math.exp(-2.0)]
    gap = [
        3.0,
        1.0,
        2.0,
    ]  # nothing is denser than the first; it is 1 from the second, which is 2 from the third
    product = [d * g for d, g in zip(density, gap, strict=True)]
    assert sorted(range(3), key=lambda i: -product[i])[:2] == [0, 1]
    assert centres.tolist() == [0, 1]
    assert group.tolist() == [0, 1, 1]


def test_the_distance_is_divided_by_the_root_of_the_width() -> None:
    narrow, wide = line(0.0, 1.0, 3.0, 3.5), line(0.0, 1.0, 3.0, 3.5).repeat(1, 16) / 1.0
    assert [a.tolist() for a in density_peaks(narrow, 2)] == [
        a.tolist() for a in density_peaks(wide, 2)
    ]


def test_noise_decides_between_equals_and_nothing_else() -> None:
    equal = torch.ones(6, 3)
    assert density_peaks(equal, 2)[0].tolist() == [0, 1]
    noise = torch.tensor([0.0, 0.0, 0.0, 9.0, 0.0, 5.0]) * 1e-6
    # all at distance 0, so gap and product are 0 whatever the density: the lower index stays
    assert density_peaks(equal, 2, noise)[0].tolist() == [0, 1]
    pairs = line(0.0, 0.0, 1.0, 1.0)
    assert density_peaks(pairs, 1)[0].tolist() == [0]
    assert density_peaks(pairs, 1, torch.tensor([0.0, 0.0, 0.0, 1e-6]))[0].tolist() == [3]


@pytest.mark.parametrize("clusters", [1, 3, 7])
def test_as_many_peaks_as_asked_also_among_duplicates(clusters: int) -> None:
    centres, group = density_peaks(line(0, 0, 0, 1, 1, 2, 2), clusters)
    assert centres.tolist() == sorted(set(centres.tolist()))
    assert len(centres) == clusters
    assert sorted(set(group.tolist())) == list(range(clusters))


def test_cover_takes_the_densest_free_token_again_and_again() -> None:
    # 0.1 is in the middle of everything and covers 0.0 and 0.2; the others stand alone
    centres, group = density_cover(apart(-5.0, 0.0, 0.1, 0.2, 5.2), 0.15)
    assert centres.tolist() == [0, 2, 4]
    assert group.tolist() == [0, 1, 1, 1, 2]


def test_cover_equals_one_after_another() -> None:
    points = torch.rand(60, 2, generator=torch.Generator().manual_seed(3))
    distance = torch.cdist(points, points)
    density = (-(distance / 2).square()).exp().sum(dim=1)
    free, slow = set(range(60)), []
    for token in sorted(range(60), key=lambda i: (-float(density[i]), i)):
        if token in free:
            slow.append(token)
            free -= {other for other in free if float(distance[token, other]) < 0.2} | {token}
    centres, group = density_cover(distance, 0.2)
    assert centres.tolist() == sorted(slow)
    assert 5 < len(slow) < 40
    assert group.tolist() == distance[:, centres].argmin(dim=1).tolist()


@pytest.mark.parametrize(("last", "centre"), [(False, 0), (True, 3)])
def test_of_equally_dense_tokens_the_first_or_the_last_is_the_centre(
    last: bool, centre: int
) -> None:
    centres, group = density_cover(torch.zeros(4, 4), 0.1, last_of_equals=last)
    assert centres.tolist() == [centre]
    assert group.tolist() == [0, 0, 0, 0]


def test_the_last_of_equals_changes_nothing_where_no_two_are_equal() -> None:
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(5))
    distance = torch.cdist(points, points)
    first = density_cover(distance, 0.2)
    last = density_cover(distance, 0.2, last_of_equals=True)
    assert all(torch.equal(a, b) for a, b in zip(first, last, strict=True))


def test_the_last_of_equals_is_the_first_of_the_turned_row() -> None:
    distance = apart(0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    centres, _ = density_cover(distance, 0.6, last_of_equals=True)
    turned, _ = density_cover(distance.flip(0, 1), 0.6)
    assert centres.tolist() == sorted(6 - place for place in turned.tolist())


def test_cutoff_zero_covers_nothing_not_even_duplicates() -> None:
    centres, group = density_cover(torch.zeros(4, 4), 0.0)
    assert centres.tolist() == group.tolist() == [0, 1, 2, 3]


def test_what_is_no_number_is_far_away_and_alone() -> None:
    distance = apart(0.0, 0.1, 0.2)
    distance[2, :] = distance[:, 2] = float("nan")
    centres, group = density_cover(distance, 0.15)
    assert centres.tolist() == [0, 2]
    assert group.tolist() == [0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_rounds_find_the_centres_of_one_after_another(seed: int) -> None:
    points = torch.rand(60, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    distance = apart(*points.tolist())
    density = (-(distance / 2).square()).exp().sum(dim=1)
    free = torch.ones(60, dtype=torch.bool)
    expected = []
    for place in density.argsort(descending=True, stable=True).tolist():
        if free[place]:
            expected.append(place)
            free &= distance[place] >= 0.03
    assert density_cover(distance, 0.03)[0].tolist() == sorted(expected)


def test_too_few_rounds_are_known_to_be_too_few() -> None:
    distance = apart(*torch.linspace(0, 1, 30).square().tolist())
    assert cover(distance, 0.05, rounds=1).unfinished > 0
    enough = cover(distance, 0.05, rounds=30)
    more = cover(distance, 0.05, rounds=60)
    assert enough.unfinished == 0
    assert torch.equal(enough.centre, more.centre)
    assert torch.equal(enough.nearest, more.nearest)
