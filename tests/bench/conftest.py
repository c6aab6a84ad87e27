"""The bundled model and a few questions, loaded once; records made by hand. Nothing here depends on how good it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transprune.bench.data.manifest import (
    Condition,
    Manifest,
    Settings,
    TaskInfo,
    write_manifest,
)
from transprune.bench.data.records import RECORDS_FILE, Record
from transprune.bench.data.tasks import load_tasks
from transprune.bench.launch import Plan, launch
from transprune.bench.run.prepared import PreparedQuestions
from transprune.cli.guard import quiet_libraries
from transprune.models.checkpoint import LoadOptions, load

METHODS = ("transprune", "fastv", "random", "oracle")


@pytest.fixture(scope="session")
def checkpoint():
    with quiet_libraries(bars=False):
        return load("nano", LoadOptions(dtype="float32", device="cpu"))


@pytest.fixture(scope="session")
def questions():
    return load_tasks("nano", n=3)


@pytest.fixture(scope="session")
def prompts(checkpoint, questions):
    return PreparedQuestions(checkpoint, questions.items)


@pytest.fixture(scope="session")
def go(checkpoint):
    """Run the benchmark in this process with the model loaded once; small batches, so that a run has many."""

    def loaded(source, options):
        if source == "nano" and options.attention == "sdpa":
            return checkpoint
        return load(source, options)

    def call(out, **changes):
        plan = {
            "methods": METHODS,
            "budgets": (0.41,),
            "n": 2,
            "batch_size": 4,
            "bill": False,
            **changes,
        }
        said = []
        with pytest.MonkeyPatch.context() as patch, quiet_libraries(bars=False):
            patch.setattr("transprune.bench.launch.load", loaded)
            run = launch(Plan(out, **plan), on_note=said.append)
        return replace(run, notes=(*run.notes, *said))

    return call


@pytest.fixture(scope="session")
def run(go, tmp_path_factory):
    """A finished, undisturbed run. Must stay untouched."""
    return go(tmp_path_factory.mktemp("bench") / "run")


@pytest.fixture
def run_copy(run, tmp_path):
    """The folder of that run, to be damaged."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in run.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def record():
    """A record with everything in it that may be in one."""

    def make(**changes):
        values = {
            "condition": "fastv@41",
            "task": "color",
            "item": "test/0/color",
            "image": "test/0",
            "family": "color",
            "kind": "",
            "question": 'what "color" is the größe ?',
            "answers": ("red", "crimson"),
            "given": "red\n\u2028",
            "score": 1.0,
            "method": "fastv",
            "method_repr": "FastV()",
            "recipe": {"method": "fastv", "layer": 2},
            "budget": 0.41,
            "exact_share": 0.41,
            "paper_share": 0.36,
            "kept": {2: [0, 5, 143], 9: [5]},
            "visual_tokens": 144,
            "kv_bytes": 1000,
            "positions": "keep",
            "model": "nano",
            "dtype": "float32",
            "attention": "sdpa",
            "seed": 0,
            "versions": {"torch": "2"},
        }
        return Record(**{**values, **changes})

    return make


@pytest.fixture
def write_run(record, tmp_path):
    """A run folder made of `condition -> task -> list of (image, score)`, for checking sums by hand."""

    def write(scores, metric="exact_match", methods=None):
        folder = tmp_path / "by-hand"
        folder.mkdir()
        conditions, lines, tasks = [], [], {}
        for name, by_task in scores.items():
            method, _, budget = name.partition("@")
            share = float(budget) / 100 if budget else None
            recipe = None if name == "unpruned" else {"method": method}
            conditions.append(
                Condition(name, method, "methods", share, method, recipe, 1.0, 1.0, (144,))
            )
            for task, answers in by_task.items():
                tasks[task] = TaskInfo(
                    task, metric, len(answers), len({image for image, _ in answers})
                )
                lines += [
                    record(
                        condition=name,
                        task=task,
                        item=f"{task}/{i}",
                        image=image,
                        score=score,
                        method=method,
                    )
                    for i, (image, score) in enumerate(answers)
                ]
        settings = Settings("nano", "", "nano", "", "test", 1, 0, "float32", "sdpa", "cpu", 2)
        write_manifest(
            folder,
            Manifest(
                settings, tuple(conditions), tuple(tasks.values()), {}, {}, {}, None, "", "", {}
            ),
        )
        (folder / RECORDS_FILE).write_text(
            "".join(line.to_json() + "\n" for line in lines), encoding="utf-8"
        )
        return folder

    return write


@pytest.fixture
def write_tasks(tmp_path):
    """A folder with pictures a.png and b.png and the given lines (objects, or bytes as they stand)."""

    def write(*lines, name="questions.jsonl") -> Path:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)
        for number, letter in enumerate("ab"):
            pixels = np.random.default_rng(number).integers(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{letter}.png")
        data = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        (folder / name).write_bytes(b"\n".join(data))
        return folder

    return write
