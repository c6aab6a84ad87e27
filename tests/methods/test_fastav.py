"""FastAV: a prefix at half the depth, then a fifth less behind each later layer."""

from __future__ import annotations

import pytest
import torch

from methods.layer_views import reads_attention
from transprune.core.plan import Reading, per_layer
from transprune.core.views import LayerView
from transprune.errors import MethodError, ScheduleError
from transprune.methods import FastAV


def counts(method: FastAV, layers: int, tokens: int) -> list[int]:
    return [stage.count for stage in method.plan(layers, tokens)]


def test_the_papers_depth_and_share() -> None:
    """28 layers: nothing goes in the first 15, then a fifth, rounded down, behind each."""
    stages = FastAV(least=0.01).plan(28, 100)
    assert [stage.boundary for stage in stages] == list(range(15, 28))
    # 100 - 20 - 16 - int(12.8) - int(10.4) ...
    assert [stage.count for stage in stages][:6] == [80, 64, 52, 42, 34, 28]
    assert per_layer(28, 100, stages)[:15] == (100,) * 15


def test_a_fifth_of_five_is_one() -> None:
    """0.2 in floating point is a little less than a fifth, and 5 * 0.2 must still drop one."""
    assert counts(FastAV(), 28, 5)[:3] == [4, 4, 4]
    assert counts(FastAV(), 28, 10)[:2] == [8, 7]


def test_the_cuts_end_at_the_least() -> None:
    kept = counts(FastAV(), 32, 576)
    assert kept[-1] == 28 == int(576 * 0.05)
    assert len(kept) == 14, "the fifteenth would drop nothing"
    assert counts(FastAV(keep_ratio=0.1, least=0.25), 32, 100) == [25]
    assert counts(FastAV(), 32, 1) == [1] * 14


def test_a_prefix_goes_first_and_is_read_from_nothing() -> None:
    method = FastAV(prefix=0.5)
    assert counts(method, 28, 1500)[:3] == [750, 600, 480]
    assert method.reads_at(28)[0] == Reading(14)
    assert method.reads_at(28)[1] == Reading(15, rows="last", source="previous")

    first, fine = method.steps
    view = LayerView(14, 2, torch.tensor([1, 4, 6]), lambda: torch.zeros(3, 2))
    assert first.select(view).keep.tolist() == [0, 1]
    assert FastAV().steps == (FastAV().steps[-1],) == (fine,)


def test_a_fine_cut_keeps_what_the_last_token_attends_to() -> None:
    attention = torch.tensor([[[0.5, 0.1, 0.0, 0.3]], [[0.1, 0.3, 0.3, 0.2]]])  # [H=2, 1, N=4]
    view = LayerView(
        17,
        2,
        torch.arange(4),
        lambda: torch.zeros(4, 4),
        signals=reads_attention(lambda queries: attention if queries == "last" else None),
    )
    selection = FastAV().steps[0].select(view)
    assert selection.scores["score"].tolist() == pytest.approx([0.3, 0.2, 0.15, 0.25], abs=1e-6)
    assert selection.keep.tolist() == [0, 3]


def test_scaling_and_moving() -> None:
    assert FastAV().scaled_by(0.5) == FastAV(keep_ratio=0.4, least=0.025)
    assert FastAV().shifted_earlier(3, 32) == FastAV(start=13)
    assert FastAV(start=2).shifted_earlier(2, 32).plan(32, 10)[0].boundary == 1
    with pytest.raises(ScheduleError, match="cannot start 3 layers earlier"):
        FastAV(start=2).shifted_earlier(3, 32)
    with pytest.raises(ScheduleError, match="cannot start 2 layers earlier"):
        FastAV(start=2, prefix=0.5).shifted_earlier(2, 32)


def test_settings_are_checked() -> None:
    for name in ("keep_ratio", "prefix", "least"):
        with pytest.raises(ScheduleError, match=name):
            FastAV(**{name: 0})
    with pytest.raises(MethodError, match="start is the boundary"):
        FastAV(start=-1)
    with pytest.raises(ScheduleError, match=r"must lie in 1\.\.7"):
        FastAV(start=7).plan(8, 10)
