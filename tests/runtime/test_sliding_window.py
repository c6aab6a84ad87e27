"""Sliding windows: distances are those of the unpruned prompt, although fewer keys lie between."""

import pytest
import torch

from families.cases import WINDOWED, build, greedy
from reference import PLACES, TOLERANCE, Forced, draw_keeps, reference
from transprune import FastV, TransPrune, prune


@pytest.fixture(scope="module")
def eager():
    return build(WINDOWED).eval()


@pytest.fixture
def windowed(eager, attn):
    eager.set_attn_implementation(attn)
    yield eager
    eager.set_attn_implementation("eager")


@pytest.mark.parametrize("positions", ["keep", "renumber"])
@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("kind", ["even", "ragged"])
def test_pruned_equals_the_oracle_at_every_step(windowed, kind, places, positions):
    samples = getattr(WINDOWED, kind)()
    keeps = [draw_keeps(sample, places) for sample in samples]
    with prune(windowed, Forced.of(samples, keeps), positions=positions):
        run = greedy(windowed, WINDOWED.batch(samples))
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        new = run.sequences[row, -9:-1]
        expected = reference(windowed, WINDOWED.batch([sample]), keep, new, positions)[-9:]
        torch.testing.assert_close(
            torch.stack(run.logits, dim=1)[row], expected, atol=TOLERANCE, rtol=0
        )


def test_keeping_everything_changes_not_a_bit(windowed):
    samples = WINDOWED.ragged()
    plain = greedy(windowed, WINDOWED.batch(samples))
    with prune(windowed, Forced.everything(samples, (2, 4))):
        kept = greedy(windowed, WINDOWED.batch(samples))
    assert all(torch.equal(a, b) for a, b in zip(kept.logits, plain.logits, strict=True))


@pytest.mark.parametrize(
    "method", [TransPrune({2: 0.6, 4: 0.3}), FastV(layer=2)], ids=lambda m: m.name
)
def test_a_batch_equals_its_singles(windowed, method):
    samples = WINDOWED.ragged()
    with prune(windowed, method) as session:
        greedy(windowed, WINDOWED.batch(samples), steps=3)
        together = session.trace
        for row, sample in enumerate(samples):
            greedy(windowed, WINDOWED.batch([sample]), steps=3)
            for one, both in zip(session.trace.stages, together.stages, strict=True):
                assert torch.equal(one.keep[0], both.keep[row])
