"""A plan, told in tokens per layer."""

from __future__ import annotations

from transprune.core.plan import Reading, Stage, per_layer, per_layer_widths


def test_no_stage_leaves_every_layer_full() -> None:
    assert per_layer(3, 576, ()) == (576, 576, 576)


def test_a_stage_acts_from_its_boundary_on() -> None:
    assert per_layer(5, 10, (Stage(2, 4),)) == (10, 10, 4, 4, 4)


def test_boundary_zero_is_in_front_of_the_first_layer() -> None:
    assert per_layer(3, 10, (Stage(0, 6), Stage(2, 1))) == (6, 6, 1)


def test_the_published_schedule() -> None:
    counts = per_layer(32, 576, (Stage(7, 504), Stage(9, 360), Stage(12, 72)))
    assert counts == (576,) * 7 + (504,) * 2 + (360,) * 3 + (72,) * 20


def test_tokens_never_come_back() -> None:
    assert per_layer(3, 5, (Stage(1, 9),)) == (5, 5, 5)
    assert per_layer(4, 9, (Stage(1, 3), Stage(2, 5))) == (9, 3, 3, 3)


def test_the_order_of_stages_does_not_matter() -> None:
    assert per_layer(4, 9, (Stage(2, 3), Stage(1, 5))) == (9, 5, 3, 3)


def test_widths_include_text() -> None:
    assert per_layer_widths(4, 20, {1: 15, 3: 12}) == (20, 15, 15, 12)
    assert per_layer_widths(2, 20, {}) == (20, 20)


def test_a_reading_reads_nothing_by_default() -> None:
    reading = Reading(7)
    assert (reading.rows, reading.source, reading.observed, reading.similarity) == (
        None,
        "next",
        (),
        None,
    )
    assert not Stage(7, 3).rounded_up
