"""A new signal is one class and one name in the engine's list: no view, no session and no stage knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from families.cases import FAMILIES
from transprune import prune
from transprune.algebra.select import select_top
from transprune.core.signals import Reads
from transprune.core.views import ProjectorView, Selection
from transprune.errors import MissingSignal
from transprune.methods.common.projector import KeepPruner
from transprune.runtime import engine
from transprune.runtime.taps.base import Tap


class NormTap(Tap):
    """Offers the norm of the first decoder layer's normalised input, measured by a hook of its own."""

    def __init__(self, layer):
        self._layer = layer
        self.forwards = 0

    @classmethod
    def needed(cls, setup):
        names = {name for step in setup.method.steps for name in step.reads.signals}
        return cls(setup.layers[0]) if "norm" in names else None

    def attach(self, hooks):
        def count(module, args, output):
            self.forwards += 1

        hooks.after(self._layer, count)

    def offer(self, state, call, signals):
        normalised = self._layer.input_layernorm(call.hidden)
        signals["norm"] = lambda pool: normalised[pool.sample, pool.rows].norm(dim=-1)


@dataclass(frozen=True)
class Longest(KeepPruner):
    """Keeps the rows with the largest norm. Not registered."""

    name: ClassVar[str] = "longest"
    reads: ClassVar[Reads] = Reads(signals=("norm",))

    def select(self, view: ProjectorView) -> Selection:
        score = view.read("norm")
        return Selection(select_top(score, view.count), scores={"score": score})


@pytest.fixture
def with_tap(monkeypatch):
    monkeypatch.setattr(engine, "TAPS", (*engine.TAPS, NormTap))


def test_a_method_reads_a_signal_of_its_own(with_tap, model, family, inputs, samples):
    with torch.no_grad(), prune(model, Longest(0.5), record="scores") as session:
        model(**inputs)
    [stage] = session.trace.stages
    for sample, keep, score in zip(samples, stage.keep, stage.scores["score"], strict=True):
        assert len(keep) == sample.visual_tokens // 2
        assert torch.equal(keep, select_top(score, len(keep)))


def test_its_hooks_leave_with_the_session(with_tap, zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    session = prune(model, Longest(0.5))
    [tap] = [tap for tap in session._engine._taps if isinstance(tap, NormTap)]
    with torch.no_grad():
        with session:
            model(**case.batch(case.even()))
        model(**case.batch(case.even()))
    assert tap.forwards == 1


def test_without_the_tap_the_method_says_what_is_missing(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    missing = pytest.raises(MissingSignal, match="'norm' in `signals`")
    with torch.no_grad(), prune(model, Longest(0.5)), missing:
        model(**case.batch(case.even()))
