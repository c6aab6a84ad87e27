"""Nothing to prune, or nothing that could be seen: the trace and the warnings tell the two apart."""

import re

import pytest
import torch

from families.cases import FAMILIES, IMAGE, greedy
from transprune import DivPrune, FastV, PDrop, Uniform, VisionZip, prune
from transprune.errors import LayoutError, PruneWarning
from transprune.methods import CDPruner
from transprune.methods.common.surplus import surplus_note

METHOD = FastV(layer=2)
NO_IMAGE = "no image in the prompt: ran unpruned"


@pytest.fixture(params=["llava", "qwen2_5_vl"])
def family(request):
    return request.param


@pytest.fixture
def model(zoo, family):
    return zoo(family, "sdpa")


@pytest.fixture
def inputs(family):
    return FAMILIES[family].batch(FAMILIES[family].even()[:1])


@torch.no_grad()
def run(model, inputs, method=METHOD, **options):
    with prune(model, method, **options) as session:
        model(**inputs)
    return session.trace


WORDS = {"input_ids": torch.arange(5, 12)[None]}


@torch.no_grad()
def merged(model, inputs):
    """Embeddings with the picture in them, as callers make who encode it themselves."""
    if hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = None  # Qwen uses those of its last prompt where ids are missing
    ids = inputs["input_ids"]
    pixels = {name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs}
    rows = model.get_input_embeddings()(ids)
    features = model.get_image_features(**pixels).pooler_output
    rows[ids == IMAGE] = torch.cat(list(features)).reshape(-1, rows.shape[-1])
    return rows


# ---------------------------------------------------------------------------------------------- embeddings


def test_a_merged_picture_without_ids(model, inputs):
    call = {"inputs_embeds": merged(model, inputs), "attention_mask": inputs["attention_mask"]}
    with prune(model, METHOD) as session, pytest.warns(PruneWarning, match="pass input_ids"):
        greedy(model, call, steps=2)
    assert not session.trace.stages
    assert NO_IMAGE not in session.trace.notes


@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
def test_a_merged_picture_with_ids_is_pruned(zoo, generate):
    """LLaVA's own forward refuses both; Qwen's takes both, and `generate` passes the token types."""
    model, case = zoo("qwen2_5_vl", "sdpa"), FAMILIES["qwen2_5_vl"]
    inputs = case.batch([case.sample([0, 1], [3, 2, 6])])
    call = {**inputs, "inputs_embeds": merged(model, inputs)}
    call.pop("pixel_values")
    with torch.no_grad(), prune(model, Uniform({2: 0.25}), pool="image") as session:
        greedy(model, call, steps=2) if generate else model(**call)
    assert session.trace.visual_tokens == (28,)
    kept = session.trace.stages[0].keep[0]
    assert [int((kept < 16).sum()), int((kept >= 16).sum())] == [4, 3]  # the runs are pictures


def test_the_language_model_by_itself(model):
    rows = torch.randn(1, 9, 64)
    with (
        torch.no_grad(),
        prune(model, METHOD) as session,
        pytest.warns(PruneWarning, match="whole model"),
    ):
        model.get_decoder()(inputs_embeds=rows)
    assert any("by itself" in note for note in session.trace.notes)


def test_a_mask_that_hides_the_picture(model, inputs):
    mask = (inputs["input_ids"] != IMAGE).long()
    with pytest.warns(PruneWarning, match="hides every visual token"):
        trace = run(model, {**inputs, "attention_mask": mask})
    assert not trace.stages


# ------------------------------------------------------------------------------------ forwards without images


def test_guidance_does_not_replace_the_trace(zoo):
    """Classifier-free guidance runs a second, text-only forward in `generate`."""
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch(case.even()[:1])
    with prune(model, METHOD) as session:
        greedy(model, inputs, steps=2)
        expected = session.trace.stages[0].keep[0]
        greedy(model, inputs, steps=2, guidance_scale=2.0, negative_prompt_ids=WORDS["input_ids"])
    assert torch.equal(session.trace.stages[0].keep[0], expected)
    assert f"a later prompt: {NO_IMAGE}" in session.trace.notes


def test_text_alone_says_so(model, inputs):
    with torch.no_grad(), prune(model, METHOD) as session:
        model(**WORDS)
        assert session.trace.notes == (NO_IMAGE,)
        model(**inputs)
        model(**WORDS)
        model(**WORDS)
        assert session.trace.notes.count(f"a later prompt: {NO_IMAGE}") == 1
        model(**inputs)
    assert not any("later prompt" in note for note in session.trace.notes)


# -------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("method", "says"),
    [
        (VisionZip(192), "keep=192 is at least the 16 visual tokens.*try keep=5 or keep=0.33"),
        (CDPruner(64, relevance="embedding"), "keep=64 is at least the 16.*keep=1 or keep=0.11"),
        (DivPrune(1.0), "keep all 16 visual tokens"),
        (PDrop({2: 1.0}), "keep all 16 visual tokens"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_budget_that_drops_nothing(zoo, method, says):
    trace = run(zoo("llava", "sdpa"), FAMILIES["llava"].batch(FAMILIES["llava"].even()), method)
    assert len(trace.stages[0].keep[0]) == 16
    notes = [note for note in trace.notes if "nothing is dropped" in note]
    assert len(notes) == 1
    assert re.search(says, notes[0])


def test_a_budget_that_drops_something_says_nothing():
    for method in (VisionZip(8), DivPrune(0.5), FastV(layer=2), PDrop({2: 1.0, 3: 0.5})):
        assert surplus_note(method, 8, 16) is None


# ---------------------------------------------------------------------------------------------- packed rows


def restarted(inputs):
    length = inputs["input_ids"].shape[1]
    positions = torch.arange(length)[None].clone()
    positions[:, 8:] -= 8
    return {**inputs, "position_ids": positions}


def blocks(inputs):
    length = inputs["input_ids"].shape[1]
    mask = torch.ones(length, length).tril().bool()
    mask[8:, :8] = False
    return {**inputs, "attention_mask": mask[None, None]}


def additive_blocks(inputs):
    mask = blocks(inputs)["attention_mask"]
    mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    return {**inputs, "attention_mask": mask}


def lengths(inputs):
    ends = torch.tensor([0, 8, inputs["input_ids"].shape[1]], dtype=torch.int32)
    return {**inputs, "cu_seq_lens_q": ends, "cu_seq_lens_k": ends}


def numbered(inputs):
    mask = inputs["attention_mask"].clone()
    mask[:, 8:] = 2
    return {**inputs, "attention_mask": mask}


@pytest.mark.parametrize("pack", [numbered, restarted, blocks, additive_blocks, lengths])
def test_samples_packed_in_one_row_are_refused(zoo, pack):
    """Their tokens would compete for one budget, and be scored by another sample's question."""
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch([case.sample([0, 2], [3, 2, 6])])
    with torch.no_grad(), prune(model, METHOD), pytest.raises(LayoutError, match="row of its own"):
        model(**pack(inputs))


def test_a_causal_mask_of_ones_own_is_no_packing(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch([case.sample([0, 2], [3, 2, 6])])
    length = inputs["input_ids"].shape[1]
    causal = torch.ones(length, length).tril().bool()[None, None]
    expected = run(model, inputs).stages[0].keep[0]
    assert torch.equal(run(model, {**inputs, "attention_mask": causal}).stages[0].keep[0], expected)
