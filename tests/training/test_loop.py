"""The steps: they learn, a stopped training ends as an undisturbed one, and damage is named."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from transprune.errors import TrainingError
from transprune.methods.asymvlm import AsymVLM
from transprune.methods.common.trained_weights import Fit
from transprune.methods.lvpruning import LVPruning
from transprune.training import loop
from transprune.training.folder import STATE_FILE, read_state
from transprune.training.loop import rate_at, shorten_curve, train
from transprune.training.plan import TrainPlan
from transprune.training.trainees import KINDS, draw_modules, trained_method

METHODS = {"lvpruning": LVPruning(), "asymvlm": AsymVLM()}


def trainee_of(name, prepared, seed=0):
    method = METHODS[name]
    boundaries = [reading.boundary for reading in method.reads_at(16)]
    fit = Fit.of(method, "llava", 128, 16)
    modules = draw_modules(fit, boundaries, seed, torch.device("cpu"))
    return KINDS[name].trainee(method, modules, prepared, seed)


def plan_of(folder: Path, name="lvpruning", **changes):
    settings = {"steps": 3, "batch_size": 2, "learning_rate": 0.01, **changes}
    return TrainPlan(out=folder, method=name, **settings)


def run(folder, name, prepared, items, seed=0, **changes):
    """The trained weights, and what `train` returned."""
    folder.mkdir(exist_ok=True)
    trainee = trainee_of(name, prepared, seed)
    curve = train(trainee, items, plan_of(folder, name, seed=seed, **changes), lambda *_: None)
    return trainee.modules, curve


def equal(one, other):
    return all(torch.equal(one[at][name], other[at][name]) for at in one for name in one[at])


@pytest.mark.parametrize("name", [pytest.param("lvpruning", marks=pytest.mark.slow), "asymvlm"])
def test_a_stopped_training_ends_as_an_undisturbed_one(tmp_path, prepared, items, name):
    whole, curve = run(tmp_path / "whole", name, prepared, items)
    assert len(curve) == 3

    stopped = tmp_path / "stopped"
    _, nothing = run(stopped, name, prepared, items, stop_after=1)
    assert nothing is None
    run(stopped, name, prepared, items, stop_after=2)
    resumed, again = run(stopped, name, prepared, items)
    assert equal(whole, resumed)
    assert again == curve

    other, _ = run(tmp_path / "other", name, prepared, items, seed=1)
    assert not equal(whole, other)


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch, prepared, items):
    """Checkpoints are written between steps; what ran after the last one runs again."""
    whole, _ = run(tmp_path / "whole", "asymvlm", prepared, items)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    killed = tmp_path / "killed"
    killed.mkdir()

    def kill(done, total, note):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(trainee_of("asymvlm", prepared), items, plan_of(killed, "asymvlm"), kill)
    assert read_state(killed)["step"] == 1
    resumed, curve = run(killed, "asymvlm", prepared, items)
    assert equal(whole, resumed)
    assert len(curve) == 3


def test_the_scorer_learns_what_it_is_shown(tmp_path, prepared, items):
    _, curve = run(
        tmp_path, "asymvlm", prepared, items[:1], steps=10, batch_size=1, learning_rate=0.003
    )
    assert curve[-1]["loss"] < 0.7 * curve[0]["loss"]


@pytest.mark.slow
def test_the_modules_move_towards_the_ratios(tmp_path, prepared, items):
    """Three questions by heart: what stays comes near 0.7, 0.3 and 0.1."""
    _, curve = run(
        tmp_path, "lvpruning", prepared, items[:3], batch_size=3, steps=30, learning_rate=0.003
    )

    def distance(figures):
        targets = {"kept at 1": 0.7, "kept at 4": 0.3, "kept at 8": 0.1}
        return sum((figures[name] - share) ** 2 for name, share in targets.items())

    first = sum(distance(figures) for figures in curve[:4])
    assert sum(distance(figures) for figures in curve[-4:]) < 0.7 * first


def test_a_damaged_checkpoint_is_named(tmp_path, prepared, items):
    run(tmp_path, "asymvlm", prepared, items, stop_after=1)
    whole = (tmp_path / STATE_FILE).read_bytes()
    (tmp_path / STATE_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"training\.pt is not a checkpoint"):
        run(tmp_path, "asymvlm", prepared, items)


def test_a_checkpoint_of_another_method_is_refused(tmp_path, prepared, items):
    run(tmp_path, "asymvlm", prepared, items, stop_after=1)
    with pytest.raises(TrainingError, match="another architecture"):
        run(tmp_path, "lvpruning", prepared, items)


def test_a_loss_that_is_no_number_stops(tmp_path, prepared, items):
    trainee = trainee_of("asymvlm", prepared)
    with torch.no_grad():
        trainee.modules[0]["down.bias"].fill_(math.nan)
    with pytest.raises(TrainingError, match="the loss of step 0 is nan"):
        train(trainee, items, plan_of(tmp_path, "asymvlm"), lambda *_: None)


def test_rates_rise_and_fall():
    rates = [rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rate_at(0, 1) == 1


def test_a_curve_is_shortened_to_means():
    curve = [{"loss": float(number), "x": 1.0} for number in range(130)]
    short = shorten_curve(curve)
    assert len(short) == 60
    assert short[0] == {"step": 2.0, "loss": 0.5, "x": 1.0}
    assert short[-1]["step"] == 130
    assert shorten_curve(curve[:3])[1] == {"step": 2.0, "loss": 1.0, "x": 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"held_out": 0.0}, "held_out is a share"),
        ({"steps": 0}, "whole numbers from 1 on"),
        ({"learning_rate": float("nan")}, "learning_rate is a number"),
    ],
)
def test_plans_that_are_none(tmp_path, changes, words):
    with pytest.raises(TrainingError, match=words):
        plan_of(tmp_path, **changes)


def test_a_method_without_modules_needs_no_training():
    with pytest.raises(TrainingError, match=r"fastv needs no training; .* asymvlm, lvpruning"):
        trained_method("fastv")
    assert trained_method("lvpruning:keep=2:0.5").schedule(16).boundaries == (2,)
