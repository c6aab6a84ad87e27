"""What the benchmark says of its records: tables, and where pruning pays."""

from __future__ import annotations

from transprune.speed.cells import SDPA
from transprune.speed.records import Record
from transprune.speed.statement import FEW, statement
from transprune.speed.summary import Setting, rows, settings

SHAPE = "llava-1.5-7b"


def record(variant, prefill=(), status="measured", reason="", batch=1, peak=None, **answer):
    """A record of six rounds whose prefill took these seconds, or of answers."""
    seconds = [{"prefill": time} for time in prefill]
    measure = "prefill"
    if answer:
        measure, seconds = "answer", [answer] * 6
    return Record(
        SHAPE, SDPA, batch, measure, variant, None, status, reason, seconds, peak, 1000, ()
    )


def test_a_table_merges_the_cells_of_a_setting():
    records = [
        record("unpruned", [2.0] * 6, peak=500),
        record("fastv", [1.0] * 6, peak=200),
        record("unpruned", answer_1=4.0, per_token=1.0),
        record("fastv", answer_1=3.0, per_token=1.1),
    ]
    unpruned, fastv = rows(records, Setting(SHAPE, SDPA, 1))

    assert dict(unpruned.seconds) == {"prefill": 2.0, "answer_1": 4.0, "per_token": 1.0}
    assert unpruned.ratios == {}
    medians = {what: ratio.median for what, ratio in fastv.ratios.items()}
    assert medians == {"prefill": 0.5, "answer_1": 0.75, "per_token": 1.1}
    assert (unpruned.memory, fastv.memory) == (1500, 1200)


def test_it_says_where_pruning_pays_and_where_it_does_not():
    records = [
        record("unpruned", [1.0] * 6),
        record("fastv", [0.5] * 6),
        record("pdrop", [0.6] * 6),
        record("transprune-high", [1.2] * 6),
        record("unpruned", per_token=1.0),
        record("fastv", per_token=1.1),
        record("pdrop", per_token=1.2),
        record("transprune-high", per_token=1.3),
    ]
    assert statement(records) == [
        "LLaVA-1.5-7B, sdpa, batch 1: fastv, pdrop: pays for prefill; costs time for each token.",
        "LLaVA-1.5-7B, sdpa, batch 1: transprune-high: costs time for all.",
    ]


def test_a_ratio_on_both_sides_of_1_is_not_certain():
    records = [record("unpruned", [1.0] * 6), record("fastv", [0.9] * 5 + [1.1])]
    assert statement(records)[0].endswith("fastv: not certain for all.")


def test_few_rounds_are_said():
    records = [record("unpruned", [1.0] * 3), record("fastv", [0.9] * 3)]
    assert statement(records)[1:] == [FEW]


def test_what_fits_where_the_unpruned_model_does_not():
    records = [
        record("unpruned", status="out of memory", reason="20 GiB", batch=32),
        record("fastv", [1.0] * 6, batch=32, peak=10),
        record("pdrop", status="out of memory", reason="20 GiB", batch=32),
    ]
    assert statement(records) == [
        "LLaVA-1.5-7B, sdpa, batch 32, memory of a prefill: measured without the unpruned model: "
        "fastv.",
        "out of memory: 20 GiB: LLaVA-1.5-7B, sdpa, batch 32 (unpruned, pdrop).",
    ]


def test_more_memory_than_the_unpruned_model_is_said():
    records = [record("unpruned", [1.0] * 6, peak=100), record("fastv", [1.0] * 6, peak=101)]
    assert statement(records)[-1].endswith("memory of a prefill: more than unpruned: fastv.")


def test_settings_keep_the_order_of_the_records():
    records = [record("unpruned", [1.0], batch=batch) for batch in (8, 1, 8)]
    assert [setting.batch for setting in settings(records)] == [8, 1]
