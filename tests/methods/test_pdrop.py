"""PyramidDrop: halving at each quarter, by the last row of the layer behind the boundary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.layer_views import reads_attention
from transprune.core.plan import Reading, Stage
from transprune.core.schedule import Schedule
from transprune.core.views import LayerView
from transprune.errors import ScheduleError
from transprune.methods import PDrop


def test_mean_over_heads_of_the_last_row() -> None:
    attention = torch.tensor([[[0.0, 0.4, 0.2]], [[0.3, 0.1, 0.2]]])

    def read(queries: object) -> Tensor:
        assert queries == "last"
        return attention

    selection = PDrop().select(
        LayerView(8, 2, torch.arange(3), lambda: torch.zeros(3, 4), signals=reads_attention(read))
    )
    assert selection.scores["score"].tolist() == pytest.approx([0.15, 0.25, 0.2], abs=1e-6)
    assert selection.keep.tolist() == [1, 2]


def test_halves_three_times() -> None:
    assert PDrop().plan(32, 576) == (Stage(8, 288), Stage(16, 144), Stage(24, 72))


def test_counts_refer_to_the_original_tokens() -> None:
    """577 halves to 288, then a quarter of 577 is 144: not half of a half, rounded twice."""
    assert [stage.count for stage in PDrop().plan(32, 577)] == [288, 144, 72]
    assert [stage.count for stage in PDrop().plan(32, 7)] == [3, 1, 1]
    assert [stage.rounded_up for stage in PDrop().plan(32, 7)] == [False, False, True]


@pytest.mark.parametrize(
    ("layers", "boundaries"),
    [(16, [4, 8, 12]), (28, [7, 14, 21]), (32, [8, 16, 24]), (40, [10, 20, 30]), (6, [2, 3, 5])],
)
def test_the_quarters_scale_with_depth(layers: int, boundaries: list[int]) -> None:
    assert [stage.boundary for stage in PDrop().plan(layers, 576)] == boundaries


def test_the_adaptation_is_told() -> None:
    assert PDrop().notes(32) == ()
    assert PDrop().notes(16) == ("boundaries 8, 16, 24 of 32 layers became 4, 8, 12 of 16",)


def test_a_schedule_of_ones_own_stays() -> None:
    method = PDrop(keep={2: 0.5, 12: 0.25})
    assert [stage.boundary for stage in method.plan(16, 8)] == [2, 12]
    assert method.notes(16) == ()


def test_reads_the_layer_behind_each_boundary() -> None:
    assert PDrop().reads_at(32) == tuple(
        Reading(b, rows="last", source="next") for b in (8, 16, 24)
    )


def test_defaults() -> None:
    assert PDrop().keep == Schedule({8: 0.5, 16: 0.25, 24: 0.125}, depth=32)
    assert PDrop().policy == "renumber"
    assert hash(PDrop()) == hash(PDrop(keep=Schedule({8: 0.5, 16: 0.25, 24: 0.125}, depth=32)))


def test_bad_schedules_are_refused() -> None:
    with pytest.raises(ScheduleError):
        PDrop(keep={8: 0.5, 16: 0.75})
    with pytest.raises(ScheduleError, match="got 24"):
        PDrop(keep={24: 0.5}).plan(24, 576)
    with pytest.raises(ScheduleError, match="only a projector-side method prunes"):
        PDrop(keep={0: 0.5}).plan(24, 576)
