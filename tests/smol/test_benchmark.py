"""`--model smol`: the benchmark, its report and the search on scenes of the second test bed."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from transprune.bench.data.tasks import find_bed, load_tasks
from transprune.bench.launch import Plan, launch
from transprune.bench.run.ablations import ablations
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.trials import ORACLES, default_methods
from transprune.cli import app, bench
from transprune.cli.guard import quiet_libraries
from transprune.errors import BenchError, CheckpointError
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import LoadOptions, load
from transprune.models.source import is_local, locate
from transprune.report import model_figures
from transprune.report.gallery import GridFinder
from transprune.smol import HOME_VARIABLE
from transprune.smol.packing import ASK, START
from transprune.tune.questions import load_questions

ROOT = Path(__file__).parents[2]
METHODS = ("transprune", "divprune", "oracle")
CPU = LoadOptions(dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def run(little_home, tmp_path_factory):
    """One scene, stopped and continued with one more method."""
    plan = Plan(
        tmp_path_factory.mktemp("bench") / "run",
        model="smol",
        tasks="smol",
        methods=METHODS[:1],
        budgets=(0.41,),
        n=1,
        bill=False,
        loading=CPU,
    )
    with quiet_libraries(bars=False):
        launch(plan)
        return launch(replace(plan, methods=METHODS))


def test_a_run_knows_its_bed(run) -> None:
    settings = run.manifest.settings
    assert (settings.tasks, settings.n, settings.max_new_tokens) == ("smol", 1, 24)
    assert len(settings.weights) == 16
    assert run.manifest.prompt["visual_tokens"] == 576
    asked = sum(task.items for task in run.manifest.tasks)
    assert len(run.records) == asked * 4 and asked > 3


@pytest.mark.parametrize(
    ("words", "tasks", "n"),
    [
        (["--model", "smol"], "smol", None),
        (["--model", "smol", "--quick"], "smol", 12),
        (["--model", "smol", "--tasks", "smol-unseen", "--n", "7"], "smol-unseen", 7),
        (["--model", "some/model", "--quick"], "nano", 60),
        (["--model", "smol", "--quick", "--tasks", "questions.jsonl"], "questions.jsonl", None),
    ],
)
def test_a_model_is_asked_its_own_scenes(words, tasks, n, monkeypatch, tmp_path) -> None:
    plans = []

    def stop(plan, messages, as_json):
        plans.append(plan)
        raise BenchError("planned")

    monkeypatch.setattr(bench, "launch_shown", stop)
    done = CliRunner().invoke(app, ["bench", "--out", str(tmp_path / "run"), *words])
    assert "planned" in done.output
    assert [(plan.tasks, plan.n) for plan in plans] == [(tasks, n)]


def test_the_oracle_keeps_what_is_asked_about(run) -> None:
    """Of every thing that decides the answer some token stays to the end."""
    kept = [record for record in run.records if record.method == "oracle" and record.kept]
    assert kept
    with_targets = 0
    questions = {item.id: item for item in _items()}
    for record in kept:
        last = set(record.kept[max(record.kept)])
        for tokens in questions[record.item].relevant:
            assert not tokens or last & set(tokens)
            with_targets += bool(tokens)
    assert with_targets


def test_the_prompt_is_the_one_of_the_training(little_home) -> None:
    item = _items()[0]
    with quiet_libraries(bars=False):
        prepared = PreparedQuestions(load("smol", CPU), [item])
    tokenizer = prepared.checkpoint.processor.tokenizer
    ids = prepared.batch([item], encoded=True)["input_ids"][0].tolist()
    picture = tokenizer.convert_tokens_to_ids("<image>")
    start = tokenizer(START, add_special_tokens=False).input_ids
    ask = tokenizer(ASK.format(item.question), add_special_tokens=False).input_ids
    assert ids == [*start, *[picture] * 576, *ask]


def test_figures_have_the_masks_of_the_scenes(little_home, run, monkeypatch) -> None:
    """What is drawn; how it is drawn is tested with the report."""
    given = {}
    for name in ("transitions", "positions", "signal"):

        def draw(*values, name=name):
            given[name] = values
            return name

        monkeypatch.setattr(model_figures, f"draw_{name}", draw)

    with quiet_libraries(bars=False):
        checkpoint = load("smol", CPU)
        grids = GridFinder("smol", checkpoint, run.manifest.prompt["visual_tokens"])
        figures = model_figures.draw_model_figures(load_tasks("smol", n=1), checkpoint, grids.find)

    assert set(figures.pictures) == set(given) and not figures.missing
    _, shape, questions, objects = given["positions"]
    assert shape == (24, 24) and questions == len(_items())
    assert objects == pytest.approx(find_bed("smol").objects("test/0").astype(float))
    assert np.isfinite(figures.aucs["TTV, objects"]).all()


def test_other_tokens_than_those_of_the_bed_have_no_oracle(little_home, tmp_path) -> None:
    """Scenes of 144 tokens in a model that makes 576 of every picture."""
    plan = Plan(tmp_path / "run", "smol", "nano", n=1, budgets=(0.41,), bill=False, loading=CPU)
    with (
        quiet_libraries(bars=False),
        pytest.raises(BenchError, match="oracle-0 is given the target"),
    ):
        launch(replace(plan, methods=("oracle-0",)))

    notes = []
    with quiet_libraries(bars=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr("transprune.bench.launch.run_trials", lambda *args, **named: "")
        patch.setattr(
            "transprune.bench.launch.default_methods",
            lambda oracle: ("divprune", "oracle-0") if oracle else ("divprune",),
        )
        run = launch(plan, on_note=notes.append)
    assert any("144 tokens" in note and "makes 576" in note for note in notes)
    assert [one.name for one in run.manifest.conditions] == ["unpruned", "divprune@41"]


def test_a_search_asks_validation_scenes(little_home) -> None:
    split = load_questions("smol", n=2, held_out=0.5, seed=0)
    assert {item.image for item in split.items} == {"validation/0", "validation/1"}
    assert split.searched and split.held_out


def test_every_ablation_fits_the_depth() -> None:
    """SmolLM2 has 30 layers, two fewer than the paper's model."""
    for variants in ablations(30).values():
        for method in variants.values():
            boundaries = [stage.boundary for stage in method.plan(30, 576)]
            assert boundaries == sorted(set(boundaries)) and boundaries[-1] < 30


def test_the_whole_run_has_methods_and_tasks_that_exist(monkeypatch, tmp_path) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    smol_accuracy = importlib.import_module("benchmarks.smol_accuracy")
    assert set(smol_accuracy.SEEN) <= set(find_bed("smol").categories)

    plans = [smol_accuracy.plan(tmp_path, part) for part in smol_accuracy.parts()]
    names = {name for plan in plans for name in plan.methods}
    for name in names - set(ORACLES):
        resolve(name)
    left_out = (*smol_accuracy.NOT_HERE, *smol_accuracy.IN_CLIPS_SPACE)
    assert set(default_methods()) <= names | {
        name for name in default_methods() if name.startswith(left_out)
    }
    # those that would need a text tower run with their substitute instead
    for name in smol_accuracy.IN_CLIPS_SPACE:
        assert resolve(f"{name}:relevance=embedding").relevance == "embedding"
        assert f"{name}:relevance=embedding" in names
    assert plans[0].ablations and plans[2].budgets == (None,)
    assert all(0 < budget < 1 for plan in plans for budget in plan.budgets if budget)


def test_a_model_that_was_not_made_is_named_with_its_cure(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match=r"make smol.*TRANSPRUNE_SMOL"):
        locate("smol")
    assert is_local("smol") and is_local("nano") and not is_local("some/model")


def _items():
    return load_tasks("smol", n=1).items
