"""STAR: two stages that are FasterVLM and one late FastV, with shares of our own."""

from __future__ import annotations

import pytest
import torch

from methods.layer_views import reads_attention
from methods.signals import choose, numbered
from transprune.core.plan import Reading, Stage
from transprune.core.views import LayerView
from transprune.errors import MethodError, ScheduleError
from transprune.methods import STAR, FasterVLM


def test_the_stages() -> None:
    assert STAR().plan(32, 576) == (Stage(0, 288), Stage(16, 28))
    assert STAR().plan(28, 576) == (Stage(0, 288), Stage(14, 28))
    assert STAR(192, {10: 0.25}).plan(40, 576) == (Stage(0, 192), Stage(10, 48))
    assert STAR(then=None).plan(32, 576) == (Stage(0, 288),)
    assert STAR().notes(28) == ("boundaries 16 of 32 layers became 14 of 28",)
    assert STAR(then="8:0.5") == STAR(then={8: 0.5})


def test_the_first_stage_is_fastervlm() -> None:
    saliency = torch.rand(20, generator=torch.Generator().manual_seed(0))
    ours = choose(STAR(7).steps[0], numbered(20), saliency=saliency).keep
    assert torch.equal(ours, choose(FasterVLM(7), numbered(20), saliency=saliency).keep)


@pytest.mark.parametrize(("queries", "kept"), [("last", [0, 3]), ("instruction", [1, 2])])
def test_the_second_stage_reads_the_rows_it_names(queries: str, kept: list[int]) -> None:
    rows = {
        "last": torch.tensor([[[0.5, 0.1, 0.0, 0.3]]]),  # [H=1, T=1, N=4]
        "instruction": torch.tensor([[[0.1, 0.6, 0.4, 0.0], [0.2, 0.1, 0.4, 0.1]]]),
    }
    method = STAR(queries=queries)
    view = LayerView(
        16, 2, torch.arange(4), lambda: torch.zeros(4, 2), signals=reads_attention(rows.get)
    )
    assert method.steps[1].select(view).keep.tolist() == kept
    assert method.reads_at(32) == (Reading(0), Reading(16, rows=queries, source="previous"))


def test_the_second_stage_moves_and_the_first_scales() -> None:
    assert STAR().shifted_earlier(4, 32).plan(32, 576)[1].boundary == 12
    assert STAR().scaled_by(0.5).plan(32, 576) == (Stage(0, 144), Stage(16, 14))
    with pytest.raises(ScheduleError, match="cannot start earlier"):
        STAR(then=None).shifted_earlier(1, 32)


def test_settings_are_checked() -> None:
    with pytest.raises(MethodError, match="queries"):
        STAR(queries="all")
    with pytest.raises(ScheduleError, match="keep"):
        STAR(keep=0)
