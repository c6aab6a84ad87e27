"""AdaptInfer: words weigh by their attention to each other - on tensors made by hand."""

from __future__ import annotations

import pytest
import torch

from methods.layer_views import Given
from transprune.errors import MethodError, ScheduleError
from transprune.methods import AdaptInfer

WORDS = torch.tensor([[[0.5, 0.0], [0.2, 0.3]]])  # the second word looks back at the first
IMAGE = torch.tensor([[[0.4, 0.1], [0.1, 0.4]]])


def score(
    method: AdaptInfer, words: torch.Tensor = WORDS, image: torch.Tensor = IMAGE
) -> list[float]:
    given = Given(torch.zeros(image.shape[-1], 2), image, words)
    return method.score(given.view(1), None)["score"].tolist()


def test_importance_is_given_and_received_and_counts_the_diagonal_once() -> None:
    # mutual [[0.5, 0.2], [0.2, 0.3]], so the words weigh 0.7 and 0.5
    assert score(AdaptInfer()) == pytest.approx([0.7 * 0.4 + 0.5 * 0.1, 0.7 * 0.1 + 0.5 * 0.4])


def test_blending_makes_the_words_alike() -> None:
    assert score(AdaptInfer(blend=0)) == pytest.approx([0.6 * 0.5, 0.6 * 0.5])
    half = [
        (a + b) / 2 for a, b in zip(score(AdaptInfer()), score(AdaptInfer(blend=0)), strict=True)
    ]
    assert score(AdaptInfer(blend=0.5)) == pytest.approx(half)


def test_heads_weigh_for_themselves() -> None:
    words, image = torch.cat([WORDS, torch.zeros(1, 2, 2)]), torch.cat([IMAGE, torch.ones(1, 2, 2)])
    assert score(AdaptInfer(), words, image) == pytest.approx(score(AdaptInfer()))


@pytest.mark.parametrize(
    ("budget", "counts"), [(128, (290, 72, 18)), (64, (133, 27, 3)), (48, (80, 24, 2))]
)
def test_published_budgets(budget: int, counts: tuple) -> None:
    stages = AdaptInfer(budget).plan(32, 576)
    assert tuple(s.count for s in stages) == counts
    assert [s.boundary for s in stages] == [2, 11, 21]


def test_one_token_stays_where_the_smallest_budget_drops_all() -> None:
    stages = AdaptInfer(32).plan(32, 576)
    assert [(s.count, s.rounded_up) for s in stages] == [(40, False), (12, False), (1, True)]


def test_what_128_really_costs() -> None:
    credited = (
        1 * 576 + 10 * 290 + 10 * 72 + 11 * 18
    ) / 32  # tokens per layer, the cutting layer counted as cut
    assert credited == pytest.approx(137.3, abs=0.05)
    counts = [576] * 2 + [290] * 9 + [72] * 10 + [18] * 11
    assert sum(counts) / 32 == pytest.approx(146.25)


def test_the_settings_for_qwen() -> None:
    stages = AdaptInfer.qwen(0.5).plan(28, 1000)
    assert [(s.boundary, s.count) for s in stages] == [(1, 700), (10, 630), (20, 189)]
    with pytest.raises(MethodError, match=r"0\.1, 0\.3, 0\.5"):
        AdaptInfer.qwen(0.4)


def test_settings_out_of_range() -> None:
    with pytest.raises(MethodError):
        AdaptInfer(blend=1.5)
    with pytest.raises(ScheduleError):
        AdaptInfer(0)
