"""ShortV: which layers are frozen."""

from __future__ import annotations

import pytest

from transprune import FastV, TransPrune
from transprune.errors import MethodError, ScheduleError
from transprune.methods import Compose, ShortV
from transprune.methods.common.recipe import from_dict, parse
from transprune.methods.shortv import RELEASED


def test_released_orders() -> None:
    assert ShortV().frozen(32) == tuple(sorted(map(int, RELEASED["llava-7b"][1].split(","))))
    assert {name: (depth, text.count(",") + 1) for name, (depth, text) in RELEASED.items()} == {
        "llava-7b": (32, 19),
        "llava-13b": (40, 24),
        "next-7b": (32, 19),
        "next-13b": (40, 24),
    }
    for name, (depth, _) in RELEASED.items():
        layers = ShortV(name).frozen(depth)
        assert len(set(layers)) == len(layers) and max(layers) == depth - 1


def test_the_first_of_the_order_are_frozen() -> None:
    assert ShortV(count=3).frozen(32) == (29, 30, 31)
    assert ShortV((5, 1, 3), count=2).frozen(8) == (1, 5)
    assert ShortV(()).frozen(8) == ShortV(count=0).frozen(32) == ()


def test_another_depth_scales_and_says_so() -> None:
    layers = ShortV().frozen(16)
    assert len(layers) == 10 and max(layers) == 15
    assert "calibrate" in ShortV().notes(16)[0]
    assert ShortV().notes(32) == ShortV((1, 2)).notes(16) == ()


def test_nothing_is_dropped() -> None:
    assert (ShortV().plan(32, 576), ShortV().reads_at(32)) == ((), ())
    assert Compose([FastV(), ShortV()]).frozen(32) == ShortV().frozen(32)
    assert Compose([ShortV((1, 2)), TransPrune.high(), ShortV((2, 4))]).frozen(32) == (1, 2, 4)


def test_as_text_and_as_data() -> None:
    assert parse("shortv:order=next-7b,count=5") == ShortV("next-7b", 5)
    assert parse("shortv:order=31,29,30").order == (31, 29, 30)
    assert parse("shortv:order=3").order == (3,)
    for method in (ShortV(), ShortV((4, 2), 1)):
        assert from_dict(method.to_dict()) == method


def test_scaling_leaves_more_or_fewer_layers_running() -> None:
    assert ShortV().scaled_by(2.0).count == 6  # 26 of 32 run instead of 13
    assert ShortV().scaled_by(9.0).count == 0
    assert ShortV().scaled_by(0.1).count == 19  # the order has no more
    assert ShortV(range(8), 4).scaled_by(0.5).count == 6
    with pytest.raises(MethodError):
        ShortV(range(8)).scaled_by(2.0)


@pytest.mark.parametrize(
    "wrong", [{"order": "vicuna"}, {"order": (1, 1)}, {"order": (-1,)}, {"count": 20}]
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(MethodError):
        ShortV(**wrong)
    with pytest.raises(ScheduleError, match=r"0\.\.7"):
        ShortV((9,)).plan(8, 16)
