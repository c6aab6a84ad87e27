"""A launched run: its manifest, and what is refused or left out."""

import re
import shutil
from dataclasses import asdict

import pytest

from transprune import nano
from transprune.bench.data.manifest import read_manifest
from transprune.bench.data.provenance import commit, fingerprint, versions
from transprune.bench.data.tasks import find_bed
from transprune.bench.launch import QUICK_SCENES, Plan, quick_plan
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.trials import QUICK
from transprune.errors import BenchError, CheckpointError, MissingSignal, RecordError
from transprune.report.gallery import Gallery, _read_questions
from transprune.report.results import read_results


def test_fingerprint_depends_on_the_weights_only(tmp_path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(nano.path(), copy, ignore=shutil.ignore_patterns("clip"))
    assert fingerprint(str(copy)) == fingerprint("nano") != ""

    (copy / "README.md").write_text("another card")
    assert fingerprint(str(copy)) == fingerprint("nano")

    # one bit of one weight
    weights = next(copy.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fingerprint(str(copy)) != fingerprint("nano")


def test_fingerprint_of_a_hub_model_is_empty_and_of_a_missing_folder_an_error(tmp_path) -> None:
    assert fingerprint("somebody/some-model") == ""
    with pytest.raises(CheckpointError):
        fingerprint(str(tmp_path / "missing"))


def test_the_manifest_is_complete(run) -> None:
    manifest = read_manifest(run.folder)
    assert manifest.settings.weights == fingerprint("nano")
    assert manifest.settings.n == 2

    packages = {"transprune", "torch", "transformers", "numpy", "pillow", "python"}
    assert set(manifest.versions) == packages
    assert manifest.versions == versions()

    assert manifest.commit is None or re.fullmatch(r"[0-9a-f]{12}\+?", manifest.commit)
    assert (manifest.commit is None) == (commit() is None)

    assert set(manifest.prompt) == {"visual_tokens", "text_tokens", "instruction_tokens"}
    assert manifest.geometry["layers"] == len(manifest.conditions[0].tokens)

    questions = sum(task.items for task in manifest.tasks)
    assert questions * len(manifest.conditions) == len(run.records)


def test_records_repeat_their_condition(run) -> None:
    conditions = {condition.name: condition for condition in run.manifest.conditions}

    for record in run.records:
        condition = conditions[record.condition]
        assert record.method == condition.method
        assert record.budget == condition.budget
        assert record.recipe == condition.recipe
        assert record.versions == run.manifest.versions
        assert 0 <= record.score <= 1
        assert all(kept == sorted(set(kept)) for kept in record.kept.values())


def test_the_default_number_of_scenes_is_in_the_settings(go, run_copy) -> None:
    with pytest.raises(RecordError, match=f"n was 2, now {find_bed('nano').scenes}"):
        go(run_copy, n=None)


@pytest.fixture
def no_text_tower(monkeypatch):
    """CDPruner finds no text tower."""
    original = PreparedQuestions.prune

    def prune(self, method):
        if type(method).__name__ == "CDPruner":
            raise MissingSignal("no text tower")
        return original(self, method)

    monkeypatch.setattr(PreparedQuestions, "prune", prune)


def test_a_named_method_that_cannot_run_is_an_error(go, tmp_path, no_text_tower) -> None:
    with pytest.raises(BenchError, match="cdpruner cannot run on this model: no text tower"):
        go(tmp_path / "named", methods=("cdpruner",), n=1)
    assert not (tmp_path / "named").exists()


def test_a_default_method_that_cannot_run_is_left_out(
    go, tmp_path, no_text_tower, monkeypatch
) -> None:
    monkeypatch.setattr(
        "transprune.bench.launch.default_methods", lambda oracle: ("cdpruner", "fastv")
    )
    run = go(tmp_path / "default", methods=(), n=1)
    assert [condition.name for condition in run.manifest.conditions] == ["unpruned", "fastv@41"]
    assert "left out: cdpruner@41: no text tower" in run.notes


def test_a_task_file_is_a_run_too(go, write_tasks, tmp_path) -> None:
    good = {"image": "a.png", "question": "what color is the circle ?", "answer": "red"}
    missing = good | {"image": "missing.png"}
    choice = good | {"options": ["red", "blue"], "family": "choice"}
    folder = write_tasks(good, missing, choice)

    run = go(tmp_path / "run", tasks=str(folder), n=None, methods=("fastv",), max_new_tokens=2)
    assert [task.name for task in run.manifest.tasks] == ["questions", "choice"]
    assert len(run.records) == 4
    assert run.manifest.settings.split == ""

    (skipped,) = run.manifest.skipped
    assert "missing.png" in skipped
    assert run.notes[0] == f"left out: {skipped}"


def test_some_of_the_tasks_alone(go, tmp_path) -> None:
    run = go(tmp_path / "run", only=("color", "exist"), methods=("fastv",), n=2)
    assert [task.name for task in run.manifest.tasks] == ["exist", "color"]

    # the report asks for the same questions again
    gallery = Gallery()
    questions = _read_questions(read_results(run.folder), gallery)
    assert not gallery.missing
    assert {record.item for record in run.records} == {item.id for item in questions.items}


def test_quick_is_small(tmp_path) -> None:
    plan = quick_plan(tmp_path)
    assert (plan.methods, plan.n) == (QUICK, QUICK_SCENES)
    assert find_bed("nano").quick == QUICK_SCENES

    whole = asdict(Plan(tmp_path))
    changed = {name for name, value in asdict(plan).items() if value != whole[name]}
    assert changed == {"methods", "budgets", "n", "rounds"}
