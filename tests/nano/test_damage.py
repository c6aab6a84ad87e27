"""Damaged files of a training run, and places it cannot write to, are errors of one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from transprune import nano
from transprune.errors import CheckpointError, SceneError, TrainingError
from transprune.nano.evaluate import load_trained
from transprune.nano.export import write_scenes
from transprune.nano.train.log import Log, read_log
from transprune.nano.train.plot import plot_run
from transprune.nano.train.recipe import MINIATURE
from transprune.nano.train.run import train


def run(folder: Path) -> None:
    train(MINIATURE, folder, lambda *step: None, torch.device("cpu"), 1, compiled=False)


def one_line(error) -> None:
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", '{"vision": 1}', "null"])
def test_settings(tmp_path, text) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(TrainingError, match="settings") as error:
        run(tmp_path)
    one_line(error)
    assert [file.name for file in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x04.", b"words", b"\x00" * 99])
def test_a_stage(tmp_path, content) -> None:
    (tmp_path / "vision.pt").write_bytes(content)
    with pytest.raises(TrainingError, match="remove it to start over") as error:
        run(tmp_path)
    one_line(error)
    assert (tmp_path / "vision.pt").read_bytes() == content


def test_a_stage_of_another_shape(tmp_path) -> None:
    torch.save({"step": 1, "module": {"x": torch.zeros(1)}}, tmp_path / "vision.pt")
    with pytest.raises(TrainingError, match="another architecture") as error:
        run(tmp_path)
    one_line(error)


def test_places_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "taken").write_text("mine")
    for place in (tmp_path / "taken", tmp_path / "taken" / "run", Path("/proc/run")):
        with pytest.raises(TrainingError, match="cannot read or write") as error:
            run(place)
        one_line(error)
        with pytest.raises(SceneError, match="cannot write") as error:
            write_scenes(place, "demo", range(1))
        one_line(error)
    assert (tmp_path / "taken").read_text() == "mine"


LINES = [
    b'{"step": 1, "seconds": 1.0, "loss": 2.0}',
    b"[" * 100_000,
    b"[1]",
    b"\xff\xfe",
    b'{"step": "two", "seconds": 1.0, "loss": 2.0}',
    b'{"seconds": 1.0, "loss": 2.0}',
    b'{"step": 3, "seconds": 2.0, "loss": 1.0}',
    b'{"step": 4, "sec',
]


def test_a_log_keeps_its_good_lines(tmp_path) -> None:
    file = tmp_path / "vision.jsonl"
    file.write_bytes(b"\n".join(LINES))
    assert [line["step"] for line in read_log(file)] == [1, 3]

    pytest.importorskip("matplotlib")
    plot_run(tmp_path, tmp_path / "plot.png")
    with pytest.raises(TrainingError, match="cannot write") as error:
        plot_run(tmp_path, tmp_path / "missing" / "plot.png")
    one_line(error)

    Log(file, first=1)  # what comes after the checkpoint goes
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1]


def copy(folder: Path) -> Path:
    return Path(shutil.copytree(nano.path(), folder / "model"))


@pytest.mark.parametrize("share", [0, 0.5])
def test_weights_that_are_cut(tmp_path, share) -> None:
    file = copy(tmp_path) / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="cannot be loaded") as error:
        load_trained(file.parent)
    one_line(error)


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path) -> None:
    file = copy(tmp_path) / "model.safetensors"
    weights = load_file(file)
    gone = next(name for name in weights if name.endswith("layers.3.self_attn.q_proj.weight"))
    del weights[gone]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights, the first: .*q_proj"):
        load_trained(file.parent)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_type": "juggler"}', "[" * 100_000])
def test_a_configuration(tmp_path, text) -> None:
    folder = copy(tmp_path)
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError) as error:
        load_trained(folder)
    one_line(error)
