"""Layers that read the keys of earlier ones number their rows as those keys were, with a cut between both too."""

from __future__ import annotations

import pytest
import torch

from families.cases import build
from families.models.patches import SHARED
from reference import Forced, draw_keeps
from replay import replay
from transprune import prune

NEAR = 6e-5  # as in test_gemma4


@pytest.mark.parametrize("places", [{4: 0.4}, {1: 0.8, 3: 0.6, 4: 0.4}], ids=str)
@pytest.mark.parametrize("kind", ["even", "ragged"])
def test_a_renumbered_whole_forward_equals_the_replay(places, kind):
    """`generate` runs these layers for the last token only, whose position never moves."""
    model = build(SHARED).eval()
    model.set_attn_implementation("eager")
    samples = getattr(SHARED, kind)()
    keeps = [draw_keeps(sample, places) for sample in samples]
    method = Forced.of(samples, keeps)
    with torch.no_grad(), prune(model, method, positions="renumber"):
        logits = model(**SHARED.batch(samples)).logits
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        expected = replay(model, SHARED.batch([sample]), keep, positions="renumber")
        alive = ~expected.isnan().any(dim=-1)
        own = logits[row, -len(sample.ids) :]
        torch.testing.assert_close(own[alive], expected[alive], atol=NEAR, rtol=0)
