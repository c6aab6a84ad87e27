"""AdaptInfer: words weigh by their attention to each other - on tensors made by hand."""

from __future__ import annotations

import pytest
import torch

from methods.layer_views import Given
from transprune.errors import MethodError, ScheduleError
from transprune.methods import AdaptInfer
from transprune.methods.common.recipe import from_dict

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


def slow_score(words: list, image: list, blend: float) -> list[float]:
    """The score of every token, one number at a time."""
    total = len(words[0])
    importance = []
    for head in words:
        for word in range(total):
            given_and_got = sum(head[i][word] + head[word][i] for i in range(total))
            importance.append(given_and_got - head[word][word])

    mean = sum(importance) / len(importance)
    rows = [row for head in image for row in head]
    scores = [0.0] * len(rows[0])
    for weight, row in zip(importance, rows, strict=True):
        for token, attention in enumerate(row):
            scores[token] += (blend * weight + (1 - blend) * mean) * attention
    return scores


@pytest.mark.parametrize("blend", [0, 0.3, 0.75, 1])
def test_the_blend_is_with_the_mean_over_heads_and_words(blend: float) -> None:
    generator = torch.Generator().manual_seed(6)
    # the second head is worth five times as much: its mean is not the other's
    words = torch.rand(3, 4, 4, generator=generator) * torch.tensor([1.0, 5.0, 0.2])[:, None, None]
    image = torch.rand(3, 4, 7, generator=generator)
    expected = slow_score(words.tolist(), image.tolist(), blend)
    assert score(AdaptInfer(blend=blend), words, image) == pytest.approx(expected, rel=1e-5)


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
    assert (AdaptInfer().rounding, AdaptInfer.qwen().rounding) == ("once", "each")
    with pytest.raises(MethodError, match=r"0\.1, 0\.3, 0\.5"):
        AdaptInfer.qwen(0.4)


SHARES = {0.1: (0.17, 0.6, 0.3), 0.3: (0.5, 0.6, 0.3), 0.5: (0.7, 0.9, 0.3)}


@pytest.mark.parametrize("share", SHARES)
def test_qwen_rounds_down_at_every_cut_what_arrives_there(share: float) -> None:
    for tokens in range(60, 3000):
        expected = []
        here = tokens
        for of_those in SHARES[share]:
            here = int(here * of_those)
            expected.append(here)
        assert [s.count for s in AdaptInfer.qwen(share).plan(28, tokens)] == expected, tokens


def test_a_product_that_is_whole_but_for_its_last_bit_is_rounded_down_as_in_the_code() -> None:
    assert AdaptInfer.qwen(0.5).plan(28, 90)[0].count == int(90 * 0.7) == 62


@pytest.mark.parametrize("budget", [128, 64, 48])
def test_published_counts_stay_whatever_the_rounding(budget: int) -> None:
    once = AdaptInfer(budget).plan(32, 576)
    assert AdaptInfer(budget, rounding="each").plan(32, 576) == once


def test_rounding_at_once_may_leave_one_token_more() -> None:
    each = AdaptInfer.qwen(0.3)
    once = AdaptInfer.qwen(0.3, rounding="once")

    # of 57 tokens 28 reach the second cut, and 0.6 of them are 16.8; 0.3 of 57 are 17.1
    assert [s.count for s in each.plan(28, 57)] == [28, 16, 4]
    assert [s.count for s in once.plan(28, 57)] == [28, 17, 5]


def test_at_least_one_token_stays_at_every_cut_of_qwen() -> None:
    stages = AdaptInfer.qwen(0.1).plan(28, 4)
    assert [(s.count, s.rounded_up) for s in stages] == [(1, True), (1, True), (1, True)]


def test_qwen_is_written_and_read_with_its_rounding() -> None:
    assert from_dict(AdaptInfer.qwen().to_dict()) == AdaptInfer.qwen()
    assert "rounding" not in AdaptInfer().to_dict()


def test_settings_out_of_range() -> None:
    with pytest.raises(MethodError):
        AdaptInfer(blend=1.5)
    with pytest.raises(MethodError, match="'once' or 'each'; got 'never'"):
        AdaptInfer(rounding="never")
    with pytest.raises(ScheduleError):
        AdaptInfer(0)
