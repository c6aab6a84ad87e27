"""Families that the common contracts do not fit: no SDPA, attention without rows, a prompt that is seen both ways."""

from __future__ import annotations

import pytest
import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

from families.cases import build, greedy
from families.listener import quick
from families.models.embedded import APART
from methods.cases import METHODS
from reference import Forced, draw_keeps
from replay import replay
from transprune import prune
from transprune.errors import MissingSignal
from transprune.families import FAMILIES, find_family
from transprune.families.embedded import TABLE
from transprune.families.refused import REFUSED, reason_against

NEAR = 3e-5
PLACES = ({0: 0.6, 3: 0.3}, {2: 0.8, 6: 0.2})
READERS = [name for name, case in METHODS.items() if case.method.steps[0].reads.vision]
# what reads queries and keys; the last two have them at their own boundaries
OF_ATTENTION = [
    *(name for name, case in METHODS.items() if any(s.reads.rows for s in case.method.steps)),
    "pact",
    "shortv",
]


@pytest.fixture(scope="module", params=APART)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return build(APART[name]).eval()


def whole(inputs, new):
    """The prompt and what was generated behind it, which is attended to and no prefix."""
    longer = dict(inputs)
    longer["input_ids"] = torch.cat([inputs["input_ids"], new[None]], dim=1)
    for key in ("attention_mask", "token_type_ids"):
        if key in inputs:
            ones = torch.ones_like(new)[None].to(inputs[key].dtype)
            longer[key] = torch.cat([inputs[key], ones], dim=1)
    return longer


def run(model, method, inputs):
    with torch.no_grad(), prune(model, method) as session:
        logits = model(**inputs).logits
    return session, logits


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("kind", quick(["even", "ragged"], ["ragged"]))
def test_pruned_equals_the_replay_at_every_step(name, model, kind, places):
    case = APART[name]
    samples = getattr(case, kind)()
    inputs = case.batch(samples)
    with torch.no_grad():
        plain = greedy(model, inputs, steps=4)
        with prune(model, Forced.everything(samples, places)):
            kept = greedy(model, inputs, steps=4)
        assert all(torch.equal(a, b) for a, b in zip(kept.logits, plain.logits, strict=True))

        keeps = [draw_keeps(sample, places) for sample in samples]
        with prune(model, Forced.of(samples, keeps)):
            run = greedy(model, inputs, steps=4)
    eager = build(case).eval()
    eager.set_attn_implementation("eager")
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        alone = case.batch([sample])
        expected = replay(eager, whole(alone, run.sequences[row, -4:-1]), keep)
        steps = torch.stack([logits[row] for logits in run.logits])
        torch.testing.assert_close(steps, expected[len(sample.ids) - 1 :], atol=NEAR, rtol=0)
        assert float((steps - torch.stack([p[row] for p in plain.logits])).abs().max()) > 0.1


@pytest.mark.parametrize("method", quick(METHODS, ["divprune", "fastv", "transprune", "visionzip"]))
def test_methods_run_or_refuse_by_name(name, model, method):
    inputs = APART[name].batch(APART[name].ragged())
    if method in READERS:
        with pytest.raises(MissingSignal, match=find_family(model).title):
            prune(model, METHODS[method].method)
        return
    if name == "kimi_k25" and method in OF_ATTENTION:
        with pytest.raises(MissingSignal, match="_proj"):
            run(model, METHODS[method].method, inputs)
        return
    session, logits = run(model, METHODS[method].method, inputs)
    assert logits.isfinite().all()
    drops = METHODS[method].drops
    fewer = all(
        len(keep) < sample.visual_tokens
        for keep, sample in zip(
            session.trace.stages[-1].keep if drops else [],
            APART[name].ragged(),
            strict=False,
        )
    )
    assert fewer


def test_what_is_refused_is_no_family_and_has_its_reason():
    known = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) | set(
        MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
    )
    for model_type in REFUSED:
        assert model_type not in FAMILIES
        assert model_type in known
        assert len(reason_against(model_type)) > 30
    assert reason_against("llava") is None


def test_every_row_has_a_title_of_its_own():
    titles = [row.title for row in TABLE.values()]
    assert len(set(titles)) == len(titles)
