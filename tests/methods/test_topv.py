"""TopV: the transport, the trap of its last side, and what is taken back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from families.cases import FAMILIES
from transprune import Compose, Uniform, prune
from transprune.algebra.transport import sinkhorn
from transprune.core.plan import Reading, Stage
from transprune.core.views import LayerView, Selection
from transprune.cost.count import count_method
from transprune.cost.geometry import known_geometry
from transprune.errors import MethodError, MissingSignal
from transprune.methods import TopV
from transprune.methods.topv import best_count, places_of, raster


def run(method: TopV, sources: Tensor, targets: Tensor, count: int) -> Selection:
    signals = {"layer_rows": lambda: (sources, targets)}
    tokens = torch.arange(len(sources))
    return method.select(LayerView(2, count, tokens, lambda: sources, signals=signals))


def random_cost(n: int = 12) -> Tensor:
    return torch.rand(n, n, generator=torch.Generator().manual_seed(0))


def test_the_plan_meets_its_last_side_exactly() -> None:
    plan = sinkhorn(random_cost(), 0.1, 3)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((12,), 1 / 12))
    assert plan.sum(dim=1).std() > 1e-4


def test_ending_with_the_sources_says_nothing_about_them() -> None:
    """The trap: every row sum is its marginal, whatever the costs."""
    torch.testing.assert_close(
        sinkhorn(random_cost(), 0.1, 3, end="row").sum(dim=1), torch.full((12,), 1 / 12)
    )


def test_two_rounds_written_out() -> None:
    cost = torch.tensor([[0.0, 1.0], [2.0, 0.5]])
    kernel = (-cost).exp()
    left, right = torch.ones(2), torch.full((2,), 0.5)
    for _ in range(2):
        left = 0.5 / (kernel @ right)
        right = 0.5 / (kernel.T @ left)
    torch.testing.assert_close(sinkhorn(cost, 1.0, 2), left[:, None] * kernel * right)


def test_many_rounds_meet_both_sides() -> None:
    plan = sinkhorn(random_cost(), 0.5, 200)
    torch.testing.assert_close(plan.sum(dim=1), torch.full((12,), 1 / 12))


NEAR_ONE = (
    torch.tensor([[9.0, 0], [0, 9.0], [1.0, 1.0], [-9.0, 0]]),
    torch.tensor([[1.1, 1.0], [0.9, 1.0], [1.0, 1.1], [1.0, 0.9]]),
)


def test_free_sources_near_all_targets_are_important() -> None:
    """Token 2 lies where all outputs are, the others far away."""
    selection = run(TopV(stride=0, place=0.0, centre=0.0, relax=1.0), *NEAR_ONE, 1)
    assert selection.keep.tolist() == [2]
    cost = -run(TopV(importance="cost", place=0.0, centre=0.0, relax=1.0), *NEAR_ONE, 1).scores[
        "score"
    ]
    assert cost.min() >= 0


def test_a_token_that_one_output_needs_and_another_does_not() -> None:
    """Outputs 0, 1 and 2 are all near token 0, output 3 is near token 3: 1 and 2 stay unused."""
    sources = torch.tensor([[0.0, 0], [0, 8.0], [8.0, 0], [8.0, 8.0]])
    targets = torch.tensor([[0.0, 0], [0, 0.1], [0.1, 0], [8.0, 8.0]])
    score = run(TopV(place=0.0, centre=0.0, relax=1.0), sources, targets, 2).scores["score"]
    assert score.tolist() == pytest.approx([0.75, 0, 0, 0.25], abs=0.01)


def test_the_centre_costs_less_if_the_sources_are_free() -> None:
    """Nothing but the place counts: of nine equal tokens the one in the middle is used most."""
    same = torch.ones(9, 4)
    selection = run(TopV(stride=0, place=0.0, centre=1.0, relax=1.0), same, same, 1)
    assert selection.keep.tolist() == [4]


def test_what_a_source_costs_alike_for_all_targets_cancels_where_sources_are_scaled() -> None:
    plain = random_cost()
    offset = torch.linspace(0, 1, 12)[:, None]
    with_offset = sinkhorn(plain + offset, 0.1, 3)
    torch.testing.assert_close(with_offset, sinkhorn(plain, 0.1, 3), atol=1e-6, rtol=1e-3)
    assert (sinkhorn(plain + offset, 0.1, 3, relax=1.0) - with_offset).abs().max() > 0.01


@pytest.mark.parametrize(
    ("total", "count", "stride", "best"),
    [(576, 288, 4, 192), (576, 288, 0, 288), (100, 25, 4, 0), (100, 10, 4, 0), (10, 10, 4, 10)],
)
def test_how_many_are_the_best(total: int, count: int, stride: int, best: int) -> None:
    """192 and a quarter of the other 384 are 288."""
    assert best_count(total, count, stride) == best


def test_some_of_the_rest_come_back_at_even_distances() -> None:
    sources = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    alone = run(TopV(stride=0), sources, sources + 0.1, 13).keep
    both = run(TopV(stride=4), sources, sources + 0.1, 20).keep
    assert best_count(40, 20, 4) == 13
    assert set(alone.tolist()) <= set(both.tolist())
    assert len(both) == 20


def test_the_raster_of_llava() -> None:
    assert raster(576, torch.device("cpu"))[[0, 23, 24, 575]].tolist() == [
        [0, 0],
        [0, 23],
        [1, 0],
        [23, 23],
    ]


def test_tokens_that_another_method_left_keep_their_places() -> None:
    """Where nothing but the place counts, four of nine tokens cost what they cost among all nine."""
    places, middle = places_of(behind_another([0, 2, 6, 8], (0, 9)))
    assert places.tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]
    assert middle.tolist() == [1, 1]

    # the second picture of a prompt counts from its own first token
    places, _ = places_of(behind_another([9, 11, 15, 17], (9, 9)))
    assert places.tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]


def behind_another(tokens: list[int], span: tuple[int, int]) -> LayerView:
    rows = torch.ones(len(tokens), 4)
    return LayerView(2, 2, torch.tensor(tokens), lambda: rows, span=span)


def test_a_session_says_where_tokens_were(zoo, monkeypatch) -> None:
    """Behind a method that keeps every second token, of two pictures in one pool and apart."""
    seen = []
    monkeypatch.setattr(
        "transprune.methods.topv.places_of",
        lambda view: seen.append((view.candidates, view.span)) or places_of(view),
    )
    case = FAMILIES["llava"]
    sample = case.sample([0, 1], [3, 2, 6])
    first, second = (image.tokens for image in sample.images)
    method = Compose([Uniform({1: 0.5}), TopV(layer=2, keep_ratio=0.5)])
    for pool in ("sample", "image"):
        with torch.no_grad(), prune(zoo("llava", "sdpa"), method, pool=pool):
            zoo("llava", "sdpa")(**case.batch([sample]))

    assert [span for _, span in seen] == [(0, first + second), (0, first), (first, second)]
    assert all(len(tokens) < span[1] for tokens, span in seen)
    assert all(span[0] <= tokens.min() and tokens.max() < sum(span) for tokens, span in seen)


@pytest.mark.parametrize(("tokens", "published"), [(279, "1.95"), (180, "1.34")])
def test_published_costs(tokens: int, published: str) -> None:
    """51 % and 35 % of 3.82 T with two full layers."""
    method = TopV(keep_ratio=tokens / 576)
    assert method.plan(32, 576) == (Stage(2, tokens),)
    cost = count_method(known_geometry("llava-1.5-7b"), method, convention="paper")
    assert f"{cost.prefill / 1e12:.2f}" == published


def test_reads_and_settings() -> None:
    assert TopV().reads_at(32) == (Reading(2, similarity="features"),)
    assert TopV().policy == "keep"
    with pytest.raises(MissingSignal, match="layer_rows"):
        TopV().select(LayerView(2, 1, torch.arange(2), lambda: torch.ones(2, 2)))
    for wrong in ({"layer": 0}, {"stride": -1}, {"sigma": 0}, {"end": "both"}, {"place": -1}):
        with pytest.raises(MethodError):
            TopV(**wrong)
