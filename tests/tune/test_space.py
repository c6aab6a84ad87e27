"""What a trial draws: within the given settings, in front of the right layer, from the right start."""

from __future__ import annotations

import random

import optuna
import pytest

from transprune import Compose, FastV, TransPrune
from transprune.core.schedule import Schedule
from transprune.errors import MethodError
from transprune.methods.common.recipe import resolve
from transprune.tune.budget import Meter
from transprune.tune.space import STEP, Base


def fixed(base, **values):
    """A trial of one part with these parameters."""
    return optuna.trial.FixedTrial(
        {f"{base.text}/0.{name}": value for name, value in values.items()}
    )


class AtRandom:
    """A trial that draws evenly, and remembers the names of what it drew."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = []

    def suggest_float(self, name, low, high, *, step=None):
        self.names.append(name)
        return low + step * self.random.randint(0, round((high - low) / step))

    def suggest_int(self, name, low, high):
        self.names.append(name)
        return self.random.randint(low, high)

    def suggest_categorical(self, name, choices):
        self.names.append(name)
        return self.random.choice(choices)


@pytest.fixture
def meter(prepared, items):
    return Meter(prepared, items, "flops")


def test_a_schedule_is_drawn(meter):
    base = Base("transprune", meter.prompt, 0.9, mrope=False)
    trial = fixed(
        base,
        first=4,
        stages=3,
        gap2=2,
        ratio2=0.5,
        gap3=3,
        ratio3=0.4,
        accumulate_before=1,
        alpha=0.3,
        positions="keep",
    )
    assert base.draw(trial) == TransPrune(
        Schedule({4: 1.0, 6: 0.5, 9: 0.2}), accumulate=range(3, 10), alpha=0.3, positions="keep"
    )


def test_modules_of_a_trained_method_stay_at_their_layers(meter):
    base = Base("lvpruning", meter.prompt, 0.4, mrope=False)
    for seed in range(3):
        trial = AtRandom(seed)
        assert base.draw(trial).schedule(16) == base.method.schedule(16)
        assert trial.names == ["lvpruning/0.positions"]


def test_written_settings_are_not_searched(meter):
    text = "transprune:keep=3:0.5,5:0.25,alpha=0.2,positions=keep"
    base = Base(text, meter.prompt, 0.9, mrope=False)
    trial = AtRandom(0)
    method = base.draw(trial)

    assert method.keep == Schedule({3: 0.5, 5: 0.25})
    assert (method.alpha, method.positions) == (0.2, "keep")
    assert trial.names == []


def test_a_named_recipe_is_held_as_it_is_written(meter):
    trial = AtRandom(0)
    base = Base("transprune-nano", meter.prompt, 0.5, mrope=False)
    method = base.draw(trial)
    assert trial.names == []
    assert method.parts[1] == base.method.parts[1]


def test_positions_are_not_searched_under_mrope(meter):
    trial = AtRandom(0)
    Base("transprune", meter.prompt, 0.9, mrope=True).draw(trial)
    assert not any("positions" in name for name in trial.names)


def test_a_boundary_method(meter):
    base = Base("fastv", meter.prompt, 0.9, mrope=False)
    assert base.draw(fixed(base, layer=5, positions="renumber")) == FastV(
        layer=5, keep_ratio=1.0, positions="renumber"
    )


def test_a_composition_is_drawn_part_by_part(meter):
    base = Base("divprune+transprune", meter.prompt, 0.3, mrope=False)
    trial = AtRandom(3)
    method = base.draw(trial)

    assert isinstance(method, Compose)
    # how much the first part keeps follows from the budget
    assert method.parts[0].keep_ratio == 1.0
    assert any(name.endswith("1.share1") for name in trial.names)


@pytest.mark.parametrize(("budget", "layers"), [(0.6, 9), (0.2, 3)])
def test_the_first_boundary_leaves_the_budget_in_reach(meter, budget, layers):
    latest = Base("transprune", meter.prompt, budget, mrope=False).parts[0].latest
    one_token = TransPrune(Schedule({latest: 1e-4}), accumulate=[latest])
    later = TransPrune(Schedule({latest + 1: 1e-4}), accumulate=[latest + 1])

    assert meter.prompt.share(one_token) <= budget < meter.prompt.share(later)
    assert abs(latest - layers) <= 1


@pytest.mark.parametrize("text", ["transprune", "pdrop", "fastv", "divprune+transprune", "random"])
def test_every_trial_that_runs_costs_the_budget(meter, text):
    base = Base(text, meter.prompt, 0.4, mrope=False)
    reached = 0
    for seed in range(12):
        try:
            found = meter.fit(base.draw(AtRandom(seed)), 0.4)
        except MethodError:
            continue
        if found.reached:
            reached += 1
            assert meter.prompt.share(found.method) == pytest.approx(0.4, abs=0.01)
    assert reached >= 4


@pytest.mark.parametrize("text", ["transprune", "transprune-low", "fastv", "divprune+transprune"])
@pytest.mark.parametrize("budget", [0.41, 0.2])
def test_the_start_is_the_base_itself(meter, text, budget):
    base = Base(text, meter.prompt, budget, mrope=False)
    scaled = meter.fit(base.method, budget, move=True)
    start = optuna.trial.FixedTrial(base.start(scaled.method))
    drawn = meter.fit(base.draw(start), budget)

    assert drawn.reached
    here = meter.prompt.tokens(drawn.method)
    if "+" not in text:
        # shares on the grid differ from the published ones by less than a step
        there = meter.prompt.tokens(scaled.method)
        total = meter.prompt.visual_tokens
        assert max(abs(a - b) for a, b in zip(here, there, strict=True)) <= STEP * total + 1
        assert meter.prompt.boundaries(drawn.method) == meter.prompt.boundaries(scaled.method)


def test_an_unknown_setting_is_refused(meter):
    with pytest.raises(MethodError, match="alhpa"):
        Base("transprune:alhpa=0.2", meter.prompt, 0.4, mrope=False)


def test_a_recipe_file_is_a_starting_point(meter, tmp_path):
    resolve("transprune:alpha=0.4").save_pretrained(tmp_path / "mine")
    base = Base(str(tmp_path / "mine"), meter.prompt, 0.4, mrope=False)
    assert base.method.alpha == 0.4
    assert "alpha" in base.parts[0].free
