"""A run may be killed at any moment; continued, it equals one that was never disturbed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from transprune.bench import launch
from transprune.bench.data.records import RECORDS_FILE, RecordLog, read_run
from transprune.errors import RecordError
from transprune.models.checkpoint import LoadOptions

METHODS = ("transprune", "fastv", "random", "oracle")  # as in conftest
OPTIONS = "--n 2 --budgets 41 --batch-size 4 --no-bill --threads 1 --json"


def _start(folder) -> subprocess.Popen:
    command = [sys.executable, "-m", "transprune.cli", "bench", *OPTIONS.split()]
    for name in METHODS:
        command += ["--methods", name]
    command += ["--out", str(folder)]

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _kill_after(lines: int, folder) -> bytes:
    """Start a run, kill it when it has so many answers, and return its records."""
    process = _start(folder)
    file = folder / RECORDS_FILE

    try:
        while not (file.exists() and file.read_bytes().count(b"\n") >= lines):
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()

    return file.read_bytes()


def _contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_killed_and_continued_equals_undisturbed(run, go, tmp_path) -> None:
    folder = tmp_path / "killed"
    left = _kill_after(6, folder)
    whole = left[: left.rindex(b"\n") + 1]
    assert 6 <= whole.count(b"\n") < len(run.records)

    go(folder)
    continued = (folder / RECORDS_FILE).read_bytes()
    assert continued.startswith(whole)
    assert continued == (run.folder / RECORDS_FILE).read_bytes()


def test_an_incomplete_answer_is_given_again(run, run_copy, go) -> None:
    file = run_copy / RECORDS_FILE
    before = file.read_bytes()
    file.write_bytes(before[:-40])

    continued = go(run_copy)
    for again, before_kill in zip(continued.records, run.records, strict=True):
        assert again.key == before_kill.key
    assert continued.records[-1].given == run.records[-1].given

    # all but the last line
    assert file.read_bytes().startswith(before[: before[:-1].rindex(b"\n") + 1])


def test_a_finished_run_is_left_as_it_is(run_copy, go) -> None:
    before = _contents(run_copy)
    go(run_copy)
    assert _contents(run_copy) == before


def test_further_methods_join_at_the_end(run, run_copy, go) -> None:
    continued = go(run_copy, methods=("uniform",))
    known = len(run.records)
    assert continued.records[:known] == run.records
    assert {record.condition for record in continued.records[known:]} == {"uniform@41"}

    before = [condition.name for condition in run.manifest.conditions]
    after = [condition.name for condition in continued.manifest.conditions]
    assert after == [*before, "uniform@41"]


def test_unpruned_comes_first(run) -> None:
    assert run.manifest.conditions[0].name == "unpruned"
    order = list(dict.fromkeys(record.condition for record in run.records))
    assert order == [condition.name for condition in run.manifest.conditions]


EAGER = LoadOptions(dtype="float32", attention="eager")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 3}, r"n was 2, now 3.*items was|items was .*n was 2, now 3"),
        ({"seed": 1}, "seed was 0, now 1"),
        ({"split": "validation"}, "split was 'test', now 'validation'"),
        ({"loading": EAGER}, "attention was 'sdpa', now 'eager'"),
        ({"max_new_tokens": 5}, "max_new_tokens was 2, now 5"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_settings_are_refused_and_nothing_is_touched(run_copy, go, changes, message) -> None:
    before = _contents(run_copy)
    with pytest.raises(RecordError, match=message):
        go(run_copy, **changes)
    assert _contents(run_copy) == before


def test_other_settings_are_refused_before_the_model_is_loaded(run_copy, monkeypatch) -> None:
    def load_nothing(*arguments):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(launch, "load", load_nothing)
    for changes in ({"n": 3}, {"n": 2, "seed": 1}, {"n": 2, "max_new_tokens": 5}):
        with pytest.raises(RecordError, match="other settings"):
            launch.launch(launch.Plan(run_copy, methods=("fastv",), **changes))


def test_a_folder_with_something_else_is_refused(go, tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RecordError, match="holds no run"):
        go(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX locks")
def test_two_writers_are_refused(run_copy, go) -> None:
    before = (run_copy / "run.json").read_bytes()
    with RecordLog(run_copy), pytest.raises(RecordError, match="another process is writing"):
        go(run_copy, methods=("uniform",))
    assert (run_copy / "run.json").read_bytes() == before
    assert read_run(run_copy).records
