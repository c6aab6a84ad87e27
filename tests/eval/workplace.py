"""A working directory with all drawn data sets, and runs of lmms-eval in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from transprune.reproduce.smoke.write import draw_data


def make_workplace(place: Path) -> Path:
    """`datasets` takes a folder of the data set's name in the working directory before the hub."""
    draw_data(place / "sets")
    os.symlink(place / "sets" / "lmms-lab", place / "lmms-lab-encoder")
    return place


def evaluate(place: Path, out: Path, arguments: str, tasks, *more: str, **variables: str):
    """The results of a run, and the samples of each task."""
    command = [sys.executable, "-m", "lmms_eval", "--model", "transprune"]
    command += ["--model_args", arguments, "--tasks", ",".join(tasks), "--device", "cpu"]
    command += ["--output_path", str(out), "--log_samples", *more]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(place / "hf")}
    environment = {**os.environ, **offline, **variables}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    # tasks may leave files of their own in `submissions`
    found = [file for file in out.rglob("*_results.json") if "submissions" not in file.parts]
    assert found, done.stdout[-3000:] + done.stderr[-3000:]
    samples = {}
    for task in tasks:
        lines = next(out.rglob(f"*_samples_{task}.jsonl")).read_text().splitlines()
        samples[task] = [json.loads(line) for line in lines]
    return json.loads(found[0].read_text()), samples
