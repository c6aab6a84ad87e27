"""The same job on Ray: the same answers, and workers and jobs that are killed.

A job is a process of its own. All that belongs to it is known by a mark in its environment, so that
nothing else on the machine is touched.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from batch.conftest import read_answers, same, write_pictures
from batch.test_job import start, wait_for_parts
from transprune.batch import need_ray
from transprune.batch.cluster import Cluster, fitted, gpus_for
from transprune.batch.drivers.on_ray import Worker, _cause
from transprune.batch.drivers.tries import MOST, trying
from transprune.batch.parts import remove_unfinished
from transprune.batch.row import Row, Shard
from transprune.batch.settings import Work
from transprune.errors import BatchError, MissingExtra

MARK = "TRANSPRUNE_TEST"
ROWS = 80

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed (extra `ray`)"
)


def test_without_ray_the_cure_is_named(monkeypatch):
    monkeypatch.setattr("transprune.batch.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"transprune\[ray\]"):
        need_ray()


def test_more_workers_than_the_cluster_has_room_for_are_refused():
    """They would wait for ever, without a word."""

    class Ray:
        @staticmethod
        def cluster_resources():
            return {"CPU": 4.0, "GPU": 1.0}

    assert fitted(Ray, Cluster(3)) == Cluster(3)
    assert fitted(Ray, Cluster(1, cpus=3, gpus=None)) == Cluster(1, cpus=3, gpus=1)
    with pytest.raises(BatchError, match=r"needs 5 CPUs .and one for Ray itself., .* has 4"):
        fitted(Ray, Cluster(4))
    for gpus in (1, None):
        with pytest.raises(BatchError, match=r"needs 2 GPUs .* has 1"):
            fitted(Ray, Cluster(2, gpus=gpus))
    assert [gpus_for(device) for device in ("cpu", "cuda", "auto")] == [0, 1, None]


def test_the_last_line_of_rays_errors_is_said():
    error = RuntimeError("Traceback\n  File ...\nValueError: no\n\n")
    assert _cause(error) == "a worker cannot go on: ValueError: no"
    assert _cause(RuntimeError()) == "a worker cannot go on: RuntimeError"


def test_a_worker_reports_its_problem_instead_of_raising(tmp_path):
    packed = Shard(0, (Row("first", "a", "x", "a"),)).pack()
    worker = Worker(Work("in"), str(tmp_path))
    found = worker({"shard": [packed, packed]})
    assert list(found["written"]) == ["", ""]
    assert all("does not see" in text for text in found["problem"])

    (tmp_path / "batch.json").write_text("{}")
    worker = Worker(Work("in", method="fastv:layer=99"), str(tmp_path))
    assert "boundaries must lie in 1..15" in worker({"shard": [packed]})["problem"][0]


def test_a_shard_that_ends_its_workers_is_not_tried_for_ever(tmp_path):
    (tmp_path / "parts").mkdir()
    shard = Shard(0, (Row("first", "a", "x", "a"), Row("last", "b", "x", "b")))
    with trying(tmp_path, shard):
        pass
    for _ in range(MOST):
        # a process that ends here never comes back
        trying(tmp_path, shard).__enter__()
    with pytest.raises(BatchError, match=r"ended 3 times.*from 'first' to 'last'"):
        trying(tmp_path, shard).__enter__()
    remove_unfinished(tmp_path)
    with trying(tmp_path, shard):
        pass
    assert list((tmp_path / "parts").iterdir()) == []


# ---------------------------------------------------------------- with Ray


def processes(mark):
    """pid -> command line of every process of a job."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return found


def kill_all(mark, seconds=30):
    """End what is left of a job; the pids that were."""
    left = processes(mark)
    for pid in left:
        # it may have ended meanwhile
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Starts jobs on Ray; nothing of them is left when the test is over."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    folder = write_pictures(tmp_path / "in", ROWS)

    def begin(workers):
        process = start(folder, tmp_path / "out", "--ray", "--workers", workers)
        return process, mark

    yield begin
    kill_all(mark)


def check_all(tmp_path, run):
    """Every row once, with the answer of one process."""
    answers = read_answers(tmp_path / "out")
    assert run(tmp_path / "in", out="whole").code == 0
    whole = read_answers(tmp_path / "whole")
    assert answers.keys() == whole.keys()
    for id, row in answers.items():
        assert same(row) == {**same(whole[id]), "batch_size": row["batch_size"]}


@needs_ray
@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_is_started_again(job, run, tmp_path):
    process, mark = job("2")
    wait_for_parts(tmp_path / "out", 3, process, seconds=240)
    workers = [pid for pid, line in processes(mark).items() if "MapWorker" in line]
    assert len(workers) == 2
    before = {
        part: part.stat().st_mtime_ns for part in wait_for_parts(tmp_path / "out", 3, process)
    }
    os.kill(workers[0], signal.SIGKILL)

    assert process.wait(300) == 0
    assert all(part.stat().st_mtime_ns == written for part, written in before.items())
    check_all(tmp_path, run)
    # Ray's own processes end with the job
    deadline = time.monotonic() + 30
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(mark)


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_is_killed_goes_on_in_one_process(job, run, tmp_path):
    process, _ = job("1")
    wait_for_parts(tmp_path / "out", 3, process, seconds=240)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    # its workers may still write what they had begun; a new job does not wait for them
    before = {part: part.stat().st_mtime_ns for part in (tmp_path / "out" / "parts").glob("part-*")}
    done = run(tmp_path / "in", "--part-rows", 2, "--json")
    assert done.code == 0 and done.data["rows"] == ROWS
    assert all(part.stat().st_mtime_ns == written for part, written in before.items())
    check_all(tmp_path, run)
