"""FastV: one cut, by the last row of the layer in front of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from methods.layer_views import reads_attention
from transprune.core.plan import Reading, Stage
from transprune.core.views import LayerView
from transprune.errors import MethodError, ScheduleError
from transprune.methods import FastV


def view_of(attention: Tensor, count: int) -> LayerView:
    def read(queries: object) -> Tensor:
        assert queries == "last"
        return attention

    n = attention.shape[-1]
    return LayerView(
        2, count, torch.arange(n), lambda: torch.zeros(n, 4), signals=reads_attention(read)
    )


def test_mean_over_heads_of_the_last_row() -> None:
    attention = torch.tensor([[[0.5, 0.1, 0.0, 0.3]], [[0.1, 0.3, 0.3, 0.2]]])  # [H=2, 1, N=4]
    selection = FastV().select(view_of(attention, 2))
    assert selection.scores["score"].tolist() == pytest.approx([0.3, 0.2, 0.15, 0.25], abs=1e-6)
    assert selection.keep.tolist() == [0, 3]
    assert set(selection.scores) == {"score"}
    assert selection.features is None


def test_no_head_decides_alone() -> None:
    """Token 0 has the largest single probability, token 1 the largest mean."""
    attention = torch.tensor([[[0.9, 0.5]], [[0.0, 0.5]]])
    assert FastV().select(view_of(attention, 1)).keep.tolist() == [1]


def test_defaults_are_the_papers() -> None:
    assert (FastV().layer, FastV().keep_ratio, FastV().policy) == (2, 0.5, "keep")
    assert FastV.aggressive() == FastV(keep_ratio=0.25)
    assert FastV.aggressive(layer=3) == FastV(layer=3, keep_ratio=0.25)
    assert FastV(positions="renumber").policy == "renumber"


@pytest.mark.parametrize("layers", [16, 28, 32, 40])
def test_the_layer_does_not_scale(layers: int) -> None:
    assert FastV().plan(layers, 576) == (Stage(2, 288),)
    assert FastV(layer=3, keep_ratio=0.25).plan(layers, 576) == (Stage(3, 144),)
    assert FastV().notes(layers) == ()


def test_the_count_is_floored_and_at_least_one() -> None:
    assert FastV().plan(32, 577) == (Stage(2, 288),)
    assert FastV().plan(32, 1) == (Stage(2, 1, rounded_up=True),)
    assert FastV(keep_ratio=1).plan(32, 577) == (Stage(2, 577),)


def test_reads_the_last_row_of_the_layer_in_front() -> None:
    assert FastV(layer=3).reads_at(32) == (Reading(3, rows="last", source="previous"),)


@pytest.mark.parametrize("layer", [0, -1, 2.0, "2", True, None])
def test_the_layer_is_a_positive_number(layer: object) -> None:
    with pytest.raises(MethodError, match="at least 1; got"):
        FastV(layer=layer)


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01, 2, float("nan"), True, "0.5", None])
def test_the_ratio_is_a_share(ratio: object) -> None:
    with pytest.raises(ScheduleError, match=r"keep_ratio is the share .* must lie in \(0, 1\]"):
        FastV(keep_ratio=ratio)


def test_a_layer_past_the_model_is_refused() -> None:
    with pytest.raises(ScheduleError, match=r"must lie in 1\.\.15"):
        FastV(layer=16).plan(16, 576)


def test_is_a_frozen_record() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FastV().layer = 3
    assert dataclasses.replace(FastV(), keep_ratio=0.25) == FastV.aggressive()
    assert repr(FastV()) == "FastV(positions=None, layer=2, keep_ratio=0.5)"
