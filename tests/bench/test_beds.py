"""Test beds: what is known of their scenes agrees with what their items say."""

from __future__ import annotations

import numpy as np
import pytest

from transprune.bench.data.tasks import find_bed, load_tasks, own_tasks
from transprune.bench.data.tasks.beds import BEDS
from transprune.errors import TaskError


def test_a_bed_is_found_by_name_and_a_model_has_its_own() -> None:
    assert [name for name, bed in BEDS.items() if bed.name != name] == []
    assert find_bed("pictures/questions.jsonl") is None
    assert own_tasks("smol") == "smol"
    assert own_tasks("nano") == own_tasks("some/model") == "nano"


def test_the_objects_of_a_picture_hold_the_targets_of_its_questions() -> None:
    bed = BEDS["nano"]
    questions = load_tasks("nano", n=3)
    assert {task.name for task in questions.tasks} <= set(bed.categories)
    for item in questions.items:
        objects = bed.objects(item.image)
        assert objects.shape == (bed.tokens,) and objects.dtype == bool
        targets = sorted({token for tokens in item.relevant for token in tokens})
        assert objects[targets].all()
    assert 0 < np.mean([bed.objects(f"test/{number}").mean() for number in range(3)]) < 1


def test_scenes_to_fit_and_to_learn_from_are_training_scenes() -> None:
    bed = BEDS["nano"]
    fitted, learnt = bed.ask_to_fit(2), bed.ask_to_learn(2)
    assert {item.image for item in fitted} == {"train/0", "train/1"}
    assert {item.image for item in learnt} == {"train/50000000", "train/50000001"}
    # one task after the other, and one scene after the other
    assert fitted[0].family == fitted[1].family
    assert learnt[0].image == learnt[1].image

    with pytest.raises(TaskError, match="one scene or more; got 0"):
        bed.ask_to_learn(0)
    with pytest.raises(TaskError, match="got 'train', 2"):
        bed.ask("train", 2)


def test_questions_without_known_targets_are_the_same_questions() -> None:
    questions = load_tasks("nano", n=2)
    bare = questions.without_relevant()
    assert questions.knows_relevant and not bare.knows_relevant
    assert bare.fingerprint == questions.fingerprint
