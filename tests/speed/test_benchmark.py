"""The speed benchmark in miniature: every cell is there, and whatever goes wrong is a record."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from transprune.errors import RecordError
from transprune.speed import benchmark, warm_up
from transprune.speed.benchmark import run_benchmark
from transprune.speed.cells import FLASH, SDPA, UNPRUNED, Cell, plan, variants
from transprune.speed.records import RecordFile
from transprune.speed.summary import Setting, rows

TINY = ("llava-1.5-tiny", "llava-next-tiny", "qwen2.5-vl-tiny")
ONE = Cell("llava-1.5-tiny", SDPA, 1, "prefill")
ANSWER = Cell("llava-1.5-tiny", SDPA, 1, "answer")


@pytest.fixture
def file(tmp_path):
    return RecordFile(tmp_path / "new folder" / "gpu.jsonl")


def by_variant(records):
    return {record.variant: record for record in records}


@pytest.mark.slow
def test_every_cell_of_the_miniature_has_positive_times(miniature, file):
    cells = plan(TINY, (1, 2))
    records = run_benchmark(cells, miniature, file)

    assert len(cells) == 3 * 2 * 2 * 2  # shapes, batches, attentions, measures
    assert {(record.cell, record.variant) for record in records} == {
        (cell, name) for cell in cells for name in variants(cell.shape)
    }
    for record in records:
        if record.attention == FLASH:
            assert (record.status, record.reason) == (
                "skipped",
                "FlashAttention needs a CUDA device",
            )
            continue
        assert record.status == "measured", record
        expected = {"prefill"}
        if record.measure == "answer":
            expected = {"answer_1", "answer_2", "answer_4", "per_token"}
        assert 1 <= len(record.seconds) <= 2
        assert all(set(times) == expected for times in record.seconds)
        assert all(seconds > 0 for times in record.seconds for seconds in times.values())


def test_times_of_an_answer_add_up(miniature, file):
    for record in run_benchmark([ANSWER], miniature, file):
        for times in record.seconds:
            assert times["answer_1"] < times["answer_2"] < times["answer_4"]
            rest = times["answer_4"] - times["answer_1"]
            assert times["per_token"] == pytest.approx(rest / 3)


def test_pruned_variants_keep_and_need_less(miniature, file):
    found = by_variant(run_benchmark([ONE], miniature, file))
    unpruned = found.pop(UNPRUNED)
    assert list(unpruned.kept) == []
    for name, record in found.items():
        assert record.kept[0] == 36 and record.kept[-1] < 36, name
        assert record.peak_bytes < unpruned.peak_bytes, name
    assert found["visionzip+transprune-low"].recipe == "visionzip:keep=0.3333+transprune-low"


def test_a_full_llava_keeps_the_papers_count():
    assert variants("llava-1.5-7b")["visionzip"] == "visionzip:keep=192"
    assert variants("llava-next-7b")["visionzip"] == "visionzip:keep=0.3333"


def test_the_plan_begins_with_one_prompt_of_every_shape_and_has_no_cell_twice():
    cells = plan(("a", "b"), (1, 8, 32))
    first = [(cell.shape, cell.batch, cell.attention, cell.measure) for cell in cells[:4]]
    assert first == [
        ("a", 1, SDPA, "prefill"),
        ("a", 1, SDPA, "answer"),
        ("b", 1, SDPA, "prefill"),
        ("b", 1, SDPA, "answer"),
    ]
    assert len(set(cells)) == len(cells) == 2 * 3 * 2 * 2


# --------------------------------------------------------------------------------------- going on


def test_a_second_run_measures_only_what_is_missing(miniature, file):
    seen = []
    run_benchmark([ONE], miniature, file, lambda cell, records: seen.append(cell))
    again = RecordFile(file.path)
    records = run_benchmark(
        [ONE, ANSWER], miniature, again, lambda cell, records: seen.append(cell)
    )

    assert seen == [ONE, ANSWER]
    assert {record.cell for record in records} == {ONE, ANSWER}
    assert len(file.path.read_text().splitlines()) == 2 * len(variants(ONE.shape))


@pytest.mark.slow
def test_an_incomplete_last_line_is_dropped_and_its_cell_measured_again(miniature, file):
    run_benchmark([ONE], miniature, file)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-30])

    again = RecordFile(file.path)
    assert len(again.path.read_bytes().splitlines()) == len(variants(ONE.shape)) - 1
    seen = []
    run_benchmark([ONE], miniature, again, lambda cell, records: seen.append(cell))
    assert seen == [ONE]


@pytest.mark.slow
def test_other_settings_are_not_mixed_in(miniature, file):
    run_benchmark([ONE], miniature, file)
    records = run_benchmark([ONE], replace(miniature, seed=7), file)
    assert {record.provenance["seed"] for record in records} == {7}
    assert len(file.path.read_text().splitlines()) == 2 * len(variants(ONE.shape))


def test_what_did_not_run_is_tried_again(miniature, file):
    records = run_benchmark([ONE], replace(miniature, seconds=0.0), file)
    assert {(record.status, record.reason) for record in records} == {
        ("not run", "no time was left")
    }
    records = run_benchmark([ONE], miniature, file)
    assert {record.status for record in records} == {"measured"}


def test_a_damaged_line_in_the_middle_is_named(miniature, file):
    run_benchmark([ONE], miniature, file)
    lines = file.path.read_text().splitlines()
    lines[2] = '{"shape": 1}'
    file.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RecordError, match=r"gpu.jsonl, line 3 is no record"):
        RecordFile(file.path)


def test_figures_come_with_their_provenance(miniature, file):
    record = run_benchmark([ONE], miniature, file)[0]
    assert record.provenance["card"].startswith("CPU")
    assert record.provenance["commit"] == "0123456789ab"
    assert {"torch", "transformers", "transprune"} <= set(record.provenance["versions"])
    assert record.provenance["command"]


# --------------------------------------------------------------------------------------- what goes wrong


def out_of_memory_for(monkeypatch, module, name, wanted):
    """Make `module.name(bench, session, ...)` fail where `wanted(session)`."""
    real = getattr(module, name)

    def fails(bench, session, *rest):
        if wanted(session):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return real(bench, session, *rest)

    monkeypatch.setattr(module, name, fails)


def test_the_unpruned_model_out_of_memory_is_a_record(miniature, file, monkeypatch):
    out_of_memory_for(monkeypatch, warm_up, "peak_of_prefill", lambda session: session is None)
    found = by_variant(run_benchmark([ONE], miniature, file))

    unpruned = found.pop(UNPRUNED)
    assert (unpruned.status, list(unpruned.seconds)) == ("out of memory", [])
    assert "20.00 GiB" in unpruned.reason
    assert {record.status for record in found.values()} == {"measured"}

    table = rows([unpruned, *found.values()], Setting("llava-1.5-tiny", SDPA, 1))
    assert all(not row.ratios for row in table)
    assert all(row.seconds for row in table[1:])


def test_one_method_out_of_memory_leaves_the_others(miniature, file, monkeypatch):
    def is_fastv(session):
        return session is not None and session.method.name == "fastv"

    out_of_memory_for(monkeypatch, warm_up, "peak_of_prefill", is_fastv)
    found = by_variant(run_benchmark([ONE], miniature, file))
    assert found.pop("fastv").status == "out of memory"
    assert {record.status for record in found.values()} == {"measured"}


def test_a_model_that_does_not_fit_is_a_record_and_the_next_cell_runs(miniature, file, monkeypatch):
    real = benchmark.build_model

    def only_small(shape, *rest):
        if shape.name == "llava-next-tiny":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(shape, *rest)

    monkeypatch.setattr(benchmark, "build_model", only_small)
    large = Cell("llava-next-tiny", SDPA, 1, "prefill")
    records = run_benchmark([large, ONE], miniature, file)
    assert {record.status for record in records if record.cell == large} == {"out of memory"}
    assert {record.status for record in records if record.cell == ONE} == {"measured"}


def test_a_bug_in_one_method_is_a_record(miniature, file, monkeypatch):
    def broken(session):
        if session is not None and session.method.name == "pdrop":
            raise ValueError("a bug\nwith details")
        return []

    monkeypatch.setattr(warm_up, "kept_tokens", broken)
    found = by_variant(run_benchmark([ONE], miniature, file))
    assert (found["pdrop"].status, found["pdrop"].reason) == ("failed", "a bug")
    assert found["fastv"].status == "measured"


@pytest.mark.slow
def test_a_model_that_cannot_run_is_a_failure_of_all(miniature, file, monkeypatch):
    def broken(*_):
        raise ValueError("shapes do not fit")

    monkeypatch.setattr(warm_up, "time_prefill_and_decode", broken)
    records = run_benchmark([ONE], miniature, file)
    assert {(record.status, record.reason) for record in records} == {
        ("failed", "shapes do not fit")
    }


def test_a_cell_that_would_take_too_long_does_not_start(miniature, file, monkeypatch):
    monkeypatch.setattr(
        warm_up, "time_prefill_and_decode", lambda *_: {"prefill": 50.0, "per_token": 1.0}
    )
    records = run_benchmark([ONE], miniature, file)
    assert {record.status for record in records} == {"not run"}
    assert records[0].reason.startswith("it would take 800 s or more, and ")


def test_a_larger_batch_takes_no_less_than_a_smaller_one(miniature, file):
    records = run_benchmark([ONE], miniature, file)
    unpruned = by_variant(records)[UNPRUNED]
    quickest = min(times["prefill"] for times in unpruned.seconds)

    assert benchmark.at_least(replace(ONE, batch=8), records) == quickest
    assert benchmark.at_least(replace(ONE, batch=8, measure="answer"), records) == quickest
    assert benchmark.at_least(replace(ONE, shape="llava-next-tiny"), records) == 0
    assert benchmark.at_least(replace(ONE, attention=FLASH), records) == 0


def test_a_cell_that_a_smaller_one_shows_to_be_too_long_is_not_tried(miniature, file, monkeypatch):
    monkeypatch.setattr(benchmark, "at_least", lambda cell, records: 50.0)
    monkeypatch.setattr(benchmark, "build_model", lambda *_: pytest.fail("it was built"))
    records = run_benchmark([ONE], miniature, file)
    assert {record.status for record in records} == {"not run"}
    assert records[0].reason.startswith("it would take 800 s or more, and ")


def test_a_flash_attention_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: False)
    assert "flash-attn is not installed" in benchmark.missing_attention(FLASH, "cuda")
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    assert benchmark.missing_attention(FLASH, "cuda") == ""
    assert benchmark.missing_attention(SDPA, "cpu") == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_miniature_runs_on_a_gpu(miniature, file):
    settings = replace(miniature, device="cuda", dtype=torch.bfloat16)
    for record in run_benchmark(plan(TINY, (1, 2), (SDPA,)), settings, file):
        assert record.status == "measured", record
        assert all(seconds > 0 for times in record.seconds for seconds in times.values())
        assert record.provenance["driver"]
