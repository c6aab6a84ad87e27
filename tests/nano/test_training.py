"""The training loop: a miniature that is killed and resumed ends like an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPModel

from transprune.errors import CheckpointError, TrainingError
from transprune.nano.evaluate import evaluate, load_trained
from transprune.nano.train.curriculum import Mix
from transprune.nano.train.language import LanguageSettings
from transprune.nano.train.muon import Muon, orthogonalise
from transprune.nano.train.plot import plot_run
from transprune.nano.train.recipe import EYES_FIRST, MINIATURE, RECIPES, WORDS_FIRST
from transprune.nano.train.run import train

CPU = torch.device("cpu")
STEPS = MINIATURE.vision.steps + sum(stage.steps for stage in MINIATURE.language)


def run(folder: Path, stop_after: int | None = None, recipe=MINIATURE):
    return train(recipe, folder, lambda *step: None, CPU, stop_after, compiled=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A miniature trained without a break."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder) == folder / "checkpoint"
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForImageTextToText.from_pretrained(
        folder / "checkpoint", dtype=torch.float32
    ).state_dict()


def test_the_checkpoint_is_an_ordinary_one(whole) -> None:
    model = load_trained(whole / "checkpoint")
    processor = AutoProcessor.from_pretrained(whole / "checkpoint")
    clip = CLIPModel.from_pretrained(whole / "checkpoint" / "clip", dtype=torch.float32)

    # CLIP's vision half is the tower of the model
    tower = model.model.vision_tower.state_dict()
    twin = clip.vision_model.state_dict()
    assert all(torch.equal(tower[name], twin[name]) for name in tower)
    assert processor.tokenizer.convert_tokens_to_ids("</s>") == model.generation_config.eos_token_id
    scores = evaluate(model, "validation", 3)
    assert sum(tally.asked for tally in scores.categories.values()) > 40


def test_training_trains(whole) -> None:
    """Six steps are few, and yet the tower's loss falls."""
    folder = whole / "vision.jsonl"
    assert json.loads(folder.read_text().splitlines()[-1])["loss"] < 11.5


def check_same_weights(folder: Path, other: Path) -> None:
    expected = weights(folder)
    found = weights(other)
    for name in expected:
        assert torch.equal(expected[name], found[name]), name


@pytest.mark.parametrize("cuts", [(2, 7, 1), (9,)])
def test_stopped_and_resumed_ends_the_same(whole, tmp_path, cuts) -> None:
    for steps in cuts:
        assert run(tmp_path, stop_after=steps) is None
    assert run(tmp_path) == tmp_path / "checkpoint"
    check_same_weights(whole, tmp_path)

    for stage in ("vision", "stage1_basics", "stage2_masked_layers"):
        steps = [
            json.loads(line)["step"]
            for line in (tmp_path / f"{stage}.jsonl").read_text().splitlines()
        ]
        assert steps == sorted(set(steps))


SLOW = """
import sys, time, torch
from pathlib import Path
from transprune.nano.train import loop
from transprune.nano.train.recipe import MINIATURE
from transprune.nano.train.run import train
torch.set_num_threads(1)
loop.SAVE_SECONDS = 0.0        # a checkpoint after every step, so the kill falls among writes
loop.LOG_STEPS = 1
def slow_progress(*step):
    print(step[:2], flush=True)
    time.sleep(0.05)
train(MINIATURE, Path(sys.argv[1]), slow_progress, torch.device("cpu"), compiled=False)
"""


@pytest.mark.slow
def test_killed_for_real_and_resumed_ends_the_same(whole, tmp_path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert process.stdout is not None

    # kill it in the first steps of the second stage
    for line in process.stdout:
        if "stage1_basics" in line:
            break
    time.sleep(0.03)

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "checkpoint").exists()

    run(tmp_path)
    check_same_weights(whole, tmp_path)


def test_another_recipe_in_the_same_folder_is_refused_and_nothing_touched(whole) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    with pytest.raises(TrainingError, match=r"other settings.*Nothing was touched"):
        run(whole, recipe=EYES_FIRST)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_a_foreign_checkpoint_is_refused(tmp_path) -> None:
    run(tmp_path, stop_after=3)
    torch.save(
        {"step": 3, "module": {"other": torch.zeros(2)}, "optimizer": []}, tmp_path / "vision.pt"
    )
    with pytest.raises(TrainingError, match=r"vision\.pt.*another architecture"):
        run(tmp_path)


def test_a_broken_checkpoint_is_named(tmp_path) -> None:
    run(tmp_path, stop_after=3)
    (tmp_path / "vision.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match=r"vision\.pt"):
        run(tmp_path)


def test_half_a_log_line_is_dropped(tmp_path) -> None:
    run(tmp_path, stop_after=4)
    log = tmp_path / "vision.jsonl"
    log.write_text(log.read_text() + '{"step": 5, "lo')
    run(tmp_path)
    assert all(json.loads(line) for line in log.read_text().splitlines())


def test_the_log_plots(whole, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    assert plot_run(whole, tmp_path / "plot.png").stat().st_size > 10_000
    with pytest.raises(TrainingError, match="no logs"):
        plot_run(tmp_path, tmp_path / "none.png")


def test_evaluating_another_architecture_names_the_file(zoo, tmp_path) -> None:
    zoo("llava", "sdpa").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json.*bundled vocabulary"):
        load_trained(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_trained(tmp_path / "nowhere")


def test_words_first_keeps_the_language_model_while_the_projector_learns(tmp_path) -> None:
    """Words, then the projector, then all; each stage changes only the parts that it trains."""
    mix = Mix(4, 2)
    stages = (
        LanguageSettings(
            "words", steps=2, batch=2, layers=3, warmup=1, source="words", object_sum=1.0, mix=mix
        ),
        LanguageSettings(
            "aligned", steps=2, batch=2, layers=3, warmup=1, trained="projector", mix=mix
        ),
        LanguageSettings("tuned", steps=2, batch=2, layers=3, warmup=1, mix=mix),
    )
    recipe = replace(MINIATURE, name="tiny-words", language=stages)

    assert run(tmp_path, recipe=recipe) == tmp_path / "checkpoint"
    words, aligned, tuned = (
        torch.load(tmp_path / f"{s.name}.pt", weights_only=True)["module"] for s in stages
    )

    changed = {name for name in words if not torch.equal(words[name], aligned[name])}
    assert changed == {name for name in words if name.startswith("projector")}
    assert any(
        not torch.equal(aligned[name], tuned[name]) for name in tuned if name.startswith("language")
    )


def test_recipes_see_no_scene_twice() -> None:
    """The stages of a recipe draw from disjoint ranges of training scenes."""
    for recipe in RECIPES.values():
        if recipe is MINIATURE:
            continue  # its stages share their first scenes

        spans = [range(recipe.vision.steps * recipe.vision.batch)]
        for stage in recipe.language:
            last = stage.first_scene + stage.steps * stage.batch
            spans.append(range(stage.first_scene, last))

        for one, other in combinations(spans, 2):
            assert one.stop <= other.start or other.stop <= one.start

    assert EYES_FIRST.language[-1].layers == WORDS_FIRST.language[-1].layers == 16


def test_muon_makes_every_direction_equal() -> None:
    matrices = torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.5
    torch.testing.assert_close(
        orthogonalise(matrices[0]), orthogonalise(matrices)[0], atol=2e-2, rtol=0
    )


def test_muon_agrees_with_torch() -> None:
    """Batched or one by one: the same step, to bf16."""
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=generator) for shape in ((8, 8), (24, 8), (8, 8))]
    ours = [torch.nn.Parameter(weight.clone()) for weight in start]
    theirs = [torch.nn.Parameter(weight.clone()) for weight in start]
    optimizers = (
        Muon(ours, lr=0.1),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.01, momentum=0.95),
    )

    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()

    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-2, rtol=2e-2)
