"""Budgets: their texts, what they count, and the one that nothing reaches."""

from __future__ import annotations

import pytest

from transprune import DivPrune, TransPrune
from transprune.errors import TuneError
from transprune.methods import PLPHP
from transprune.methods.common.recipe import resolve
from transprune.tune.budget import Budget, Meter, check_reachable, parse_budget


@pytest.mark.parametrize(
    ("text", "cost", "low", "high"),
    [
        ("0.35", "flops", 0.35, 0.35),
        ("35%", "kv", 0.35, 0.35),
        ("0.2:0.6", "flops", 0.2, 0.6),
        ("20%:60%", "flops", 0.2, 0.6),
        ("12.5", "ms", 12.5, 12.5),
        ("10:30", "ms", 10, 30),
    ],
)
def test_texts(text, cost, low, high):
    assert parse_budget(text, cost) == Budget(cost, low, high)
    assert parse_budget(text, cost).is_range == (low < high)


@pytest.mark.parametrize(
    "text", ["", "0", "1", "41", "-0.2", "nan", "0.6:0.2", "0.2:0.2", "a", ":"]
)
def test_no_share(text):
    with pytest.raises(TuneError, match="budget"):
        parse_budget(text, "flops")


@pytest.mark.parametrize("text", ["0", "35%", "-3", "nan", "inf", "x"])
def test_no_milliseconds(text):
    with pytest.raises(TuneError, match="milliseconds"):
        parse_budget(text, "ms")


def test_amounts_in_words():
    assert str(parse_budget("0.35", "flops")) == "35.0 %"
    assert str(parse_budget("10:30", "ms")) == "10.0 ms to 30.0 ms"


@pytest.mark.parametrize("cost", ["flops", "kv"])
def test_a_method_is_brought_to_a_counted_budget(prepared, items, cost):
    meter = Meter(prepared, items, cost)
    found = meter.fit(DivPrune(), 0.4)
    counted = prepared.nominal().cost(found.method)

    assert found.reached
    assert found.share == pytest.approx(0.4, abs=0.01)
    share = counted.prefill_share if cost == "flops" else counted.kv_share
    assert share == found.share


def test_keys_and_values_are_another_cost_than_work(prepared, items):
    work = Meter(prepared, items, "flops").fit(TransPrune.high(), 0.5).method
    memory = Meter(prepared, items, "kv").fit(TransPrune.high(), 0.5).method
    assert work != memory


def test_a_method_that_only_evicts_keys_has_budgets_of_memory(prepared, items):
    found = Meter(prepared, items, "kv").fit(PLPHP(), 0.5)
    assert found.reached
    # the most it may store: what an attentive layer keeps
    assert prepared.nominal().cost(found.method).kv_share == pytest.approx(0.5, abs=0.01)
    assert not Meter(prepared, items, "flops").fit(PLPHP(), 0.5).reached


def test_milliseconds_are_measured_and_corrected(prepared, items, monkeypatch):
    # a clock in proportion to the visual tokens that a plan lets through, plus a fixed part
    meter = Meter(prepared, items, "flops")

    def pretend(method):
        return 10.0 if method is None else 2.0 + 8.0 * meter.prompt.share(method)

    monkeypatch.setattr(Meter, "milliseconds", lambda self, method: pretend(method))
    timed = Meter(prepared, items, "ms")
    found = timed.fit(DivPrune(), 5.0)

    assert timed.unpruned_ms == 10.0
    assert found.reached
    assert found.share == pytest.approx(5.0, rel=0.05)
    assert not timed.fit(DivPrune(), 1.0).reached


def test_a_prefill_takes_time(prepared, items):
    assert Meter(prepared, items, "ms").milliseconds(DivPrune(0.1)) > 0


def test_an_unreachable_budget_names_the_nearest(prepared, items):
    meter = Meter(prepared, items, "flops")
    methods = {"transprune": TransPrune.high()}
    nearest = meter.fit(TransPrune.high(), 0.03, move=True).share

    with pytest.raises(TuneError, match=f"nearest is {100 * nearest:.1f} %, by transprune"):
        check_reachable(meter, parse_budget("0.03", "flops"), methods)


def test_one_method_that_reaches_it_is_enough(prepared, items):
    meter = Meter(prepared, items, "flops")
    methods = {"transprune": TransPrune.high(), "both": resolve("divprune+transprune")}
    check_reachable(meter, parse_budget("0.1", "flops"), methods)
