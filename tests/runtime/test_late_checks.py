"""On a GPU checks are read late: with the trace, at the next prompt, or when the session is left."""

from dataclasses import dataclass

import pytest
import torch

from families.cases import FAMILIES
from transprune import TransPrune, prune
from transprune.core.views import Selection
from transprune.errors import MethodError, PruneWarning
from transprune.methods import FastV
from transprune.runtime import checks, passes

METHOD = TransPrune({2: 0.6, 5: 0.3})


@dataclass(frozen=True)
class Twice(FastV):
    """Returns the same token twice."""

    batched = False

    def select(self, view, carry=None):
        return Selection(torch.zeros(view.count, dtype=torch.long))


@dataclass(frozen=True)
class Outside(FastV):
    """Returns tokens that do not exist."""

    batched = False

    def select(self, view, carry=None):
        return Selection(torch.arange(view.count) + len(view.candidates))


@pytest.fixture(autouse=True)
def waiting(monkeypatch):
    """Read numbers as those of a device that has to be waited for."""
    monkeypatch.setattr(checks, "is_free", lambda device: False)
    monkeypatch.setattr(passes, "is_free", lambda device: False)


@pytest.fixture
def model(zoo):
    return zoo("llava", "sdpa")


@pytest.fixture
def inputs():
    case = FAMILIES["llava"]
    return case.batch(case.even()[:1])


@pytest.fixture
def broken(zoo, inputs):
    """A model whose fourth layer puts out numbers that are none."""
    model = zoo.fresh("llava", "sdpa")
    with torch.no_grad():
        model.model.language_model.layers[3].mlp.down_proj.weight.fill_(float("nan"))
    return model


def test_scores_that_are_no_numbers_are_told_with_the_trace(broken, inputs):
    with torch.no_grad(), prune(broken, METHOD) as session:
        broken(**inputs)
        with pytest.warns(PruneWarning, match="boundary 5: scores are not finite"):
            trace = session.trace
    assert any("not finite" in note for note in trace.notes)


def test_or_at_the_next_prompt(broken, inputs):
    session = prune(broken, METHOD).attach()
    with torch.no_grad():
        broken(**inputs)
        with pytest.warns(PruneWarning, match="not finite"):
            broken(**inputs)
    with pytest.warns(PruneWarning, match="not finite"):
        session.detach()


def test_or_when_the_session_is_left(broken, inputs):
    session = prune(broken, METHOD).attach()
    with torch.no_grad():
        broken(**inputs)
    with pytest.warns(PruneWarning, match="not finite"):
        session.detach()


READERS = {
    "trace": lambda session, model, inputs: session.trace,
    "prompt": lambda session, model, inputs: model(**inputs),
    "detach": lambda session, model, inputs: session.detach(),
}


@pytest.mark.parametrize("method", [Twice(), Outside()], ids=["twice", "outside"])
@pytest.mark.parametrize("reader", READERS)
def test_what_a_third_party_returned(model, inputs, method, reader):
    session = prune(model, method).attach()
    with torch.no_grad():
        model(**inputs)
        with pytest.raises(MethodError, match="distinct ascending"):
            READERS[reader](session, model, inputs)
    session.detach()


def test_our_own_methods_leave_one_read(model, inputs, monkeypatch):
    reads = []
    read = checks.to_host
    monkeypatch.setattr(checks, "to_host", lambda tensors: reads.append(tensors) or read(tensors))
    with torch.no_grad(), prune(model, METHOD) as session:
        model(**inputs)
        assert not reads
        for _ in range(2):
            assert session.trace.stages
    assert len(reads) == 1
