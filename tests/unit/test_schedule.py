"""Schedules: what is accepted, how they scale with depth, how they count."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest

from transprune.core.schedule import Schedule, as_boundary, count_kept, scale_layers
from transprune.errors import ScheduleError

HIGH = {7: 0.875, 9: 0.625, 12: 0.125}


def test_boundaries_come_out_ascending_whatever_their_order() -> None:
    schedule = Schedule({12: 0.125, 7: 0.875, 9: 0.625})
    assert schedule.keep == ((7, 0.875), (9, 0.625), (12, 0.125))
    assert schedule.boundaries == (7, 9, 12)
    assert list(schedule) == [(7, 0.875), (9, 0.625), (12, 0.125)]


def test_same_contents_are_equal_and_hash_alike() -> None:
    assert Schedule(HIGH) == Schedule(list(HIGH.items()))
    assert hash(Schedule(HIGH)) == hash(Schedule(list(HIGH.items())))
    assert Schedule(HIGH) != Schedule(HIGH, depth=32)


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Schedule(HIGH).depth = 16


def test_text_forms() -> None:
    assert repr(Schedule(HIGH)) == "Schedule({7: 0.875, 9: 0.625, 12: 0.125})"
    assert repr(Schedule({2: 0.5}, depth=32)) == "Schedule({2: 0.5}, depth=32)"
    assert str(Schedule(HIGH)) == "7:0.875,9:0.625,12:0.125"


@pytest.mark.parametrize(
    "text", ["7:0.875,9:0.625,12:0.125", " 7:0.875 , 9:0.625,12:0.125,", "12:.125/7:.875/9:.625"]
)
def test_parse(text: str) -> None:
    assert Schedule.parse(text) == Schedule(HIGH)


def test_parse_reads_what_str_writes() -> None:
    assert Schedule.parse(str(Schedule(HIGH))) == Schedule(HIGH)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "7=0.5",
        "7:0.5:3",
        "seven:0.5",
        "7:half",
        "7.5:0.5",
        "inf:0.5",
        "__import__('os').getcwd():1",
    ],
)
def test_parse_refuses_what_is_no_schedule(text: str) -> None:
    with pytest.raises(ScheduleError):
        Schedule.parse(text)


def test_parse_shows_how_one_reads() -> None:
    with pytest.raises(ScheduleError, match=r"reads '7:0\.875,9:0\.625,12:0\.125'; got '7=0\.5'"):
        Schedule.parse("7=0.5")


@pytest.mark.parametrize("ratio", [0, -0.1, 1.001, float("nan"), float("inf"), 50])
def test_ratios_lie_above_zero_up_to_one(ratio: float) -> None:
    with pytest.raises(ScheduleError, match=r"keep ratios must lie in \(0, 1\]"):
        Schedule({7: ratio})


def test_a_ratio_of_one_is_fine() -> None:
    assert Schedule({7: 1}).keep == ((7, 1.0),)


def test_ratios_do_not_increase_with_depth() -> None:
    with pytest.raises(ScheduleError, match=r"cannot increase with depth; got \[0\.5, 0\.6\]"):
        Schedule({9: 0.6, 7: 0.5})
    assert Schedule({7: 0.5, 9: 0.5}).boundaries == (7, 9)


@pytest.mark.parametrize("keep", [{-1: 0.5}, [(7, 0.5), (7, 0.25)], {"7": 0.5, 7: 0.5}])
def test_boundaries_are_distinct_and_not_negative(keep: object) -> None:
    with pytest.raises(ScheduleError, match="distinct and not negative"):
        Schedule(keep)


@pytest.mark.parametrize(
    "keep",
    [
        5,
        None,
        0.5,
        "7:0.5",
        {7.5: 0.5},
        {True: 0.5},
        {None: 0.5},
        {7: None},
        {7: "x"},
        [7, 9],
        {float("inf"): 1},
    ],
)
def test_what_is_no_mapping_is_refused(keep: object) -> None:
    with pytest.raises(ScheduleError, match="maps boundaries to keep ratios"):
        Schedule(keep)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(ScheduleError, match="at least one boundary"):
        Schedule({})


@pytest.mark.parametrize("depth", [0, -32, 32.0, "32", True])
def test_the_depth_is_a_number_of_layers(depth: object) -> None:
    with pytest.raises(ScheduleError, match="depth is the number of decoder layers"):
        Schedule(HIGH, depth=depth)


def test_errors_are_value_errors_too() -> None:
    assert issubclass(ScheduleError, ValueError)


def test_of_takes_every_form() -> None:
    schedule = Schedule(HIGH)
    assert Schedule.of(schedule) is schedule
    assert Schedule.of(HIGH) == schedule
    assert Schedule.of({"7": 0.875, "9": 0.625, "12": 0.125}) == schedule
    assert Schedule.of("7:0.875,9:0.625,12:0.125") == schedule
    assert Schedule.of({"keep": HIGH, "depth": 32}) == Schedule(HIGH, depth=32)
    assert Schedule.of({"keep": HIGH}) == schedule


@pytest.mark.parametrize("depth", [None, 32])
def test_dict_round_trip(depth: int | None) -> None:
    schedule = Schedule(HIGH, depth=depth)
    assert schedule.to_dict() == {"keep": {"7": 0.875, "9": 0.625, "12": 0.125}, "depth": depth}
    assert Schedule.of(schedule.to_dict()) == schedule


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (32, (7, 9, 12)),
        (16, (4, 5, 6)),  # 3.5, 4.5, 6
        (24, (6, 7, 9)),  # 5.25, 6.75, 9
        (28, (7, 8, 11)),  # 6.125, 7.875, 10.5
        (40, (9, 12, 15)),  # 8.75, 11.25, 15
        (64, (14, 18, 24)),
        (8, (2, 3, 4)),  # 1.75, 2.25, 3: the third makes way
        (6, (2, 3, 4)),  # 1.3, 1.7, 2.25
    ],
)
def test_boundaries_scale_with_depth_and_round_up(layers: int, expected: tuple[int, ...]) -> None:
    scaled = Schedule(HIGH, depth=32).scaled(layers)
    assert scaled.boundaries == expected
    assert [ratio for _, ratio in scaled] == [0.875, 0.625, 0.125]


@pytest.mark.parametrize("layers", range(1, 130))
def test_scaled_boundaries_never_meet(layers: int) -> None:
    boundaries = Schedule(HIGH, depth=32).scaled(layers).boundaries
    assert list(boundaries) == sorted(set(boundaries))
    for boundary, original in zip(boundaries, (7, 9, 12), strict=True):
        assert boundary >= Fraction(original * layers, 32)


def test_published_depths_keep_their_boundaries() -> None:
    published = (28, 32)
    assert Schedule(HIGH, depth=32).scaled(28, published).boundaries == (7, 9, 12)
    assert Schedule(HIGH, depth=32).scaled(16, published).boundaries == (4, 5, 6)

    # of another depth the paper says nothing
    assert Schedule(HIGH, depth=40).scaled(28, published).boundaries == (5, 7, 9)
    assert Schedule(HIGH, depth=16).scaled(32, published).boundaries == (14, 18, 24)


@pytest.mark.parametrize("layers", [16, 28, 32, 40])
def test_an_explicit_schedule_stays(layers: int) -> None:
    assert Schedule(HIGH).scaled(layers) == Schedule(HIGH)


def test_check_names_the_bad_boundaries_and_the_room_there_is() -> None:
    schedule = Schedule(HIGH)
    assert schedule.check(13) is schedule
    with pytest.raises(
        ScheduleError, match=r"must lie in 1\.\.11 for a model of 12 decoder layers; got 12\."
    ):
        schedule.check(12)
    with pytest.raises(ScheduleError, match=r"must lie in 1\.\.7 .* got 9, 12\."):
        schedule.check(8)


def test_check_of_the_first_boundary() -> None:
    schedule = Schedule({0: 0.5})
    assert schedule.check(4, first=0) is schedule
    with pytest.raises(
        ScheduleError, match="in front of layer 0 only a projector-side method prunes"
    ):
        schedule.check(4)


def test_scale_layers() -> None:
    assert scale_layers((1, 2, 3), 3, 3) == (1, 2, 3)
    assert scale_layers((1, 2, 3), 30, 3) == (1, 2, 3)  # 0.1, 0.2, 0.3 all round up to 1
    assert scale_layers((), 32, 16) == ()


@pytest.mark.parametrize(
    ("total", "ratio", "expected"),
    [
        (576, 0.875, 504),
        (576, 0.625, 360),
        (576, 0.125, 72),
        (576, 0.1875, 108),
        (576, 0.0625, 36),
        (100, 0.29, 29),  # 28.999999999999996 in binary
        (10, 0.7, 7),
        (7, 0.5, 3),
        (3, 0.25, 0),
        (5, 1, 5),
        (0, 0.5, 0),
    ],
)
def test_count_kept(total: int, ratio: float, expected: int) -> None:
    assert count_kept(total, ratio) == expected


def test_count_kept_is_exact_for_every_percentage() -> None:
    for total in (1, 7, 100, 576, 2880, 12345):
        for percent in range(1, 101):
            assert count_kept(total, percent / 100) == total * percent // 100


def test_as_boundary() -> None:
    assert (as_boundary(7), as_boundary("7"), as_boundary(7.0)) == (7, 7, 7)
    for bad in (True, 7.5, "x", float("nan")):
        with pytest.raises(ValueError):
            as_boundary(bad)
