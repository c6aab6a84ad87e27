"""A run's manifest: what ran, of which weights, by which code."""

import re
import shutil
from dataclasses import asdict

import pytest

from transprune import nano
from transprune.bench.data.manifest import read_manifest
from transprune.bench.data.provenance import commit, fingerprint, versions
from transprune.bench.launch import QUICK_SCENES, Plan, quick_plan
from transprune.bench.run.trials import QUICK
from transprune.errors import BenchError, CheckpointError


def test_fingerprint_is_of_the_weights(tmp_path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(nano.path(), copy, ignore=shutil.ignore_patterns("clip"))
    assert fingerprint(str(copy)) == fingerprint("nano") != ""
    (copy / "README.md").write_text("another card")
    assert fingerprint(str(copy)) == fingerprint("nano")
    weights = next(copy.glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fingerprint(str(copy)) != fingerprint("nano")


def test_fingerprint_of_what_is_not_here(tmp_path) -> None:
    assert fingerprint("somebody/some-model") == ""
    with pytest.raises(CheckpointError):
        fingerprint(str(tmp_path / "missing"))


def test_the_certificate_says_everything(run) -> None:
    manifest = read_manifest(run.folder)
    assert manifest.settings.weights == fingerprint("nano")
    assert manifest.settings.n == 2
    assert set(manifest.versions) == {
        "transprune",
        "torch",
        "transformers",
        "numpy",
        "pillow",
        "python",
    }
    assert manifest.versions == versions()
    assert manifest.commit is None or re.fullmatch(r"[0-9a-f]{12}\+?", manifest.commit)
    assert (manifest.commit is None) == (commit() is None)
    assert set(manifest.prompt) == {"visual_tokens", "text_tokens", "instruction_tokens"}
    assert sum(task.items for task in manifest.tasks) * len(manifest.conditions) == len(run.records)
    assert manifest.geometry["layers"] == len(manifest.conditions[0].tokens)


def test_records_repeat_their_condition(run) -> None:
    conditions = {condition.name: condition for condition in run.manifest.conditions}
    for record in run.records:
        condition = conditions[record.condition]
        assert (record.method, record.budget, record.recipe) == (
            condition.method,
            condition.budget,
            condition.recipe,
        )
        assert record.versions == run.manifest.versions
        assert 0 <= record.score <= 1
        assert all(kept == sorted(set(kept)) for kept in record.kept.values())


def test_bundled_scenes_default_to_their_number_in_the_settings(go, run_copy) -> None:
    from transprune.bench.launch import SCENES
    from transprune.errors import RecordError

    with pytest.raises(RecordError, match=f"n was 2, now {SCENES}"):
        go(run_copy, n=None)


def test_a_method_the_model_cannot_serve_is_an_error_if_named(go, tmp_path, monkeypatch) -> None:
    from transprune.bench.run.prepared import PreparedQuestions
    from transprune.errors import MissingSignal

    original = PreparedQuestions.prune

    def without_text_tower(self, method):
        if type(method).__name__ == "CDPruner":
            raise MissingSignal("no text tower")
        return original(self, method)

    monkeypatch.setattr(PreparedQuestions, "prune", without_text_tower)
    with pytest.raises(BenchError, match="cdpruner cannot run on this model: no text tower"):
        go(tmp_path / "named", methods=("cdpruner",), n=1)
    assert not (tmp_path / "named").exists()
    monkeypatch.setattr(
        "transprune.bench.launch.default_methods", lambda oracle: ("cdpruner", "fastv")
    )
    run = go(tmp_path / "default", methods=(), n=1)
    assert [condition.name for condition in run.manifest.conditions] == ["unpruned", "fastv@41"]
    assert "left out: cdpruner@41: no text tower" in run.notes


def test_a_task_file_is_a_run_too(go, write_tasks, tmp_path) -> None:
    good = {"image": "a.png", "question": "what color is the circle ?", "answer": "red"}
    folder = write_tasks(
        good,
        good | {"image": "missing.png"},
        good | {"options": ["red", "blue"], "family": "choice"},
    )
    run = go(tmp_path / "run", tasks=str(folder), n=None, methods=("fastv",), max_new_tokens=2)
    assert [task.name for task in run.manifest.tasks] == ["questions", "choice"]
    assert len(run.records) == 4
    assert "missing.png" in run.manifest.skipped[0]
    assert run.notes[0] == f"left out: {run.manifest.skipped[0]}"
    assert run.manifest.settings.split == ""


def test_quick_is_small(tmp_path) -> None:
    plan, whole = quick_plan(tmp_path), Plan(tmp_path)
    assert (plan.methods, plan.n) == (QUICK, QUICK_SCENES)
    changed = {name for name, value in asdict(plan).items() if value != asdict(whole)[name]}
    assert changed == {"methods", "budgets", "n", "rounds"}
