"""PACT: score, clusters and sizes, on tensors made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from methods.layer_views import Given
from transprune.algebra.cluster import cover
from transprune.core.plan import Stage
from transprune.errors import MethodError, ScheduleError
from transprune.methods import PACT
from transprune.methods.common.recipe import from_dict


def test_score_of_a_prompt_that_starts_with_its_image_is_softmax_times_norm() -> None:
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


def slow_score(given: Given) -> list[float]:
    """The mean over heads of exp(q.k) / sum over all keys, times the norm: one number at a time."""
    heads, width = given.query.shape
    shared = heads // len(given.plain_keys)
    total = [0.0] * len(given.hidden)

    for head in range(heads):
        query = given.query[head].tolist()
        keys = [*given.plain_keys[head // shared].tolist(), *given.context[head // shared].tolist()]
        dots = [sum(q * k for q, k in zip(query, key, strict=True)) for key in keys]
        powers = [math.exp(dot / math.sqrt(width)) for dot in dots]

        for token in range(len(total)):
            total[token] += powers[token] / sum(powers) / heads

    norms = [math.sqrt(sum(x * x for x in row)) for row in given.hidden.tolist()]
    return [weight * norm for weight, norm in zip(total, norms, strict=True)]


def test_the_text_in_front_of_the_image_takes_its_part_of_the_softmax() -> None:
    generator = torch.Generator().manual_seed(2)
    pool = Given(
        torch.randn(5, 6, generator=generator),
        plain_keys=torch.randn(2, 5, 4, generator=generator),
        context=torch.randn(2, 3, 4, generator=generator),
        query=torch.randn(4, 4, generator=generator),
    )
    score = PACT().score(pool.view(5), None)["score"]
    assert score.tolist() == pytest.approx(slow_score(pool), rel=1e-5)


def with_a_sink(sink: float) -> Given:
    """Two heads: in the first only the first visual token attracts, in the second only the other.

    The text in front attracts the query of the first head by `sink`.
    """
    keys = torch.tensor([[[2.0], [0.0]], [[0.0], [1.0]]])  # [2, 2, 1]
    context = torch.tensor([[[sink]], [[-50.0]]])  # [2, 1, 1]
    return Given(torch.ones(2, 1), plain_keys=keys, context=context, query=torch.ones(2, 1))


def test_a_sink_in_front_of_the_image_changes_which_token_is_best() -> None:
    """A head that spends itself on the sink says little about the image, and counts little."""
    without = PACT(cutoff=0).select(with_a_sink(-50.0).view(1))
    assert without.keep.tolist() == [0]

    behind_a_sink = PACT(cutoff=0).select(with_a_sink(9.0).view(1))
    assert behind_a_sink.keep.tolist() == [1]


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


def test_more_rounds_are_made_where_the_first_ones_do_not_reach_all(monkeypatch) -> None:
    degrees = torch.linspace(0, 14, 24).square().tolist()
    pool = given(*degrees, scores=list(range(24, 0, -1)))
    method = PACT(keep_ratio=0.9, cutoff=0.05)
    enough = method.select(pool.view(21))
    monkeypatch.setattr("transprune.methods.pact.ROUNDS", 1)
    rounds = []

    def watched(distance, cutoff, last, most):
        rounds.append(most)
        return cover(distance, cutoff, last, most)

    monkeypatch.setattr("transprune.methods.pact.cover", watched)
    first = method.select(pool.view(21))
    assert torch.equal(first.keep, enough.keep)
    assert torch.equal(first.features, enough.features)
    assert torch.equal(first.key_bias, enough.key_bias)
    assert rounds[:2] == [1, 4], "one round does not reach all of them here"


def test_dropped_tokens_near_a_centre_join_its_mean() -> None:
    # the last three are dropped: at 20 degrees (0.06) and 45 (0.29 < 1.5 * 0.21) they come back, at 100 (1.17) not
    pool = given(0, 200, 20, 45, 100, scores=[5, 4, 3, 2, 1])
    selection = PACT(keep_ratio=0.4).select(pool.view(2))
    assert selection.keep.tolist() == [0, 1]
    torch.testing.assert_close(selection.features[:, 0], torch.tensor([10 / 3, 4.0]))
    torch.testing.assert_close(selection.key_bias, torch.tensor([3.0, 1.0]).log())
    narrow = PACT(keep_ratio=0.4, recover=1.0).select(pool.view(2))
    torch.testing.assert_close(narrow.features[:, 0], torch.tensor([4.0, 4.0]))


def test_recover_below_1_drops_kept_tokens_too() -> None:
    """The centre is at 10 degrees, cosine distance 0.015 of 0 and 0.034 of 25 degrees."""
    pool = given(0, 10, 25, 180, scores=[5, 4, 3, 1])
    selection = PACT(keep_ratio=0.75, recover=0.1).select(pool.view(3))  # limit 0.021
    assert selection.keep.tolist() == [1]

    # 25 degrees was kept and covered, and is in no mean
    torch.testing.assert_close(selection.features[:, 0], torch.tensor([4.5]))
    torch.testing.assert_close(selection.key_bias, torch.tensor([2.0]).log())


def test_recover_0_leaves_the_centres_as_they_are() -> None:
    pool = given(0, 10, 25, 180, scores=[5, 4, 3, 1])
    selection = PACT(keep_ratio=0.75, recover=0).select(pool.view(3))
    assert (selection.keep.tolist(), selection.features, selection.key_bias) == ([1], None, None)


def slow_clusters(pool: Given, kept: list[int], cutoff: float, recover: float) -> dict:
    """Centre -> members, by taking one token after another: the kept ones, then all once more."""
    keys = torch.nn.functional.normalize(pool.rotated_keys[0].double(), dim=-1)
    far = (1 - keys @ keys.T).tolist()
    density = {i: sum(math.exp(-((far[i][j] / 2) ** 2)) for j in kept) for i in kept}

    free = set(kept)
    centres = []
    for token in sorted(kept, key=lambda i: -density[i]):
        if token in free:
            centres.append(token)
            free -= {other for other in free if far[token][other] < cutoff}

    members = {centre: [] for centre in sorted(centres)}
    for token in range(len(far)):
        nearest = min(members, key=lambda centre: far[token][centre])
        if far[token][nearest] < recover * cutoff:
            members[nearest].append(token)
    return members


@pytest.mark.parametrize("recover", [0.2, 0.5, 0.9, 1.0, 1.5])
def test_members_are_all_tokens_near_a_centre(recover: float) -> None:
    generator = torch.Generator().manual_seed(4)
    places = (torch.rand(30, generator=generator) * 360).tolist()
    pool = given(*places, scores=torch.rand(30, generator=generator).tolist())
    method = PACT(keep_ratio=0.6, recover=recover)

    best = pool.hidden[:, 0].argsort(descending=True)[:18]
    members = slow_clusters(pool, sorted(best.tolist()), method.cutoff, recover)
    means = [pool.hidden[tokens, 0].mean() for tokens in members.values()]
    sizes = [len(tokens) for tokens in members.values()]

    selection = method.select(pool.view(18))
    assert selection.keep.tolist() == list(members)
    torch.testing.assert_close(selection.features[:, 0], torch.stack(means))
    torch.testing.assert_close(selection.key_bias, torch.tensor(sizes).float().log())

    # of the kept tokens some are in no cluster, at these limits
    lost = set(best.tolist()).difference(*members.values())
    assert bool(lost) == (recover < 0.9)


def test_of_equally_dense_tokens_the_first_is_the_centre_or_as_in_the_code_the_last() -> None:
    pool = given(0, 10, 90, 100, scores=[4, 3, 2, 1])
    first = PACT(keep_ratio=1.0).select(pool.view(4))
    last = PACT(keep_ratio=1.0, ties="last").select(pool.view(4))
    # 10 and 90 degrees are denser than the outer two, and equally dense; two pairs either way
    assert (first.keep.tolist(), last.keep.tolist()) == ([1, 2], [1, 2])

    alike = given(30, 30, 30, scores=[3, 2, 1])
    assert PACT(keep_ratio=1.0).select(alike.view(3)).keep.tolist() == [0]
    assert PACT(keep_ratio=1.0, ties="last").select(alike.view(3)).keep.tolist() == [2]


def test_a_recipe_names_the_ties_only_where_they_are_not_the_default() -> None:
    assert "ties" not in PACT().to_dict()
    assert from_dict(PACT().to_dict()) == PACT()
    assert PACT(ties="last").to_dict()["ties"] == "last"
    assert from_dict(PACT(ties="last").to_dict()) == PACT(ties="last")


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
    "wrong",
    [
        {"layer": 0},
        {"cutoff": -1.0},
        {"recover": "much"},
        {"proportional": "no"},
        {"ties": "random"},
    ],
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(MethodError):
        PACT(**wrong)
    with pytest.raises(ScheduleError):
        PACT(keep_ratio=1.5)
