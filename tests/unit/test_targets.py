"""Places that cannot be written are found, and the search leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from transprune.core.targets import file_problem, folder_problem

LONG = "x" * 300


@pytest.fixture
def taken(tmp_path) -> Path:
    """A file where a folder would have to be."""
    file = tmp_path / "taken"
    file.write_text("mine")
    return file


def test_folders_that_can_be_written(tmp_path) -> None:
    assert folder_problem(tmp_path) == ""
    assert folder_problem(tmp_path / "a" / "b" / "c") == ""
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_problem("out") == ""
    assert folder_problem(".") == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inside", ["", "a", "a/b"])
def test_a_file_is_in_the_way(taken, inside) -> None:
    problem = folder_problem(taken / inside)
    assert f"{taken} is a file" in problem
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("name", ["/proc/out", "/proc/self/out/a", "a\0b", LONG, f"a/{LONG}"])
def test_folders_that_cannot_be_made(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    problem = folder_problem(name)
    assert "cannot write" in problem
    assert len(problem.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_files_that_can_be_written(taken) -> None:
    assert file_problem(taken) == ""
    assert taken.read_text() == "mine"

    new = taken.with_name("new.png")
    assert file_problem(new) == ""
    assert not new.exists()


def test_files_that_cannot_be_written(tmp_path, taken) -> None:
    assert "is a folder" in file_problem(tmp_path)
    assert "no folder" in file_problem(tmp_path / "missing" / "a.png")
    assert "no folder" in file_problem(taken / "a.png")
    for name in ("/proc/a.png", str(tmp_path / LONG), "a\0.png"):
        assert "cannot write" in file_problem(name)
