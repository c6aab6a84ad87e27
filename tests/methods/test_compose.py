"""Compositions: one method after another, counted from what the first left."""

from __future__ import annotations

from typing import Any

import pytest

from transprune.core.plan import Reading, Stage
from transprune.errors import MethodError, ScheduleError
from transprune.methods import (
    Compose,
    DivPrune,
    FastV,
    PDrop,
    Random,
    TransPrune,
    Uniform,
    VisionZip,
)

COMBINED = {7: 0.5, 9: 0.25, 12: 0.125}


def test_the_second_counts_from_what_the_first_left() -> None:
    stages = Compose([VisionZip(288), TransPrune(keep=COMBINED)]).plan(32, 576)
    assert stages == (Stage(0, 288), Stage(7, 144), Stage(9, 72), Stage(12, 36))


def test_high_after_192() -> None:
    stages = Compose([VisionZip(192), TransPrune.high()]).plan(32, 576)
    assert [stage.count for stage in stages] == [192, 168, 120, 24]


def test_three_in_a_row() -> None:
    stages = Compose([DivPrune(0.5), FastV(layer=2, keep_ratio=0.5), PDrop(keep={8: 0.5})]).plan(
        32, 576
    )
    assert stages == (Stage(0, 288), Stage(2, 144), Stage(8, 72))


def test_two_within_the_language_model() -> None:
    assert Compose([FastV(), TransPrune.high()]).plan(32, 576) == (
        Stage(2, 288),
        Stage(7, 252),
        Stage(9, 180),
        Stage(12, 36),
    )


def test_depth_reaches_the_parts() -> None:
    both = Compose([VisionZip(192), TransPrune.high()])
    assert [stage.boundary for stage in both.plan(16, 576)] == [0, 4, 5, 6]
    assert both.notes(16) == TransPrune.high().notes(16)
    assert both.notes(32) == ()


def test_readings_come_in_order() -> None:
    readings = Compose([VisionZip(192), FastV()]).reads_at(32)
    assert readings == (Reading(0, similarity="keys"), Reading(2, rows="last", source="previous"))


def test_steps_are_the_parts() -> None:
    parts = (VisionZip(192), TransPrune.low())
    assert Compose(parts).steps == Compose(list(parts)).parts == parts
    assert FastV().steps == (FastV(),)
    assert Compose(part for part in parts).parts == parts


@pytest.mark.parametrize(
    "parts",
    [
        [TransPrune.high(), FastV(layer=8)],
        [FastV(), FastV()],
        [PDrop(), TransPrune.high()],
        [VisionZip(192), Random(keep={0: 0.5})],
        [FastV(layer=7), TransPrune.high()],
    ],
    ids=repr,
)
def test_parts_that_overlap_are_refused(parts: list[Any]) -> None:
    with pytest.raises(ScheduleError, match="the parts of a composition follow each other"):
        Compose(parts).plan(32, 576)


@pytest.mark.parametrize(
    "parts", [[FastV(), VisionZip(192)], [DivPrune(), VisionZip(56)]], ids=repr
)
def test_projector_side_comes_first(parts: list[Any]) -> None:
    with pytest.raises(MethodError, match="may only come first"):
        Compose(parts)


def test_nested_compositions_are_refused() -> None:
    with pytest.raises(MethodError, match="flat list of methods; got Compose"):
        Compose([Compose([VisionZip(192)]), TransPrune.high()])


@pytest.mark.parametrize("parts", [[], ()])
def test_empty_compositions_are_refused(parts: Any) -> None:
    with pytest.raises(MethodError, match="at least one method"):
        Compose(parts)
    with pytest.raises(MethodError, match="at least one method"):
        Compose()


@pytest.mark.parametrize("parts", [["fastv"], [FastV], [None], [VisionZip(2), 3]], ids=repr)
def test_parts_that_are_no_methods_are_refused(parts: Any) -> None:
    with pytest.raises(MethodError, match="flat list of methods"):
        Compose(parts)


@pytest.mark.parametrize("parts", [FastV(), 5, None], ids=repr)
def test_a_list_is_asked_for(parts: Any) -> None:
    with pytest.raises(MethodError, match="takes a list of methods"):
        Compose(parts)


def test_positions_belong_to_the_parts() -> None:
    with pytest.raises(MethodError, match="set them on its parts"):
        Compose([VisionZip(192)], positions="keep")
    policies = [
        part.policy
        for part in Compose([VisionZip(192), TransPrune(positions="keep"), Uniform()]).parts
    ]
    assert policies == ["keep", "keep", "keep"]


def test_is_a_record() -> None:
    first, second = (Compose([VisionZip(192), TransPrune.low()]) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert repr(FastV()) in repr(Compose([FastV()]))
