"""`prune(..., compile=True)`: the same choices from compiled maths, and the plain ones where it fails."""

import pytest
import torch

from families.cases import FAMILIES
from transprune import TransPrune, prune
from transprune.core.transitions import transition_of
from transprune.errors import MethodError, PruneWarning
from transprune.runtime.fused import Fused

METHOD = TransPrune({2: 0.6, 5: 0.3})
RECORDS = ("scores", "transitions")


def run(model, inputs, **options):
    with torch.no_grad(), prune(model, METHOD, record=RECORDS, **options) as session:
        logits = model(**inputs).logits
    return logits, session.trace


@pytest.mark.parametrize("kind", ["even", "ragged"])
def test_compiled_maths_chooses_the_same(zoo, family, kind):
    model, case = zoo(family, "sdpa"), FAMILIES[family]
    inputs = case.batch(getattr(case, kind)())
    plain, expected = run(model, inputs)
    logits, found = run(model, inputs, compile="aot_eager")

    torch.testing.assert_close(logits, plain)
    for stage, other in zip(found.stages, expected.stages, strict=True):
        assert all(map(torch.equal, stage.keep, other.keep))
        for score, same in zip(stage.scores["score"], other.scores["score"], strict=True):
            torch.testing.assert_close(score, same, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_one_kernel_of_the_default_backend(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch(case.even())
    plain, _ = run(model, inputs)
    torch.testing.assert_close(run(model, inputs, compile=True)[0], plain)


@pytest.mark.parametrize("compiled", ["nonsense", None, 3, ["inductor"]])
def test_no_such_backend(zoo, compiled):
    with pytest.raises(MethodError, match="compile is True, False or"):
        prune(zoo("llava", "sdpa"), METHOD, compile=compiled)


def test_a_compiler_that_fails_is_left_out():
    def broken(graph, inputs):
        raise OSError("no C++ compiler was found")

    fused = Fused(transition_of, broken)
    rows = torch.rand(1, 4, 8, dtype=torch.float32)
    with pytest.warns(PruneWarning, match="transition_of could not be compiled"):
        first = fused(rows, 2 * rows)
    assert all(map(torch.equal, first, transition_of(rows, 2 * rows)))
    fused(rows, rows)  # without a second warning
