"""The examples run as a reader would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
}  # spinning threads are slow where tests share the cores


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("quickstart.py", "boundaries 7, 9, 12 of 32 layers became 4, 5, 6 of 16"),
        pytest.param("ablations.py", "TTV alone", marks=pytest.mark.slow),
        pytest.param("video.py", "((6,), (16, 3, 3, 3))", marks=pytest.mark.slow),
    ],
)
def test_an_example_runs(name, expected):
    run = subprocess.run(
        [sys.executable, EXAMPLES / name],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )

    assert run.returncode == 0, run.stderr
    assert expected in run.stdout
