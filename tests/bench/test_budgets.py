"""Every method at equal cost: it reaches the budget, or the note gives the reason.

Only the budget fields and the start of a method are changed.
"""

from dataclasses import fields

import pytest

from transprune import TransPrune
from transprune.bench.run.budgets import (
    TOLERANCE,
    fit,
    fit_measured,
    has_variable_count,
    parse_budgets,
)
from transprune.bench.run.trials import ORACLES, default_methods
from transprune.core.published import HIGH, LOW
from transprune.core.schedule import Schedule
from transprune.errors import MethodError
from transprune.methods import PLPHP
from transprune.methods.common.recipe import METHODS, resolve

BUDGETS = (0.60, 0.41, 0.31, 0.20, 0.12)


@pytest.fixture(scope="module")
def prompt(prepared):
    return prepared.nominal()


def _method(name):
    return ORACLES.get(name) or resolve(name)


@pytest.mark.parametrize("name", default_methods())
def test_every_method_reaches_every_budget_or_notes_why_not(prompt, name) -> None:
    method = _method(name)

    for budget in BUDGETS:
        found = fit(method, budget, prompt)
        assert found.share == pytest.approx(prompt.share(found.method))
        assert type(found.method) is type(method)

        if abs(found.share - budget) <= TOLERANCE:
            assert found.reached
        else:
            assert not found.reached
            assert f"{budget:.0%} cannot be reached: {found.share:.1%}" in found.note


@pytest.mark.parametrize("budget", BUDGETS[:-1])
@pytest.mark.parametrize(
    "name", ["transprune", "fastv", "pdrop", "divprune", "random", "oracle", "oracle-0"]
)
def test_these_methods_reach_these_budgets(prompt, name, budget) -> None:
    assert fit(_method(name), budget, prompt).reached


def test_a_method_that_only_evicts_keys_runs_as_it_is(prompt) -> None:
    found = fit(PLPHP(), 0.41, prompt)
    assert found.method == PLPHP()
    assert not found.reached
    assert "at any setting, because it saves no work of the prefill" in found.note
    share = prompt.cost(PLPHP()).kv_share
    assert 0.7 < share < 0.8
    assert f"at most {share:.0%} of the keys and values" in found.note

    # behind another one, that one is scaled
    assert fit(resolve("divprune+plphp"), 0.41, prompt).reached


def test_a_budget_below_the_cheapest_setting_is_not_reached(prompt) -> None:
    found = fit(resolve("fastv"), 0.01, prompt)
    assert not found.reached
    assert "cheapest setting here" in found.note


@pytest.mark.parametrize("budget", BUDGETS)
def test_only_budget_fields_and_start_change(prompt, budget) -> None:
    method = TransPrune.high(alpha=0.25)
    found = fit(method, budget, prompt).method

    for field in fields(method):
        if field.name not in (*method.budget_fields, "accumulate"):
            assert getattr(found, field.name) == getattr(method, field.name)


def test_scaling_keeps_the_shape_of_a_schedule() -> None:
    scaled = TransPrune.high().scaled_by(0.5)
    assert scaled.keep.boundaries == HIGH.boundaries
    for (_, before), (_, after) in zip(HIGH, scaled.keep, strict=True):
        assert after == pytest.approx(before / 2)

    # no share exceeds 1
    most = TransPrune.high().scaled_by(1e3)
    assert max(share for _, share in most.keep) == 1


def test_an_earlier_start_keeps_gaps_and_shares(prompt) -> None:
    layers = prompt.geometry.layers
    here = TransPrune.high().schedule(layers)
    earlier = TransPrune.high().shifted_earlier(2, layers).schedule(layers)

    assert earlier.boundaries == tuple(boundary - 2 for boundary in here.boundaries)
    for (_, before), (_, after) in zip(here, earlier, strict=True):
        assert before == after


def test_high_and_low_are_the_schedules_of_the_paper() -> None:
    assert TransPrune.high().keep == HIGH == Schedule({7: 0.875, 9: 0.625, 12: 0.125}, depth=32)
    assert TransPrune.low().keep == LOW == Schedule({7: 0.625, 9: 0.1875, 12: 0.0625}, depth=32)


def test_a_deep_start_moves_with_a_note(prompt) -> None:
    found = fit(TransPrune.high(), 0.20, prompt)
    assert "starts earlier to reach this budget: boundaries 4, 5, 6 became" in found.note
    assert fit(TransPrune.high(), 0.60, prompt).note == ""


@pytest.mark.parametrize(
    "text", ["visionzip:keep=64+transprune-low", "vscan:keep=64", "transprune-nano"]
)
def test_a_start_in_front_of_the_language_model_does_not_move(text, prompt) -> None:
    method = resolve(text)
    found = fit(method, 0.15, prompt)
    assert prompt.boundaries(found.method) == prompt.boundaries(method)
    assert found.reached
    assert "earlier" not in found.note


def test_smaller_budgets_cost_less(prompt) -> None:
    shares = [fit(resolve("fastv"), budget, prompt).share for budget in BUDGETS]
    assert shares == sorted(shares, reverse=True)


def test_every_registered_method_is_in_the_default_list() -> None:
    without_arguments = set(METHODS) - {"compose"}
    assert without_arguments <= set(default_methods())
    assert set(ORACLES) <= set(default_methods())
    assert not set(ORACLES) & set(default_methods(oracle=False))


@pytest.mark.parametrize(
    ("text", "budgets"),
    [
        ("60,41", (0.6, 0.41)),
        (" 41% , own", (0.41, None)),
        ("12.5,12.5", (0.125,)),
        ("own", (None,)),
    ],
)
def test_budgets_from_text(text, budgets) -> None:
    assert parse_budgets(text) == pytest.approx(budgets)


@pytest.mark.parametrize("text", ["", ",", "0", "100", "-5", "many", "nan"])
def test_invalid_budgets_are_errors(text) -> None:
    with pytest.raises(MethodError, match="budget"):
        parse_budgets(text)


def test_a_method_with_a_variable_count_is_fitted_to_its_measured_share(prompt) -> None:
    """Its plan is an upper bound; here four fifths of the planned share are always measured."""
    method = resolve("pact")
    assert has_variable_count(method, prompt)
    assert not has_variable_count(resolve("fastv"), prompt)
    measured = []

    def measure(fitted):
        measured.append(fitted)
        return 0.8 * prompt.share(fitted)

    found = fit_measured(method, 0.41, prompt, measure)
    assert found.reached
    assert found.share == pytest.approx(0.41, abs=0.005)
    assert prompt.share(found.method) == pytest.approx(0.41 / 0.8, abs=0.01)
    assert 1 < len(measured) <= 5
    assert "depends on the picture" in found.note


def test_a_measured_share_far_from_the_budget_is_noted(prompt) -> None:
    found = fit_measured(resolve("pact"), 0.41, prompt, lambda method: 0.7)
    assert not found.reached
    assert "41% cannot be reached: 70.0% is the nearest" in found.note
