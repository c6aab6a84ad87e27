"""CDPruner on hand-made kernels: the sign, the rank, the order of the greedy search."""

from __future__ import annotations

import pytest
import torch

from methods.signals import choose, numbered
from transprune.algebra.select import select_dpp
from transprune.errors import MethodError, MissingSignal
from transprune.methods import CDPruner
from transprune.methods.cdpruner import rescale

GENERATOR = torch.Generator().manual_seed(0)


def brute_force(kernel: torch.Tensor, k: int) -> list[int]:
    """Greedy by determinants, written plainly."""
    chosen: list[int] = []
    for _ in range(k):
        others = [i for i in range(len(kernel)) if i not in chosen]
        chosen.append(
            max(
                others, key=lambda i: float(torch.linalg.det(kernel[[*chosen, i]][:, [*chosen, i]]))
            )
        )
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_search_is_that_by_determinants(seed: int) -> None:
    rows = torch.randn(12, 12, generator=torch.Generator().manual_seed(seed)).double()
    kernel = rows @ rows.T
    picks, gains = select_dpp(kernel, 8)
    assert picks.tolist() == brute_force(kernel, 8)
    assert gains[picks].log().sum() == pytest.approx(
        float(torch.logdet(kernel[picks][:, picks])), rel=1e-4
    )


def test_scaling_relevance_changes_nothing_and_shifting_does() -> None:
    features, r = torch.randn(40, 6, generator=GENERATOR), torch.rand(40, generator=GENERATOR)
    unit = torch.nn.functional.normalize(features, dim=-1)
    kernel = unit @ unit.T
    first, scaled, shifted = (
        select_dpp(s[:, None] * kernel * s, 6)[0].tolist() for s in (r, 7 * r, r + 3)
    )
    assert first == scaled != shifted


def test_beyond_the_rank_the_rest_follows_by_index() -> None:
    """Three directions among ten tokens: after three picks nothing is gained, and nothing is taken twice."""
    rows = torch.eye(3)[[0, 0, 1, 1, 1, 2, 2, 0, 1, 2]]
    picks, gains = select_dpp(rows @ rows.T, 10)
    assert picks[:3].tolist() == [0, 2, 5]
    assert picks[3:].tolist() == [1, 3, 4, 6, 7, 8, 9]
    assert gains.isfinite().all()


def recursion(kernel: torch.Tensor, k: int) -> tuple[list[int], list[float]]:
    """The incremental search without any care for rounding, in the dtype of the kernel; and the gains of its picks."""
    gain, rows, picks, gains = kernel.diagonal().clone(), [], [], []
    for _ in range(k):
        pick = int(gain.argmax())
        picks.append(pick)
        gains.append(float(gain[pick]))
        earlier = sum((row[pick] * row for row in rows), torch.zeros(len(kernel)))
        rows.append((kernel[pick] - earlier) / gain[pick].sqrt())
        gain = gain - rows[-1].square()
        gain[picks] = float("-inf")
    return picks, gains


def test_where_it_differs_from_the_code() -> None:
    """Beyond the rank of six the plain recursion divides by the root of a rounding error; ours goes by index."""
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    kernel = rows @ rows.T
    plain, gains = recursion(kernel, 12)
    picks, _ = select_dpp(kernel, 12)
    assert picks[:6].tolist() == plain[:6]
    assert min(gains[:6]) > 0.01 and not any(abs(gain) > 1e-3 for gain in gains[6:8])
    rest = [token for token in range(20) if token not in plain[:6]]
    assert picks[6:].tolist() == rest[:6]
    assert plain[6:] != rest[:6]
    assert "beyond the rank" in CDPruner.differs_from_code


@pytest.mark.parametrize(
    "kernel", [torch.zeros(5, 5), torch.full((5, 5), float("nan")), torch.ones(5, 5)]
)
def test_hopeless_kernels_give_distinct_picks(kernel: torch.Tensor) -> None:
    picks, gains = select_dpp(kernel, 5)
    assert picks.tolist() == [0, 1, 2, 3, 4]
    assert gains.isfinite().all()


def test_duplicates_are_never_both_taken_while_a_distinct_token_is_left() -> None:
    features = torch.randn(10, 16, generator=GENERATOR).repeat_interleave(2, dim=0)
    joint = (
        torch.randn(10, 5, generator=GENERATOR).repeat_interleave(2, dim=0),
        torch.randn(1, 5, generator=GENERATOR),
    )
    keep = choose(CDPruner(10), features, joint=joint, place=torch.zeros(20, 2)).keep
    assert (keep // 2).tolist() == list(range(10))


def test_in_clips_space_the_patch_that_scores_lowest_is_taken_first() -> None:
    patches, question = (
        torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0.7, 0.7]]),
        torch.tensor([[1.0, 0]]),
    )
    place = torch.zeros(4, 2)
    features = torch.eye(4)
    assert choose(CDPruner(1), features, joint=(patches, question), place=place).keep.tolist() == [
        2
    ]
    assert choose(
        CDPruner(1, sign=1), features, joint=(patches, question), place=place
    ).keep.tolist() == [0]


def test_the_substitute_takes_what_looks_like_the_instruction() -> None:
    features, instruction = torch.eye(4), torch.tensor([[0.0, 0, 1, 0], [0, 0.2, 1, 0]])
    for method in (CDPruner(1), CDPruner(1, relevance="embedding")):
        selection = choose(method, features, instruction=instruction, place=torch.zeros(4, 2))
        assert selection.keep.tolist() == [2]
        assert selection.scores["score"][[0, 2]].tolist() == pytest.approx(
            [1, 0.5**0 * 2.718281828**0.5], rel=1e-4
        )


def test_several_segments_count_by_their_mean() -> None:
    patches, question = torch.eye(3), torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    relevance = CDPruner(1, sign=1)
    scores = choose(
        relevance, torch.eye(3), joint=(patches, question), place=torch.zeros(3, 2)
    ).scores["score"]
    assert scores.tolist() == pytest.approx([1, 1, 0], abs=1e-4)


def test_relevance_that_is_the_same_everywhere_counts_alike() -> None:
    assert rescale(torch.full((4,), 0.3)).tolist() == [1, 1, 1, 1]
    assert rescale(torch.tensor([0.3])).tolist() == [1]
    assert rescale(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([0, 0.5, 1], abs=1e-5)


def test_newline_tokens_go_first() -> None:
    crop = torch.tensor([0, 0, -1, 0, -1])
    joint = (torch.randn(5, 3, generator=GENERATOR), torch.randn(1, 3, generator=GENERATOR))
    keep = [
        choose(CDPruner(k), numbered(5), crop=crop, joint=joint, place=torch.zeros(5, 2)).keep
        for k in (3, 4)
    ]
    assert [k.tolist() for k in keep] == [[0, 1, 3], [0, 1, 2, 3]]


def test_refusals() -> None:
    with pytest.raises(MethodError, match="relevance"):
        CDPruner(relevance="words")  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="sign"):
        CDPruner(sign=0)
    with pytest.raises(MissingSignal, match="not CLIP"):
        choose(CDPruner(2, relevance="clip"), numbered(4), place=torch.zeros(4, 2))
    assert not CDPruner(relevance="embedding").reads.question
