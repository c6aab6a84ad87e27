"""A table run again: what is answered, resumed, left out, and said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from reproduce.small import changed, small_plan
from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.read import read_benchmark
from transprune.bench.data.judge import Judge
from transprune.bench.data.records import read_run
from transprune.cli.guard import quiet_libraries
from transprune.cli.reproduce_tables import result_tables
from transprune.errors import BenchError, RecordError, TaskError
from transprune.methods.common.recipe import resolve
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load
from transprune.reproduce import benchmark as benchmark_module
from transprune.reproduce.chart import draw_chart
from transprune.reproduce.launch import launch
from transprune.reproduce.result import Value
from transprune.reproduce.words import comparison_words, duration, signed


def run_again(plan):
    """The outcome, and the notes."""
    notes: list[str] = []
    with quiet_libraries(bars=False):
        return launch(plan, on_note=notes.append), notes


def values(outcome):
    """(row, column) -> cell."""
    result = outcome.result
    found = {}
    for row in result.rows:
        for column, value in zip(result.exhibit.columns, row.cells, strict=True):
            found[row.row.name, column] = value
    return found


def test_cells_hold_published_ours_and_difference(finished) -> None:
    _, outcome, _ = finished
    cells = values(outcome)

    cell = cells["TransPrune-High", "pope"]
    assert cell.published == "85.0"
    assert cell.answered == cell.questions == 4
    assert cell.low <= cell.ours <= cell.high
    assert cell.difference == pytest.approx(cell.ours - 85.0)
    assert cell.difference_interval == pytest.approx((cell.low - 85, cell.high - 85))

    other = cells["TransPrune-High", "mme"]
    assert other.ours is None
    assert other.reason == "not asked for"


@pytest.mark.slow
def test_answers_equal_those_of_a_plain_question(finished) -> None:
    """The whole path gives what asking the same prompt one by one gives."""
    plan, _, _ = finished
    checkpoint = load("nano")
    for name in ("sqa", "pope"):
        items = {item.id: item for item in read_benchmark(BENCHMARKS[name], plan.data).items}
        for record in read_run(plan.out / "runs" / "nano" / f"{name}-4").records:
            item = items[record.item]
            inputs = prepare(checkpoint, [item.pictures[0]()], item.question)
            method = None if record.condition == "unpruned" else resolve(record.condition)
            answer = ask(checkpoint, inputs, method, BENCHMARKS[name].new_tokens)
            assert record.given == answer.text
            # the indices of kept tokens would fill the disk
            assert record.kept == {}


def test_acc_is_over_the_columns_that_there_are(finished) -> None:
    _, outcome, _ = finished
    row = outcome.result.rows[1]
    ratios = [
        100 * value.ours / full.ours
        for value, full in zip(row.cells, outcome.result.rows[0].cells, strict=True)
        if value.ours is not None and full.ours
    ]
    assert row.acc.ours == pytest.approx(sum(ratios) / len(ratios))
    assert row.acc_columns == len(ratios)
    published = {"sqa": 100 * 69.5 / 69.5, "pope": 100 * 85.0 / 85.9}
    columns = outcome.result.exhibit.columns
    full = dict(zip(columns, outcome.result.rows[0].cells, strict=True))
    there = [share for name, share in published.items() if full[name].ours]
    assert row.published_acc == pytest.approx(sum(there) / len(there))


def test_acc_over_some_columns_is_compared_with_these_only(finished) -> None:
    """The published `Acc.` is of all eight, so a difference from it would say nothing."""
    _, outcome, _ = finished
    row = outcome.result.rows[1]
    assert row.acc.published == "100.0"
    assert row.acc.difference == pytest.approx(row.acc.ours - row.published_acc, abs=1e-3)
    assert row.acc.reason.startswith(f"over {row.acc_columns} of 8 columns")
    assert row.acc.reason in outcome.page.read_text(encoding="utf-8")
    assert any(row.acc.reason in str(part) for part in result_tables(outcome.result))

    chart = draw_chart(outcome.result)
    assert chart.numbers["rows"][1]["published"] == pytest.approx(row.published_acc, abs=1e-3)


def test_the_page_and_the_json_say_the_same(finished) -> None:
    _, outcome, _ = finished
    page = outcome.page.read_text(encoding="utf-8")
    document = json.loads(outcome.page.with_name("result.json").read_text())

    assert document["comparable"] is False
    assert "Not to be compared as they stand" in page
    assert "only the first 4 questions" in page
    row = document["rows"][1]
    assert row["row"]["recipe"] == "transprune-high"
    assert row["cells"]["pope"]["ours"] == values(outcome)["TransPrune-High", "pope"].ours
    assert row["counted"]["cost"] == pytest.approx(1.557, abs=5e-4)
    assert (outcome.page.parent / "chart.png").is_file()


def test_nothing_is_answered_twice(finished) -> None:
    plan, outcome, _ = finished
    files = {}
    for file in (plan.out / "runs").rglob("records.jsonl"):
        files[file] = file.read_bytes()
    assert len(files) == 2

    again, notes = run_again(plan)
    assert values(again) == values(outcome)
    assert {file: file.read_bytes() for file in files} == files
    assert not any("answers to give" in note for note in notes)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(finished, tmp_path) -> None:
    plan, outcome, _ = finished
    out = tmp_path / "out"
    shutil.copytree(plan.out, out)
    file = out / "runs" / "nano" / "pope-4" / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)

    # the last answers are lost, one of them half written
    file.write_bytes(b"".join(lines[:-3]) + lines[-3][:50])
    again, notes = run_again(replace(plan, out=out))
    assert sorted(file.read_bytes().splitlines(keepends=True)) == sorted(lines)
    assert values(again) == values(outcome)
    assert any("3 answers to give, at most about" in note for note in notes)


@pytest.mark.slow
def test_another_table_takes_the_answers_that_there_are(finished, data) -> None:
    plan, _, _ = finished
    other = replace(plan, exhibit="table12", rows=("IGA + TTV",), benchmarks=("sqa",))
    outcome, notes = run_again(other)
    assert values(outcome)["IGA + TTV", "sqa"].answered == 4
    assert not any("answers to give" in note for note in notes)


def test_missing_data_empties_its_column_only(data, tmp_path) -> None:
    part = tmp_path / "data"
    shutil.copytree(data / "lmms-lab" / "POPE", part / "lmms-lab" / "POPE")
    plan = small_plan(tmp_path / "out", part, rows=("unpruned",), limit=4)
    outcome, notes = run_again(plan)

    cells = values(outcome)
    assert cells["unpruned", "pope"].answered == 4
    assert "no data" in cells["unpruned", "sqa"].reason
    assert "hf download" in cells["unpruned", "sqa"].reason
    assert any(note.startswith("sqa: no data") for note in notes)
    assert "hf download" in outcome.page.read_text(encoding="utf-8")


def test_data_with_too_few_questions_are_not_taken_for_all(data, tmp_path) -> None:
    """As after a download that was stopped: one file of three."""
    judge = Judge("http://127.0.0.1:9/v1", "nobody")
    plan = small_plan(
        tmp_path, data, rows=("unpruned",), benchmarks=("pope",), limit=None, judge=judge
    )
    outcome, notes = run_again(plan)
    assert any(note.startswith("the judge is not asked") for note in notes)
    cell = values(outcome)["unpruned", "pope"]
    sentence = f"the data have {cell.questions} usable questions, the benchmark has 9000"
    assert cell.reason == sentence
    assert f"pope: {sentence}" in notes
    assert not outcome.result.comparable
    assert f"of pope {sentence}" in comparison_words(outcome.result)

    # nor where the model is the published one
    published = replace(outcome.result, model=outcome.result.exhibit.model)
    assert not published.comparable
    assert comparison_words(published).startswith("Not to be compared as they stand: of pope the")
    assert replace(published, shortages={}).comparable


def test_no_data_at_all_is_an_error(tmp_path) -> None:
    plan = small_plan(tmp_path / "out", tmp_path / "nothing", rows=("unpruned",))
    with pytest.raises(BenchError, match=r"no benchmark of Table 1 can be asked: .*no data"):
        run_again(plan)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=("gpu", "host", "cublas"),
)
@pytest.mark.slow
def test_a_row_out_of_memory_leaves_the_others(error, data, tmp_path, monkeypatch) -> None:
    real = benchmark_module.answer_trial

    def fail(log, manifest, questions, tasks, trial, **options):
        if trial.method is not None:
            raise error
        return real(log, manifest, questions, tasks, trial, **options)

    monkeypatch.setattr(benchmark_module, "answer_trial", fail)
    plan = small_plan(tmp_path / "out", data, benchmarks=("pope",), limit=2)
    outcome, _ = run_again(plan)
    cells = values(outcome)
    assert cells["unpruned", "pope"].answered == 2
    reason = cells["TransPrune-High", "pope"].reason
    assert reason == "out of memory with batches of 8; run again with a smaller --batch-size"

    # and the next call gives what was missing
    monkeypatch.undo()
    again, _ = run_again(plan)
    assert values(again)["TransPrune-High", "pope"].answered == 2
    assert values(again)["TransPrune-High", "pope"].reason == ""


@pytest.mark.slow
def test_another_error_is_not_swallowed(data, tmp_path, monkeypatch) -> None:
    def fail(*args, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(benchmark_module, "answer_trial", fail)
    plan = small_plan(tmp_path / "out", data, rows=("unpruned",), benchmarks=("pope",), limit=2)
    with pytest.raises(RuntimeError, match="a bug"):
        run_again(plan)


@pytest.mark.slow
def test_a_method_that_the_model_cannot_run_gives_its_reason(data, tmp_path, monkeypatch) -> None:
    def refuse(self, key, method, on_answers):
        raise TaskError("the tower has no CLS token")

    monkeypatch.setattr(benchmark_module.BenchmarkRun, "answer", refuse)
    plan = small_plan(tmp_path / "out", data, rows=("unpruned",), benchmarks=("pope",), limit=2)
    outcome, _ = run_again(plan)
    assert values(outcome)["unpruned", "pope"].reason == "the tower has no CLS token"


@pytest.mark.slow
def test_damaged_pictures_are_left_out_and_named(data, tmp_path) -> None:
    def damage(rows) -> None:
        rows[0]["image"] = {"bytes": b"no picture", "path": "x"}

    part = changed(data, tmp_path / "data", "pope", damage)
    plan = small_plan(tmp_path / "out", part, rows=("unpruned",), benchmarks=("pope",), limit=4)
    outcome, notes = run_again(plan)
    cell = values(outcome)["unpruned", "pope"]
    assert cell.answered == 3
    assert cell.reason == "3 of 4 questions answered"
    assert any("left out" in note and "damaged picture" in note for note in notes)


@pytest.mark.slow
def test_other_settings_need_another_folder(finished) -> None:
    plan, _, _ = finished
    loading = replace(plan.loading, attention="eager")
    with pytest.raises(RecordError, match="attention was 'sdpa', now 'eager'"):
        run_again(replace(plan, loading=loading))


def test_unknown_rows_and_benchmarks_are_refused(data, tmp_path) -> None:
    with pytest.raises(BenchError, match="has no row 'fastv'"):
        run_again(small_plan(tmp_path / "out", data, rows=("fastv",)))
    with pytest.raises(BenchError, match="has no benchmark poppe; it has mme"):
        run_again(small_plan(tmp_path / "out", data, benchmarks=("poppe",)))


def test_a_table_of_costs_needs_no_model_and_no_data(tmp_path) -> None:
    outcome, _ = run_again(small_plan(tmp_path, tmp_path, exhibit="tableS1", rows=()))
    assert outcome.result.model == ""
    assert [f"{row.counted.cost:.2f}" for row in outcome.result.rows] == [
        *("1.56", "1.19"),
        *("8.33", "6.41"),
    ]
    assert "nothing was run" in outcome.page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_table_of_times_measures_them(data, tmp_path) -> None:
    plan = small_plan(
        tmp_path, data, exhibit="table8", rows=("TransPrune",), benchmarks=(), limit=2
    )
    outcome, _ = run_again(plan)
    timing = outcome.result.rows[0].timing
    assert timing.questions == 2
    assert 0 < timing.low <= timing.milliseconds <= timing.high
    # 9 MB of weights in half precision are some 18 MB in single
    assert 0.005 < timing.gigabytes < 0.5
    assert "111.4" in outcome.page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_figure_is_drawn(data, tmp_path) -> None:
    outcome, _ = run_again(small_plan(tmp_path, data, exhibit="figure5", limit=6))
    assert outcome.result is None
    assert len(list(tmp_path.glob("figure5/*.png"))) == 3
    page = outcome.page.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 3
    assert "Drawn from nano" in page


def test_times_and_differences_are_readable() -> None:
    assert [duration(seconds) for seconds in (0.2, 40, 300, 7200)] == [
        *("a second", "40 seconds", "5.0 minutes", "2.0 hours")
    ]
    assert [signed(value) for value in (-1e-14, -0.26, 1540.4)] == ["+0.0", "-0.3", "+1540"]


def test_values_without_a_partner_have_no_difference() -> None:
    assert Value("50.0", 50.0, 40.0, 60.0, compared_with="-").difference is None
    assert Value("-", 50.0, 40.0, 60.0).difference is None
    assert Value("50.0").difference is None
    assert Value("50.0").difference_interval is None
