"""Scenes as files: the benchmark reads them all, strictly, and they are the scenes that were drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from smol.little import little_world
from transprune.bench.data.tasks import load_tasks
from transprune.errors import SceneError
from transprune.smol.export import write_scenes
from transprune.smol.phrasings import PHRASINGS
from transprune.smol.scenes import draw

WORLD = little_world()


def test_the_benchmark_reads_every_question(tmp_path) -> None:
    count = write_scenes(WORLD, tmp_path, "validation", range(2, 6))
    questions = load_tasks(str(tmp_path), strict=True)
    assert len(questions.items) == count > 20
    lines = (tmp_path / "questions.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len({record["id"] for record in records}) == count
    assert {"exist", "count", "where"} <= {record["family"] for record in records}

    picture = np.asarray(Image.open(tmp_path / "validation-3.png"))
    assert np.array_equal(picture, draw(WORLD, "validation", 3).pixels)


def test_unseen_kinds_and_new_phrasings(tmp_path) -> None:
    write_scenes(WORLD, tmp_path, "test", range(2), unseen=True, held_out=True)
    picture = np.asarray(Image.open(tmp_path / "test-unseen-1.png"))
    assert np.array_equal(picture, draw(WORLD, "test", 1, unseen=True).pixels)

    lines = (tmp_path / "questions.jsonl").read_text().splitlines()
    texts = [json.loads(line)["question"] for line in lines]
    start = PHRASINGS["exist"][-1].partition("{")[0]
    assert sum(text.startswith(start) for text in texts) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    file = tmp_path / "taken"
    file.write_text("")
    with pytest.raises(SceneError, match="taken"):
        write_scenes(WORLD, file, "test", range(1))
