"""VFlowOpt is searched in its paper's box, and its last cut is solved from the budget."""

from __future__ import annotations

import random

import optuna
import pytest

from transprune.methods import VFlowOpt
from transprune.methods.common.recipe import resolve
from transprune.methods.vflowopt import LastSolved, solve_last
from transprune.tune.budget import Meter, parse_budget
from transprune.tune.journal import open_study
from transprune.tune.space import Base
from transprune.tune.study import run_trials
from transprune.tune.tried import tried

BOX = {"context", "cell", "front", "ratio"}


class Anywhere:
    """A trial that draws evenly, and remembers what it drew."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.values = {}

    def suggest_float(self, name, low, high, *, step=None):
        assert step is None
        self.values[name.rpartition(".")[2]] = value = self.random.uniform(low, high)
        return value


@pytest.fixture
def meter(prepared, items):
    return Meter(prepared, items, "flops")


def test_the_box_is_drawn_and_the_last_cut_is_solved(meter):
    base = Base("vflowopt", meter.prompt, 0.4, mrope=False)
    reached = 0
    for seed in range(12):
        trial = Anywhere(seed)
        drawn = base.draw(trial, 0.4)
        assert set(trial.values) == BOX
        assert drawn.keep == pytest.approx(trial.values["front"] * 0.4, abs=1e-5)

        found = meter.fit(drawn, 0.4).method
        # whatever the last cut has to be, nothing else is changed
        assert (found.keep, found.context, found.cell) == (drawn.keep, drawn.context, drawn.cell)
        (_, ratio), (_, last) = found.then
        assert ratio == pytest.approx(trial.values["ratio"], abs=1e-5) and last <= ratio
        reached += meter.fit(drawn, 0.4).reached
    assert reached >= 3


def test_the_solution_is_the_papers_where_only_visual_tokens_count(meter):
    """The bisection on exact costs and the formula of averages agree, but for text and attention."""
    drawn = LastSolved(0.45, VFlowOpt.for_average(0.4, 0.45, 0.9).then)
    found = meter.fit(drawn, 0.4)
    assert found.reached
    (_, ratio), (_, last) = found.method.then
    assert last / ratio == pytest.approx(solve_last(0.4, 0.45, 0.9), abs=0.15)


def test_what_a_text_gives_is_not_drawn(meter):
    trial = Anywhere(0)
    method = Base("vflowopt:context=2.5,cell=4", meter.prompt, 0.4, mrope=False).draw(trial)
    assert set(trial.values) == {"front", "ratio"}
    assert (method.context, method.cell) == (2.5, 4)

    trial = Anywhere(0)
    method = Base("vflowopt:keep=0.5", meter.prompt, 0.4, mrope=False).draw(trial)
    assert "front" not in trial.values and method.keep == 0.5

    # with a schedule of its own nothing is solved, and the share in front follows from the budget
    trial = Anywhere(0)
    method = Base("vflowopt:then=5:0.5", meter.prompt, 0.4, mrope=False).draw(trial)
    assert "ratio" not in trial.values and type(method) is VFlowOpt
    assert meter.fit(method, 0.4).reached


def test_the_start_lies_in_the_box(meter):
    base = Base("vflowopt", meter.prompt, 0.4, mrope=False)
    start = base.start(meter.fit(base.method, 0.4, move=True).method)
    assert {name.rpartition(".")[2] for name in start} == BOX
    drawn = base.draw(optuna.trial.FixedTrial(start), 0.4)
    assert drawn.keep == pytest.approx(0.4), "the published share is below this budget"
    assert drawn.context == 34.76


def test_a_search_finds_the_minimum_of_a_toy_loss(meter, tmp_path):
    """A quadratic in the threshold and the cell; every trial costs the budget, and its recipe is read back."""
    budget = parse_budget("0.4", "flops")
    base = Base("vflowopt:keep=0.45", meter.prompt, 0.4, mrope=False)

    def loss(method, number):
        return [((method.context - 20) / 50) ** 2 + ((method.cell - 9) / 21) ** 2]

    study = open_study(tmp_path, budget)
    run_trials(
        study,
        [base],
        meter,
        budget,
        loss,
        1,
        trials=30,
        seed=0,
        on_trial=lambda *note: None,
    )
    runs = tried(study)
    best = min((one for one in runs if not one.stopped), key=lambda one: one.loss)
    assert best.loss < 0.02 and best.cost == pytest.approx(0.4, abs=0.01)
    again = resolve(best.method) if isinstance(best.method, str) else best.method
    assert again.name == "vflowopt" and again.keep == 0.45
