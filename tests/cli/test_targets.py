"""A place that cannot be written is refused in every command, before anything is loaded."""

from __future__ import annotations

import pytest

from transprune import demo
from transprune.models import checkpoint

SCENE = demo.folder() / "pictures" / "scene1.png"
RUN = ("run", "--model", "nano", "--image", SCENE, "--question", "what is it?", "--overlay")

# the command, up to the place it writes to
FOLDERS = {
    "bench": ("bench", "--n", "1", "--methods", "fastv", "--out"),
    "nano scenes": ("nano", "scenes", "--count", "1", "--out"),
    "nano train": ("nano", "train", "--recipe", "miniature", "--out"),
}
FILES = {"run": RUN}


@pytest.fixture(autouse=True)
def no_model(monkeypatch) -> None:
    """Loading weights is work, so it must not be reached."""

    def load(*arguments) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(checkpoint, "load_weights", load)


@pytest.fixture
def refused(cli):
    def call(*arguments):
        result = cli(*arguments)
        said = " ".join(result.err.split())
        assert result.code == 2
        assert result.out == ""
        assert "Traceback" not in said
        assert arguments[-2] in said  # the option
        return said

    return call


@pytest.mark.parametrize("command", FOLDERS)
def test_folders(refused, tmp_path, command) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for place in (taken, taken / "run", "/proc/out", tmp_path / ("x" * 300)):
        assert "cannot write into" in refused(*FOLDERS[command], place)

    assert taken.read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("command", FILES)
def test_files(refused, tmp_path, command) -> None:
    folder = tmp_path / "kept.png"
    folder.mkdir()
    assert "it is a folder" in refused(*FILES[command], folder)
    assert "no folder" in refused(*FILES[command], tmp_path / "missing" / "kept.png")
    for place in ("/proc/kept.png", tmp_path / f"{'x' * 300}.png"):
        assert "cannot write" in refused(*FILES[command], place)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["kept.txt", "kept", "kept.psd", "kept.png.", ".png"])
def test_an_overlay_needs_a_format_that_can_be_written(refused, tmp_path, name) -> None:
    assert "image suffix" in refused(*RUN, tmp_path / name)


def test_a_bench_folder_with_something_else_is_refused_at_once(cli, tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    result = cli(*FOLDERS["bench"], tmp_path)
    assert result.code == 1
    assert "holds no run" in result.err

    (tmp_path / "run.json").write_text('{"schema": 1')
    result = cli(*FOLDERS["bench"], tmp_path)
    assert result.code == 1
    assert "run.json is damaged" in result.err
    assert result.err.count("\n") == 1
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_plot_needs_a_run_and_a_file(cli, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "plot.png"
    folder.mkdir()
    missing = cli("nano", "plot", "--run", tmp_path / "missing", "--out", folder)
    assert missing.code == 1
    assert "no logs" in missing.err
    wrong = cli("nano", "plot", "--run", tmp_path, "--out", folder)
    assert wrong.code == 2
    assert "it is a folder" in wrong.err
    other = cli("nano", "plot", "--run", tmp_path, "--out", tmp_path / "plot.txt")
    assert other.code == 2
    assert "suffix .png" in other.err
