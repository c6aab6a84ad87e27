"""`transprune reproduce --engine lmms-eval`: the harness asks and scores, and the table is ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from reproduce.small import changed, small_plan
from transprune.bench.data.records import read_run
from transprune.cli.guard import quiet_libraries
from transprune.errors import BenchError
from transprune.methods.common.recipe import resolve
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load
from transprune.reproduce.launch import launch
from transprune.reproduce.smoke.write import draw_data

ROW = "TransPrune-High"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_data(tmp_path_factory.mktemp("data") / "sets")


def run_again(plan):
    """The cells of the only row, the outcome, and the notes."""
    notes: list[str] = []
    with quiet_libraries(bars=False):
        outcome = launch(plan, on_note=notes.append)
    columns = outcome.result.exhibit.columns
    cells = {}
    for row in outcome.result.rows:
        cells |= {(row.row.name, name): cell for name, cell in zip(columns, row.cells, strict=True)}
    return cells, outcome, notes


def engine_plan(out, data, **changes):
    settings = {"rows": (ROW,), "benchmarks": (), "limit": None, "engine": "lmms-eval"}
    return small_plan(out, data, **{**settings, **changes})


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Every benchmark of Table 1 under one row."""
    plan = engine_plan(tmp_path_factory.mktemp("engine"), data)
    return plan, *run_again(plan)


@pytest.mark.timeout(900)
def test_every_column_has_the_figure_of_lmms_eval(finished) -> None:
    """A figure that differs from lmms-eval's own of the same answers would be noted."""
    _, cells, outcome, notes = finished
    assert len(cells) == 8
    for place, cell in cells.items():
        assert cell.answered == cell.questions > 15, place
        # fewer questions than the benchmark has are named; there is nothing else to say
        assert not cell.reason or cell.reason.startswith("the data have ")
        assert cell.low <= cell.ours <= cell.high
    text = " ".join([*notes, *outcome.result.notes])
    assert "lmms-eval's figure" not in text
    assert "gives no figure" not in text
    assert outcome.result.setting["asked by"].startswith("lmms-eval 0.7")


@pytest.mark.timeout(900)
def test_answers_are_those_of_a_plain_question(finished) -> None:
    """Batched in the harness, as asked alone; the prompt is the harness's."""
    from transprune.reproduce.harness import HarnessRun

    plan, _, _, _ = finished
    checkpoint = load("nano")
    method = resolve("transprune-high")
    for name in ("sqa", "textvqa", "mmb"):
        run = HarnessRun.open(name, plan, checkpoint)
        items = {item.id: item for item in run.questions.items}
        for record in run.read().records[:8]:
            item = items[record.item]
            assert record.question == item.question
            inputs = prepare(checkpoint, [item.pictures[0]()], item.question)
            assert record.given == ask(checkpoint, inputs, method, 16).text
            assert record.exact_share < 0.6
            assert record.visual_tokens == 144


@pytest.mark.timeout(900)
def test_a_killed_run_goes_on(finished, tmp_path) -> None:
    plan, cells, _, _ = finished
    shutil.copytree(plan.out, tmp_path / "out")
    plan = replace(plan, out=tmp_path / "out", benchmarks=("pope",))
    file = plan.out / "runs-lmms-eval" / "nano" / "pope" / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-3]) + lines[-3][:40])

    again, _, notes = run_again(plan)
    assert again[ROW, "pope"] == cells[ROW, "pope"]
    assert sorted(file.read_bytes().splitlines(keepends=True)) == sorted(lines)
    assert any("3 answers to give" in note for note in notes)


@pytest.mark.timeout(900)
def test_another_folder_of_data_is_read_anew(data, tmp_path) -> None:
    """`datasets` would take its copy of the data set of the same name."""
    from transprune.reproduce.harness_tasks import load_task

    def other(rows) -> None:
        for row in rows:
            row["question"] = "is this another row ?"

    part = changed(data, tmp_path / "data", "pope", other)
    _, before = load_task("pope", data, 2, tmp_path / "out")
    _, after = load_task("pope", part, 2, tmp_path / "out")
    assert all("another row" in one.question for one in after)
    assert not any("another row" in one.question for one in before)


@pytest.mark.timeout(900)
def test_missing_and_damaged_data_leave_the_rest(data, tmp_path) -> None:
    def damage(rows) -> None:
        rows[1]["image"] = {"bytes": rows[1]["image"]["bytes"][:40], "path": "x.png"}

    part = changed(data, tmp_path / "data", "sqa", damage)
    plan = engine_plan(tmp_path / "out", part, benchmarks=("sqa", "gqa"), limit=4)
    cells, _, notes = run_again(plan)
    assert cells[ROW, "sqa"].answered == 3
    assert any("left out: question '1'" in note for note in notes)
    assert cells[ROW, "gqa"].ours is None
    assert "no data: lmms-eval cannot load the task gqa" in cells[ROW, "gqa"].reason
    assert "hf download --repo-type dataset lmms-lab/GQA" in cells[ROW, "gqa"].reason

    with pytest.raises(BenchError, match=r"no benchmark of Table 1 can be asked: .*no data"):
        run_again(replace(plan, data=tmp_path, out=tmp_path / "none", benchmarks=("gqa",)))


@pytest.mark.timeout(900)
def test_a_row_out_of_memory_leaves_the_others(data, tmp_path, monkeypatch) -> None:
    from transprune.integrations import lmms_base as plugin

    real = plugin.answer_together

    def fail(checkpoint, conversations, method, generation):
        if method is not None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return real(checkpoint, conversations, method, generation)

    monkeypatch.setattr(plugin, "answer_together", fail)
    plan = engine_plan(tmp_path / "out", data, rows=("unpruned", ROW), benchmarks=("sqa",), limit=3)
    cells, _, _ = run_again(plan)
    assert cells["unpruned", "sqa"].answered == 3
    assert cells[ROW, "sqa"].reason.startswith("out of memory with batches of 8")

    monkeypatch.undo()
    again, _, _ = run_again(plan)
    assert again[ROW, "sqa"].answered == 3
    assert again[ROW, "sqa"].reason == ""


@pytest.mark.timeout(900)
def test_two_processes_give_what_one_gives(finished, data, tmp_path) -> None:
    plan, _, _, _ = finished
    words = ["reproduce", "table1", "--model", "nano", "--data", str(data), "--row", ROW]
    words += ["--benchmark", "sqa", "--benchmark", "pope", "--engine", "lmms-eval"]
    words += ["--processes", "2", "--threads", "1", "--out", str(tmp_path), "--json"]
    command = [sys.executable, "-m", "transprune.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

    document = json.loads(done.stdout)
    assert document["setting"]["processes"] == 2
    for name in ("sqa", "pope"):
        mine = read_run(tmp_path / "runs-lmms-eval" / "nano" / name).records
        whole = read_run(plan.out / "runs-lmms-eval" / "nano" / name).records
        assert {one.item: one.given for one in mine} == {one.item: one.given for one in whole}
        assert len(mine) == len(whole)


@pytest.mark.timeout(900)
def test_videos_are_shown_to_a_model_of_pictures_as_pictures(data, tmp_path) -> None:
    plan = engine_plan(tmp_path, data, exhibit="table6", rows=("unpruned",), limit=3, smoke=True)
    plan = replace(plan, benchmarks=("tgif",))
    cells, _, notes = run_again(plan)
    assert cells["unpruned", "tgif"].answered == 3
    assert any("2 frames of each as pictures" in note for note in notes)
