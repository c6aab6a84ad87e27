"""Methods that take several pools in one call: a batch equals its samples, in as many calls as there are shapes."""

from __future__ import annotations

import pytest
import torch

from families.cases import FAMILIES
from methods.cases import CASES
from transprune import PDrop, Uniform, prune
from transprune.methods.common.method import LayerPruner


def batched_steps(method):
    return [step for step in method.steps if isinstance(step, LayerPruner) and step.batched]


BATCHED = [name for name, case in CASES.items() if batched_steps(case.method)]


def run(model, method, inputs):
    with torch.no_grad(), prune(model, method, record=("scores",)) as session:
        model(**inputs)
    return session.trace.stages


@pytest.fixture
def calls(monkeypatch):
    """Boundary and shape of every call of `score`."""
    made = []
    steps = [type(step) for name in BATCHED for step in batched_steps(CASES[name].method)]
    homes = {next(home for home in kind.__mro__ if "score" in vars(home)) for kind in steps}
    for kind in homes:
        own = kind.score

        def score(self, view, carry, own=own):
            made.append((view.boundary, tuple(view.candidates.shape)))
            return own(self, view, carry)

        monkeypatch.setattr(kind, "score", score)
    return made


def same(stages, sample, alone):
    """Sample `sample` of a batch keeps the same tokens by the same scores as alone."""
    for stage, single in zip(stages, alone, strict=True):
        assert torch.equal(stage.keep[sample], single.keep[0])
        for name, scores in (single.scores or {}).items():
            torch.testing.assert_close(
                stage.scores[name][sample], scores[0], atol=1e-6, rtol=0, equal_nan=True
            )


@pytest.mark.parametrize("kind", ["equal", "ragged"])
@pytest.mark.parametrize("name", BATCHED)
def test_a_batch_equals_its_samples(zoo, family, calls, name, kind):
    case = FAMILIES[family]
    method = CASES[name].method
    samples = [
        case.sample([number % 3 if kind == "ragged" else 0], [3, 6], number) for number in range(4)
    ]
    if kind == "ragged":
        samples.append(case.sample([0, 1], [3, 2, 9], 9))

    model = zoo(family, "sdpa")
    stages = run(model, method, case.batch(samples))
    together = list(calls)
    for number, sample in enumerate(samples):
        same(stages, number, run(model, method, case.batch([sample])))

    # pools of one size share a call
    boundaries = {stage.boundary for stage in stages} & {boundary for boundary, _ in together}
    for boundary in boundaries:
        stage = next(stage for stage in stages if stage.boundary == boundary)
        sizes = {len(tokens) for tokens in stage.candidates}
        own = [shape for where, shape in together if where == boundary]
        assert len(own) == len(sizes), f"boundary {boundary}: {own}"
        assert sum(shape[0] for shape in own) == len(samples)


def test_a_subclass_is_asked_pool_by_pool_unless_it_says_otherwise():
    class Other(PDrop):
        def score(self, view, carry):
            return {"score": -view.mean_attention("last")}

    class Same(Uniform):
        pass

    assert not Other.batched
    assert Same.batched
