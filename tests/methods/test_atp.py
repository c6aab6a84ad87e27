"""ATP: two scores between 0 and 1, added."""

from __future__ import annotations

import pytest
import torch

from methods.signals import choose, numbered
from transprune.core.plan import Stage
from transprune.errors import MethodError, MissingSignal
from transprune.methods import ATP, FasterVLM


def directions(*cosines: float) -> torch.Tensor:
    values = torch.tensor(cosines)
    return torch.stack([values, (1 - values.square()).sqrt()], dim=1)


QUESTION = torch.tensor([[1.0, 0.0]])


def test_both_halves_by_hand() -> None:
    """Cosines 0, 0.5, 1 and attention 0.2, 0.4, 0.1: rescaled 0, 1/2, 1 and 1/3, 1, 0."""
    selection = choose(
        ATP(1), numbered(3), joint=(directions(0.0, 0.5, 1.0), QUESTION), saliency=[0.2, 0.4, 0.1]
    )
    assert selection.scores["score"].tolist() == pytest.approx([1 / 6, 3 / 4, 1 / 2], abs=1e-6)
    assert selection.keep.tolist() == [1]


def test_of_a_long_question_the_best_segment_counts() -> None:
    segments = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    selection = choose(
        ATP(2, alpha=1.0), numbered(3), joint=(directions(0.0, 0.7, 1.0), segments),
        saliency=torch.ones(3),
    )  # fmt: skip
    assert selection.keep.tolist() == [0, 2], "the middle one is far from both"


def test_the_sign_can_be_turned() -> None:
    joint, saliency = (directions(0.1, 0.5, 0.9), QUESTION), torch.ones(3)
    assert choose(ATP(1), numbered(3), joint=joint, saliency=saliency).keep.tolist() == [2]
    turned = choose(ATP(1, sign=-1), numbered(3), joint=joint, saliency=saliency)
    assert turned.keep.tolist() == [0]


def test_without_the_question_it_is_fastervlm() -> None:
    saliency = torch.rand(30, generator=torch.Generator().manual_seed(0))
    joint = (torch.randn(30, 2), QUESTION)
    ours = choose(ATP(7, alpha=0.0), numbered(30), joint=joint, saliency=saliency).keep
    assert torch.equal(ours, choose(FasterVLM(7), numbered(30), saliency=saliency).keep)


def test_equal_attention_decides_nothing() -> None:
    joint = (directions(0.1, 0.9, 0.2), QUESTION)
    assert choose(ATP(1), numbered(3), joint=joint, saliency=torch.ones(3)).keep.tolist() == [1]


def test_newline_tokens_go_first() -> None:
    joint = (directions(0.1, 0.9, 0.2), QUESTION)
    saliency = [0.1, float("nan"), 0.3]
    assert choose(ATP(2), numbered(3), joint=joint, saliency=saliency).keep.tolist() == [0, 2]


def test_a_share_is_rounded_up() -> None:
    assert ATP().plan(32, 256) == (Stage(0, 154),)
    assert ATP().plan(32, 5) == (Stage(0, 3),), "0.6 * 5 is 3.0000000000000004"
    assert ATP(100).plan(32, 64) == (Stage(0, 64),)


def test_without_clip_the_nearest_word_stands_in() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    instruction = torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    keep = choose(
        ATP(1), features, instruction=instruction, saliency=torch.ones(3)
    ).keep.tolist()  # fmt: skip
    assert keep == [0]
    with pytest.raises(MissingSignal, match="relevance='embedding'"):
        choose(ATP(1, relevance="clip"), features, saliency=torch.ones(3))


def test_settings_are_checked() -> None:
    for wrong in ({"alpha": -0.1}, {"relevance": "clap"}, {"sign": 0}):
        with pytest.raises(MethodError):
            ATP(**wrong)
