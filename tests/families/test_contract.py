"""Every family: keep-all is the model itself, and a pruned run is its replay, at every step and in any batch."""

from __future__ import annotations

import pytest
import torch

from families.cases import FAMILIES, MODELS, greedy
from families.contract import (
    ATTENTIONS,
    KINDS,
    PLACES,
    Beside,
    case_of,
    declared,
    forced,
    products,
    samples_of,
)
from reference import Forced, draw_biases, draw_keeps, reference
from replay import replay
from transprune import prune


def is_core(name: str, attn: str, kind: str, place: str, *rest: str) -> bool:
    """One case per family runs every time."""
    return (attn, kind, place) == ("sdpa", "ragged", "early")


everywhere = pytest.mark.parametrize(
    ("name", "attn", "kind", "place"), products(is_core, list(MODELS), ATTENTIONS, KINDS, PLACES)
)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_replay_is_the_reference(zoo, name):
    """Where the stricter reference knows the decoder, the two agree to the last bits."""
    case = MODELS[name]
    extra = torch.tensor([11, 12, 13])
    for sample in case.ragged():
        keeps = draw_keeps(sample, PLACES["middle"])
        told = {"biases": draw_biases(sample, keeps), "frozen": (1, 5)}
        for positions in case.positions:
            given = (zoo(name), case.batch([sample]), keeps, extra, positions)
            ours, theirs = replay(*given, **told), reference(*given, **told)
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0, equal_nan=True)


@pytest.mark.parametrize("name", MODELS)
def test_the_replay_of_every_row_is_the_model(zoo, name):
    case = case_of(name)
    for sample in case.ragged():
        inputs = case.batch([sample])
        with torch.no_grad():
            plain = zoo(name)(**inputs, use_cache=False).logits[0]
        torch.testing.assert_close(replay(zoo(name), inputs, {}), plain, atol=1e-5, rtol=0)


@everywhere
def test_keeping_everything_changes_not_a_bit(zoo, record_property, name, attn, kind, place):
    case = case_of(name)
    samples = samples_of(case, kind)
    model, inputs = zoo(name, attn), case.batch(samples)
    with torch.no_grad():
        plain, plain_run = model(**inputs).logits, greedy(model, inputs, steps=4)
        method = Forced.everything(samples, PLACES[place])
        with declared(record_property, name, "mode", "greedy", attn), prune(model, method):
            kept, kept_run = model(**inputs).logits, greedy(model, inputs, steps=4)
            assert torch.equal(kept, plain)
            assert torch.equal(kept_run.sequences, plain_run.sequences)
            pairs = zip(kept_run.logits, plain_run.logits, strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)


@everywhere
def test_pruned_equals_the_replay_at_every_step(zoo, record_property, name, attn, kind, place):
    case = case_of(name)
    samples = samples_of(case, kind)
    beside, inputs = Beside(zoo, name, attn), case.batch(samples)
    method, told = forced(samples, PLACES[place])
    for positions in case.positions:
        with torch.no_grad(), declared(record_property, name, "mode", "greedy", attn):
            with prune(beside.model, method, positions=positions) as session:
                full, run = beside.model(**inputs).logits, greedy(beside.model, inputs)
            own = [{**tell, "positions": positions} for tell in told]
            beside.check(samples, run, own, full)
            for row, tell in enumerate(told):
                kept = [stage.keep[row].tolist() for stage in session.trace.stages]
                assert kept == [list(keep) for keep in tell["keeps"].values()]


@pytest.mark.parametrize("name", MODELS)
def test_pruning_changes_the_answer(zoo, name):
    """The comparisons above would mean nothing if the model did not care."""
    case = case_of(name)
    sample = case.even()[0]
    inputs = case.batch([sample])
    keep = draw_keeps(sample, PLACES["early"])
    other = {**keep, 3: (*keep[3][1:], min(set(keep[0]) - set(keep[3])))}
    whole, ours, theirs = (replay(zoo(name), inputs, keeps)[-1] for keeps in ({}, keep, other))
    assert float((ours - whole).abs().max()) > 0.03
    # one token exchanged for another
    assert float((ours - theirs).abs().max()) > 1e-3
