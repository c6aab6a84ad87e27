"""Whole jobs by the command: the same answers in any form of input, resumed, refused, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import transprune
from batch.conftest import (
    QUESTION,
    QUESTIONS,
    encoded,
    read_answers,
    same,
    write_lines,
    write_parquet,
    write_pictures,
)
from transprune.batch.settings import work_folder
from transprune.methods.common.recipe import resolve

SOURCE = Path(transprune.__file__).parents[1]


def test_every_form_of_input_gives_the_same_answers(run, tmp_path, alone):
    folder = write_pictures(tmp_path / "pictures", 5)
    names = [f"{'ab'[number % 2]}/{number:02}.png" for number in range(5)]
    questions = [QUESTIONS[number % 3] for number in range(5)]
    lines = [
        {"image": f"pictures/{name}", "question": question, "id": name}
        for name, question in zip(names, questions, strict=True)
    ]
    write_lines(tmp_path / "rows.jsonl", lines)
    write_parquet(
        tmp_path / "rows.parquet",
        image=[encoded(number) for number in range(5)],
        question=questions,
        id=names,
    )

    done = run(tmp_path / "rows.jsonl", "--json", out="lines", question=None)
    assert done.code == 0 and done.data["rows"] == 5 and done.data["errors"] == 0
    assert run(tmp_path / "rows.parquet", out="parquet", question=None).code == 0
    lines, cells = read_answers(tmp_path / "lines"), read_answers(tmp_path / "parquet")
    for number, name in enumerate(names):
        expected = alone(questions[number], number).text
        assert lines[name]["answer"] == cells[name]["answer"] == expected
        assert lines[name]["source"] == f"pictures/{name}"

    assert run(folder, out="folder").code == 0
    found = read_answers(tmp_path / "folder")
    assert sorted(found) == sorted(names)
    assert found["a/00.png"]["answer"] == lines["a/00.png"]["answer"]
    assert "transformers" in found["a/00.png"]["versions"]
    assert found["a/00.png"]["weights"]


def test_a_second_start_does_nothing_again_and_a_grown_input_only_the_new_rows(run, tmp_path):
    folder = write_pictures(tmp_path / "in", 6)
    first = run(folder, "--part-rows", 4, "--limit", 3, "--json")
    assert (first.data["rows"], first.data["now"]) == (3, 3)
    files = {file: file.read_bytes() for file in (tmp_path / "out" / "parts").iterdir()}

    again = run(folder, "--part-rows", 4, "--limit", 3, "--json")
    assert (again.data["rows"], again.data["now"]) == (3, 0)
    assert again.data["rows_per_second"] is None
    more = run(folder, "--part-rows", 2, "--json")
    assert (more.data["rows"], more.data["now"]) == (6, 3)
    (folder / "a" / "05.png").write_bytes(encoded(5))
    grown = run(folder, "--json")
    assert (grown.data["rows"], grown.data["now"]) == (7, 1)
    assert len(read_answers(tmp_path / "out")) == 7
    assert all(file.read_bytes() == content for file, content in files.items())
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["rows"] == 7 and summary["versions"]["transprune"]

    fewer = run(folder, "--limit", 2)
    assert "5 answers are of rows that the input, or --limit, no longer has" in fewer.err


def test_a_folder_of_another_job_is_refused_with_what_differs(run, tmp_path):
    folder = write_pictures(tmp_path / "in", 2)
    assert run(folder).code == 0
    other = run(folder, "--method", "unpruned")
    assert other.code == 1
    assert "method was 'transprune-high', now 'unpruned'" in other.err
    assert run(folder, question="what?").code == 1
    assert "max_new_tokens was 8, now 9" in run(folder, "--max-new-tokens", 9).err

    with work_folder(tmp_path / "out").alone():
        busy = run(folder)
    assert busy.code == 1 and "another process has a batch job going on" in busy.err
    inside = run(folder, out="in/out")
    assert inside.code == 1 and "lies in the folder of --input" in inside.err
    (tmp_path / "link").symlink_to(folder)
    inside = run(tmp_path / "link", out="in/out")
    assert inside.code == 1 and "lies in the folder of --input" in inside.err


def test_an_empty_question_is_refused(run, tmp_path):
    folder = write_pictures(tmp_path / "in", 1)
    for question in ("", "  "):
        done = run(folder, question=question)
        assert done.code == 1 and "--question is empty" in done.err
    assert not (tmp_path / "out").exists()


def test_a_job_that_does_not_get_the_folder_leaves_no_settings(run, tmp_path):
    """Two may start at once; the answers would stand beside the settings of the other."""
    folder = write_pictures(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    with work_folder(tmp_path / "out").alone():
        busy = run(folder)
    assert busy.code == 1 and "another process" in busy.err
    assert not (tmp_path / "out" / "batch.json").exists()
    # what a process leaves that ends behind its lock is no reason to refuse the folder
    assert run(folder).code == 0


def test_a_method_that_did_not_fit_does_not_keep_the_folder(run, tmp_path):
    folder = write_pictures(tmp_path / "in", 1)
    assert run(folder, "--method", "fastv:layer=99").code == 1
    assert "Did you mean" in run(folder, "--method", "transprun").err
    assert run(folder).code == 0


def test_names_of_files_do_not_depend_on_the_working_directory(run, tmp_path, monkeypatch):
    """A worker may have another one."""
    folder = write_pictures(tmp_path / "in", 1)
    resolve("transprune-low").save_pretrained(tmp_path / "mine")
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(folder.name, "--method", "mine").code == 0
    settings = json.loads((tmp_path / "out" / "batch.json").read_text())
    assert settings["method"] == str(tmp_path / "mine")
    assert settings["input"] == str(folder)
    assert settings["model"] == "nano"
    monkeypatch.chdir(folder)
    assert run(folder, "--method", "../mine").code == 0


def test_an_object_store_cannot_be_the_output(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_pictures(tmp_path / "in", 1)
    done = cli("batch", "--input", folder, "--question", "x", "--output", "s3://bucket/out")
    assert done.code == 1 and "upload it when the job is done" in done.err
    assert [file.name for file in tmp_path.iterdir()] == ["in"]


def test_errors_are_counted_and_a_job_of_errors_alone_fails(run, tmp_path):
    folder = write_pictures(tmp_path / "in", 2)
    (folder / "bad.png").write_bytes(b"no")
    done = run(folder)
    assert done.code == 0
    assert "errors, the most frequent first" in done.out and "bad.png" in done.out
    assert read_answers(tmp_path / "out")["bad.png"]["error"]

    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "bad.png").write_bytes(b"no")
    failed = run(lonely, out="failed")
    assert failed.code == 1 and "bad.png" in failed.out
    assert run(tmp_path / "nothing").code == 1


# ---------------------------------------------------------------- killed


def start(place, out, *options):
    command = [sys.executable, "-m", "transprune.cli", "batch", "--input", str(place)]
    command += ["--output", str(out), "--question", QUESTION, "--threads", "1"]
    command += ["--max-new-tokens", "8", "--batch-size", "1", "--part-rows", "2", *options]
    path = f"{SOURCE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )


def wait_for_parts(out, count, process, seconds=120):
    deadline = time.monotonic() + seconds
    while len(found := list((out / "parts").glob("part-*"))) < count:
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


@pytest.mark.slow
def test_a_job_that_was_killed_goes_on_without_a_row_lost_or_done_twice(run, tmp_path):
    folder = write_pictures(tmp_path / "in", 60)
    out = tmp_path / "out"
    process = start(folder, out)
    try:
        wait_for_parts(out, 3, process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)

    before = {file: file.stat().st_mtime_ns for file in (out / "parts").glob("part-*")}
    finished = read_answers(out)
    assert 6 <= len(finished) < 60
    done = run(folder, "--part-rows", 2, "--json")
    assert done.data["rows"] == 60 and done.data["now"] == 60 - len(finished)
    assert all(file.stat().st_mtime_ns == written for file, written in before.items())
    assert not list((out / "parts").glob(".*"))

    # what an undisturbed job answers
    assert run(folder, out="whole").code == 0
    whole = read_answers(tmp_path / "whole")
    answers = read_answers(out)
    assert answers.keys() == whole.keys()
    for id, row in answers.items():
        assert same(row) == {**same(whole[id]), "batch_size": row["batch_size"]}
