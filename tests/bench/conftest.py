"""The bundled model and a few questions, loaded once, and records made by hand.

No test depends on how good the model is.
"""

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
def prepared(checkpoint, questions):
    return PreparedQuestions(checkpoint, questions.items)


@pytest.fixture(scope="session")
def go(checkpoint):
    """Run the benchmark in this process with the model loaded once, in small batches."""

    def loaded(source, options):
        if source == "nano" and options.attention == "sdpa":
            return checkpoint
        return load(source, options)

    def call(out, **changes):
        plan = {
            "methods": METHODS,
            "budgets": (0.41,),
            "n": 2,
            "batch_size": 4,  # so that a run has many batches
            "bill": False,
            **changes,
        }
        notes = []

        with pytest.MonkeyPatch.context() as patch, quiet_libraries(bars=False):
            patch.setattr("transprune.bench.launch.load", loaded)
            run = launch(Plan(out, **plan), on_note=notes.append)

        return replace(run, notes=(*run.notes, *notes))

    return call


@pytest.fixture(scope="session")
def run(go, tmp_path_factory):
    """A finished, undisturbed run. Must stay untouched."""
    return go(tmp_path_factory.mktemp("bench") / "run")


@pytest.fixture
def run_copy(run, tmp_path):
    """A copy of that run's folder, to be damaged."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in run.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def record():
    """A function that makes records, with characters and fields that are hard to write."""

    def make(**changes):
        values = {
            # the question and its condition
            "condition": "fastv@41",
            "task": "color",
            "item": "test/0/color",
            "image": "test/0",
            "family": "color",
            "kind": "",
            "question": 'what "color" is the größe ?',
            "answers": ("red", "crimson"),
            # U+2028 ends a line for splitlines(), but not in JSON lines
            "given": "red\n\u2028",
            "score": 1.0,
            # the method
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
            # provenance
            "model": "nano",
            "dtype": "float32",
            "attention": "sdpa",
            "seed": 0,
            "versions": {"torch": "2"},
        }
        return Record(**{**values, **changes})

    return make


def _condition(name):
    method, _, percent = name.partition("@")

    return Condition(
        name=name,
        method=method,
        group="methods",
        budget=float(percent) / 100 if percent else None,
        method_repr=method,
        recipe=None if name == "unpruned" else {"method": method},
        exact_share=1.0,
        paper_share=1.0,
        tokens=(144,),
    )


@pytest.fixture
def write_run(record, tmp_path):
    """A function that writes a run from `condition -> task -> list of (image, score)`."""

    def write(scores, metric="exact_match"):
        folder = tmp_path / "by-hand"
        folder.mkdir()
        lines = []
        tasks = {}

        for name, by_task in scores.items():
            method = name.partition("@")[0]
            for task, answers in by_task.items():
                images = {image for image, _ in answers}
                tasks[task] = TaskInfo(task, metric, len(answers), len(images))

                for number, (image, score) in enumerate(answers):
                    made = record(
                        condition=name,
                        task=task,
                        item=f"{task}/{number}",
                        image=image,
                        score=score,
                        method=method,
                    )
                    lines.append(made.to_json() + "\n")

        # the summary reads conditions and tasks only
        manifest = Manifest(
            settings=Settings("nano", "", "nano", "", "test", 1, 0, "float32", "sdpa", "cpu", 2),
            conditions=tuple(_condition(name) for name in scores),
            tasks=tuple(tasks.values()),
            prompt={},
            geometry={},
            versions={},
            commit=None,
            started="",
            command="",
            machine={},
        )
        write_manifest(folder, manifest)
        (folder / RECORDS_FILE).write_text("".join(lines), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def write_tasks(tmp_path):
    """A function that writes lines (objects, or bytes) beside the pictures a.png and b.png."""

    def write(*lines, name="questions.jsonl") -> Path:
        folder = tmp_path / "tasks"
        folder.mkdir(exist_ok=True)

        for number, letter in enumerate("ab"):
            pixels = np.random.default_rng(number).integers(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{letter}.png")

        content = []
        for line in lines:
            content.append(line if isinstance(line, bytes) else json.dumps(line).encode())
        (folder / name).write_bytes(b"\n".join(content))
        return folder

    return write
