"""Scenes and questions of the second test bed as tasks of the benchmark."""

from __future__ import annotations

import json

import numpy as np
import pytest

from smol.little import little_world
from transprune.bench.data.tasks import load_tasks
from transprune.bench.data.tasks.beds import BEDS
from transprune.bench.data.tasks.beds import smol as module
from transprune.errors import SceneError
from transprune.smol import HOME_VARIABLE
from transprune.smol.architecture import ANSWER
from transprune.smol.export import write_scenes
from transprune.smol.phrasings import PHRASINGS
from transprune.smol.questions import CATEGORIES
from transprune.smol.scenes import draw
from transprune.smol.vision import GRID

WORLD = little_world()


def test_the_bed_knows_the_model() -> None:
    """Its constants are repeated, because the architecture is not imported for questions alone."""
    bed = BEDS["smol"]
    assert bed.answer_tokens == ANSWER
    assert bed.grid == (GRID, GRID)
    assert bed.categories == CATEGORIES


def test_questions_are_those_of_the_exported_scenes(little_scenes, tmp_path) -> None:
    write_scenes(WORLD, tmp_path, "test", range(4))
    lines = (tmp_path / "questions.jsonl").read_text().splitlines()
    exported = [json.loads(line) for line in lines]

    questions = load_tasks("smol", n=4)
    asked = {(item.question, item.answers) for item in questions.items}
    assert asked == {(line["question"], tuple(line["answers"])) for line in exported}
    assert len({item.id for item in questions.items}) == len(questions.items) == len(exported)
    assert {task.name: task.metric.name for task in questions.tasks if task.name == "mc"}[
        "mc"
    ] == "mc"


@pytest.mark.parametrize("name", ["smol", "smol-unseen"])
def test_targets_are_the_patches_of_the_things(little_scenes, name) -> None:
    bed = BEDS[name]
    unseen = name == "smol-unseen"
    for item in bed.ask("validation", 3).items:
        number = int(item.image.split("/")[1])
        scene = draw(WORLD, "validation", number, unseen=unseen)
        assert np.array_equal(np.asarray(item.pictures[0]()), scene.pixels)
        assert np.array_equal(bed.objects(item.image), scene.owner >= 0)
        for tokens in item.relevant:
            owners = {int(scene.owner[token]) for token in tokens}
            assert len(owners) <= 1 and len(tokens) == sum(
                scene.owner == owners.pop() if owners else []
            )


def test_phrasings_are_of_the_same_pictures(little_scenes) -> None:
    trained, new = load_tasks("smol", n=4), load_tasks("smol-phrasings", n=4)
    assert {item.image for item in trained.items} == {item.image for item in new.items}
    start = PHRASINGS["exist"][-1].partition("{")[0]
    texts = [item.question for item in new.items if item.family == "exist"]
    assert texts and all(text.startswith(start) for text in texts)
    assert not any(item.question.startswith(start) for item in trained.items)


def test_a_seed_asks_other_questions_about_the_same_pictures(little_scenes) -> None:
    first, again, other = (load_tasks("smol", n=3, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert {item.image for item in first.items} == {item.image for item in other.items}


def test_training_scenes_are_apart_from_those_of_the_model(little_scenes) -> None:
    bed = BEDS["smol"]
    images = [item.image for item in (*bed.ask_to_fit(1), *bed.ask_to_learn(1))]
    assert set(images) == {"train/50000000", "train/60000000"}


def test_another_world_is_another_run(little_scenes, monkeypatch) -> None:
    before = load_tasks("smol", n=1).fingerprint
    other = type(WORLD)(WORLD.kinds, WORLD.photographs, WORLD.fonts, "another font")
    monkeypatch.setattr(module, "_world", lambda place: other)
    assert load_tasks("smol", n=1).fingerprint != before


def test_without_a_world_the_cure_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    with pytest.raises(SceneError, match="transprune smol world"):
        load_tasks("smol", n=1)
