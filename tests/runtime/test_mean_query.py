"""PACT's score within a model, against a slow loop over heads and keys in the eager model's own projections.

The mean query and the softmax take in every real row up to the pool's last token: text, a sink, other pools; but no
padding, no row that an earlier boundary dropped, and nothing behind the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from families.cases import FAMILIES, IMAGE, Sample
from reference import Forced
from transprune import prune
from transprune.methods import PACT, Compose

LAYER = 4
METHOD = PACT(layer=LAYER, keep_ratio=0.5)


@torch.no_grad()
def recorded_scores(model: Any, inputs: dict[str, Tensor], method: Any, **options: Any) -> list:
    """The scores of the last stage, one tensor per sample."""
    with prune(model, method, record="scores", **options) as session:
        model(**inputs)
    return session.trace.stages[-1].scores["score"]


@torch.no_grad()
def rows_entering(model: Any, inputs: dict[str, Tensor], method: Any = None, **options: Any) -> Any:
    """What layer `LAYER - 1` gave. [B, L, D]."""
    seen = []
    hook = (
        model.get_decoder()
        .layers[LAYER - 1]
        .register_forward_hook(lambda module, args, output: seen.append(output))
    )
    try:
        if method is None:
            model(**inputs)
        else:
            with prune(model, method, **options):
                model(**inputs)
    finally:
        hook.remove()

    return seen[0][0] if isinstance(seen[0], tuple) else seen[0]


@torch.no_grad()
def slow_scores(model: Any, hidden: Tensor, visual: Sequence[int]) -> Tensor:
    """The score of the rows `visual` of one prompt [L, D] without padding, head by head."""
    layer = model.get_decoder().layers[LAYER]
    attention = layer.self_attn
    width = attention.head_dim

    # nothing behind the last visual row is read
    rows = layer.input_layernorm(hidden[: visual[-1] + 1])
    queries = attention.q_proj(rows)
    keys = attention.k_proj(rows)
    heads = queries.shape[1] // width
    shared = queries.shape[1] // keys.shape[1]

    total = torch.zeros(len(rows))
    for head in range(heads):
        place = head // shared * width
        query = queries[:, head * width : (head + 1) * width].mean(dim=0)
        logits = keys[:, place : place + width] @ query / width**0.5
        powers = (logits - logits.max()).exp()
        total += powers / powers.sum() / heads

    norms = hidden[: visual[-1] + 1].square().sum(dim=1).sqrt()
    return (total * norms)[list(visual)]


def visual_slots(sample: Sample) -> list[int]:
    return [slot for slot, token in enumerate(sample.ids) if token == IMAGE]


def test_every_row_up_to_the_last_visual_one_and_no_padding(zoo, family, attn):
    samples = FAMILIES[family].ragged()
    found = recorded_scores(zoo(family, attn), FAMILIES[family].batch(samples), METHOD)

    for sample, score in zip(samples, found, strict=True):
        hidden = rows_entering(zoo(family), FAMILIES[family].batch([sample]))[0]
        expected = slow_scores(zoo(family), hidden, visual_slots(sample))
        torch.testing.assert_close(score, expected, atol=1e-5, rtol=1e-4)


def test_the_text_in_front_matters(zoo, family):
    """Otherwise the comparison above would say nothing about it."""
    sample = FAMILIES[family].ragged()[0]
    hidden = rows_entering(zoo(family), FAMILIES[family].batch([sample]))[0]
    slots = visual_slots(sample)

    with_text = slow_scores(zoo(family), hidden, slots)
    alone = slow_scores(zoo(family), hidden[slots], range(len(slots)))
    assert float((alone / with_text - 1).abs().max()) > 0.02  # the comparisons allow 1e-4


def test_pools_of_one_image_read_the_image_in_front_as_context(zoo, family):
    sample = FAMILIES[family].ragged()[0]
    inputs = FAMILIES[family].batch([sample])
    found = recorded_scores(zoo(family, "sdpa"), inputs, METHOD, pool="image")[0]

    hidden = rows_entering(zoo(family), inputs)[0]
    slots = visual_slots(sample)
    first = sample.images[0].tokens
    expected = [slow_scores(zoo(family), hidden, pool) for pool in (slots[:first], slots[first:])]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("positions", ["keep", "renumber"])
def test_rows_that_an_earlier_boundary_dropped_are_not_read(zoo, family, positions):
    if positions not in FAMILIES[family].positions:
        pytest.skip("positions cannot be renumbered")
    samples = FAMILIES[family].ragged()
    inputs = FAMILIES[family].batch(samples)
    cut = Forced.of(samples, [{2: range(0, sample.visual_tokens, 3)} for sample in samples])
    model = zoo(family, "sdpa")
    both = Compose([cut, METHOD])

    found = recorded_scores(model, inputs, both, positions=positions)
    hidden = rows_entering(model, inputs, cut, positions=positions)
    for row, (sample, score) in enumerate(zip(samples, found, strict=True)):
        dropped = sample.visual_tokens - len(range(0, sample.visual_tokens, 3))
        running = len(sample.ids) - dropped
        slots = visual_slots(sample)
        gone = set(slots) - set(slots[::3])
        stay = [slot for slot in range(len(sample.ids)) if slot not in gone]

        # fillers and padding stand on the left
        alone = hidden[row, -running:]
        visual = [number for number, slot in enumerate(stay) if slot in set(slots)]
        expected = slow_scores(model, alone, visual)
        torch.testing.assert_close(score, expected, atol=1e-5, rtol=1e-4)
