"""Views hand out what was announced, and transitions are the ratio of norms and the cosine."""

from __future__ import annotations

import math

import pytest
import torch

from methods.layer_views import reads_attention
from transprune.core.views import LayerView, ProjectorView, Selection, VisionSignals, transition_of
from transprune.errors import MissingSignal


def rows() -> torch.Tensor:
    return torch.ones(3, 4)


def test_attention_is_computed_when_asked() -> None:
    asked = []

    def attention(queries: object) -> torch.Tensor:
        asked.append(queries)
        return torch.full((2, 1, 3), 0.5)

    view = LayerView(7, 2, torch.arange(3), rows, signals=reads_attention(attention))
    assert asked == []
    assert view.attention().shape == (2, 1, 3)
    view.attention("last")
    assert asked == ["instruction", "last"]


def test_attention_that_was_not_announced() -> None:
    with pytest.raises(MissingSignal, match="attention by `rows`"):
        LayerView(7, 2, torch.arange(3), rows).attention("last")


def test_vision_that_was_not_announced() -> None:
    with pytest.raises(MissingSignal, match="`reads`"):
        ProjectorView(0, 2, torch.arange(3), rows).vision  # noqa: B018


def test_vision_and_features() -> None:
    signals = VisionSignals(torch.zeros(3, dtype=torch.long), {"saliency": torch.ones(3)})
    view = ProjectorView(0, 2, torch.arange(3), rows, signals={"vision": lambda: signals})
    assert view.vision is signals
    assert torch.equal(view.features, rows())
    assert signals.cls is None


def test_selection_has_nothing_but_the_keep_by_default() -> None:
    selection = Selection(torch.tensor([1]))
    assert selection.features is None
    assert selection.scores == {}
    selection.scores["score"] = torch.ones(1)
    assert Selection(torch.tensor([1])).scores == {}, "a default is not shared"


def test_transition_by_hand() -> None:
    before = torch.tensor([[3.0, 4.0], [1.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    after = torch.tensor([[6.0, 8.0], [0.0, 5.0], [-2.0, -2.0], [3.0, 4.0]])
    magnitude, cosine = transition_of(before, after)
    assert magnitude.tolist() == pytest.approx([2, 5, 2, 2.5], abs=1e-6)
    assert cosine.tolist() == pytest.approx([1, 0, -1, 0.6], abs=1e-6)


def test_transition_against_plain_python() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.randn(2, 5, 32, generator=generator) for _ in range(2))
    magnitude, cosine = transition_of(before, after)
    assert magnitude.shape == cosine.shape == (2, 5)
    for sample in range(2):
        for token in range(5):
            x, y = before[sample, token].tolist(), after[sample, token].tolist()
            norm_x, norm_y = math.sqrt(sum(a * a for a in x)), math.sqrt(sum(b * b for b in y))
            assert magnitude[sample, token].item() == pytest.approx(norm_y / norm_x, abs=1e-6)
            dot = sum(a * b for a, b in zip(x, y, strict=True))
            assert cosine[sample, token].item() == pytest.approx(dot / (norm_x * norm_y), abs=1e-6)


def test_transition_of_half_precision_is_computed_in_full() -> None:
    """A norm of 300 squares to 90000, more than float16 can hold."""
    before = torch.full((1, 9), 100.0, dtype=torch.float16)
    magnitude, cosine = transition_of(before, -2 * before)
    assert magnitude.dtype == cosine.dtype == torch.float32
    assert magnitude.item() == pytest.approx(2, abs=1e-6)
    assert cosine.item() == pytest.approx(-1, abs=1e-6)


def test_transition_of_zeros_is_finite() -> None:
    magnitude, cosine = transition_of(torch.zeros(2, 4), torch.tensor([[0.0] * 4, [1.0] * 4]))
    assert magnitude.isfinite().all()
    assert magnitude[0] == 0
    assert cosine.tolist() == [0, 0]


def test_transition_needs_no_gradient() -> None:
    magnitude, cosine = transition_of(
        torch.ones(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    )
    assert not magnitude.requires_grad and not cosine.requires_grad
