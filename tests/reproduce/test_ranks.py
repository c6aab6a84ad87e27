"""Several processes that answer one table: shares, parts of records, and what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reproduce.small import small_plan
from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.read import read_benchmark
from transprune.bench.data.records import merge_parts, read_run
from transprune.errors import BenchError, RecordError, TaskError
from transprune.models.checkpoint import load
from transprune.reproduce.benchmark import BenchmarkRun
from transprune.reproduce.processes import run_together
from transprune.reproduce.ranks import Ranks, join, own_device


def run_of(rank: int, size: int, out: Path, data: Path) -> BenchmarkRun:
    """A small run as one of several processes has it."""
    plan = small_plan(out, data)
    questions = read_benchmark(BENCHMARKS["pope"], data, plan.limit)
    return BenchmarkRun(BENCHMARKS["pope"], plan, load("nano"), questions, ranks=Ranks(rank, size))


def answer_all(run: BenchmarkRun) -> int:
    found: list[int] = []
    run.answer("unpruned", None, found.append)
    return sum(found)


def answers_in(folder: Path, condition: str = "unpruned") -> dict[str, str]:
    records = read_run(folder).records
    assert len({record.key for record in records}) == len(records)
    return {one.item: one.given for one in records if one.condition == condition}


def test_the_shares_of_all_processes_make_the_whole(finished, data, tmp_path) -> None:
    plan, _, _ = finished
    runs = [run_of(rank, 3, tmp_path, data) for rank in range(3)]
    runs[0].begin("unpruned", None)
    counts = [answer_all(run) for run in runs]
    # two pictures of two questions each: a picture belongs to one process
    assert counts == [2, 2, 0]
    assert len(list(runs[0].folder.glob("*.part.jsonl"))) == 3

    runs[0].merge()
    assert not list(runs[0].folder.glob("*.part.jsonl"))
    assert answers_in(runs[0].folder) == answers_in(plan.out / "runs" / "nano" / "pope-4")


def test_another_number_of_processes_goes_on(data, tmp_path) -> None:
    """One of two processes answered, and its last line is half written; one process ends it."""
    half = run_of(0, 2, tmp_path, data)
    half.begin("unpruned", None)
    assert answer_all(half) == 2
    part = next(half.folder.glob("*.part.jsonl"))
    part.write_bytes(part.read_bytes()[:-20])

    rest = BenchmarkRun.open("pope", half.plan, half.checkpoint)
    assert rest.count_open("unpruned") == 3
    assert answer_all(rest) == 3
    assert len(answers_in(rest.folder)) == 4


def test_a_kill_between_the_steps_of_a_merge_counts_nothing_twice(data, tmp_path) -> None:
    run = run_of(0, 2, tmp_path, data)
    run.begin("unpruned", None)
    answer_all(run)
    part = next(run.folder.glob("*.part.jsonl"))
    content = part.read_bytes()

    assert merge_parts(run.folder) == 2
    part.write_bytes(content)
    assert merge_parts(run.folder) == 0
    assert len(answers_in(run.folder)) == 2


def test_a_damaged_part_is_named_and_stays(data, tmp_path) -> None:
    run = run_of(0, 2, tmp_path, data)
    run.begin("unpruned", None)
    answer_all(run)
    part = next(run.folder.glob("*.part.jsonl"))
    part.write_bytes(b"nonsense\n" + part.read_bytes())
    with pytest.raises(RecordError, match=r"records-0\.part\.jsonl, line 1"):
        merge_parts(run.folder)
    assert part.exists()


def test_alone_nobody_waits() -> None:
    ranks = join("cpu")
    assert (ranks.rank, ranks.size, ranks.first) == (0, 1, True)
    assert ranks.gather("one") == ["one"]
    with ranks.first_alone():
        ranks.wait()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_failure_of_the_first_does_not_leave_the_others_waiting(rank, monkeypatch) -> None:
    """Every process waits equally often, whatever happens in the block."""
    waits: list[int] = []
    monkeypatch.setattr(Ranks, "wait", lambda self: waits.append(self.rank))
    with pytest.raises(TaskError), Ranks(rank, 2).first_alone():
        raise TaskError("no data")
    assert waits == [rank]


def test_each_process_has_its_own_gpu(monkeypatch) -> None:
    import torch

    loading = small_plan(Path("out"), Path("data")).loading
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device(loading, Ranks(7, 8)).device == "cuda:3"
    assert own_device(loading, Ranks()).device == loading.device


SCRIPT = """
import os, sys, time
rank = int(os.environ["RANK"])
print("hello from", rank, "of", os.environ["WORLD_SIZE"], flush=True)
if len(sys.argv) > 1 and rank == int(sys.argv[1]):
    sys.exit(3)
if len(sys.argv) > 1:
    time.sleep(60)
"""


def test_processes_are_started_and_waited_for(tmp_path) -> None:
    run_together(("-c", SCRIPT), 3, tmp_path)
    assert (tmp_path / "process-2.log").read_text() == "hello from 2 of 3\n"
    assert not (tmp_path / "process-0.log").exists()


def test_when_one_fails_the_others_are_stopped(tmp_path) -> None:
    start = time.monotonic()
    with pytest.raises(BenchError, match=r"process 1 of 2 ended with code 3; .*process-1\.log"):
        run_together(("-c", SCRIPT, "1"), 2, tmp_path)
    assert time.monotonic() - start < 30


def command(out: Path, processes: int, limit: int = 12) -> list[str]:
    words = ["reproduce", "table1", "--smoke", "--limit", str(limit), "--threads", "1"]
    words += ["--row", "unpruned", "--row", "TransPrune-High", "--benchmark", "gqa"]
    words += ["--benchmark", "pope", "--processes", str(processes), "--out", str(out)]
    return [sys.executable, "-m", "transprune.cli", *words, "--batch-size", "2"]


def all_answers(out: Path) -> dict:
    found = {}
    for name in ("gqa", "pope"):
        folder = next((out / "runs" / "nano").glob(f"{name}*"))
        for condition in ("unpruned", "transprune-high"):
            found[name, condition] = answers_in(folder, condition)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_give_what_one_gives(tmp_path) -> None:
    """Over gloo, on the CPU."""
    documents = {}
    for count in (1, 2):
        out = tmp_path / str(count)
        subprocess.run(command(out, count), check=True, capture_output=True)
        documents[count] = json.loads((out / "table1-smoke" / "result.json").read_text())
    assert all_answers(tmp_path / "1") == all_answers(tmp_path / "2")

    for one, two in zip(documents[1]["rows"], documents[2]["rows"], strict=True):
        assert one["cells"] == two["cells"]
    assert documents[2]["setting"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_with_another_number_of_processes(tmp_path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        command(out, 2, 20), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        wait_for_answers(out)
        os.killpg(process.pid, signal.SIGKILL)

    before = count_lines(out)
    assert 0 < before < 80
    subprocess.run(command(out, 3, 20), check=True, capture_output=True)
    assert {len(found) for found in all_answers(out).values()} == {20}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_column_without_data_stops_none_of_two_processes(data, tmp_path) -> None:
    shutil.copytree(data / "lmms-lab" / "GQA", tmp_path / "data" / "lmms-lab" / "GQA")
    words = [word for word in command(tmp_path / "out", 2, 4) if word != "--smoke"]
    words += ["--model", "nano", "--data", str(tmp_path / "data")]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=500)
    assert "pope: no data" in done.stderr
    document = json.loads((tmp_path / "out" / "table1" / "result.json").read_text())
    assert document["rows"][1]["cells"]["gqa"]["answered"] == 4
    assert "no data" in document["rows"][1]["cells"]["pope"]["reason"]


def wait_for_answers(out: Path) -> None:
    for _ in range(1200):
        if count_lines(out):
            return
        time.sleep(0.1)
    raise AssertionError("no answer in two minutes")


def count_lines(out: Path) -> int:
    files = (out / "runs").rglob("records*.jsonl")
    return sum(file.read_bytes().count(b"\n") for file in files)
