"""Whatever a model is called with: keeping everything changes no bit, and no mode changes a choice."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from families.cases import IMAGE
from property.prompts import ATTENTION, KEEP_ALL, METHODS, batches, kept, often, same
from reference import TOLERANCE
from transprune import prune
from transprune.core.library import cache_argument

pytestmark = pytest.mark.filterwarnings("ignore::transprune.errors.PruneWarning")

methods = st.sampled_from(METHODS)

OPTIONS = {
    "use_cache": [True, False],
    "output_hidden_states": [True],
    "output_attentions": [True],
    "return_dict": [False],
    "logits_to_keep": [1, 4],
    "labels": [True],
}
MODES = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "grad": torch.enable_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@contextmanager
def default_dtype(dtype):
    """Tensors made without a dtype get another one."""
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@often(40)
@given(
    batches(),
    st.sampled_from(KEEP_ALL),
    ATTENTION,
    st.fixed_dictionaries({}, optional={k: st.sampled_from(v) for k, v in OPTIONS.items()}),
    st.sampled_from(list(MODES)),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_keeping_everything_is_the_identity_however_it_is_called(
    zoo, batch, method, attention, options, mode, dtype
) -> None:
    inputs = batch.inputs
    model = zoo(batch.name, attention)
    call = {**inputs, **options}
    if "labels" in options:
        call.pop("logits_to_keep", None)  # the loss is over all of them
        call["labels"] = torch.where(inputs["input_ids"] == IMAGE, -100, inputs["input_ids"])

    with MODES[mode](), default_dtype(dtype):
        expected = model(**call)
        with prune(model, method):
            assert same(model(**call), expected)


@often(12)
@given(batches(most=2), methods, st.sampled_from([torch.bfloat16, torch.float64]))
def test_another_default_dtype_changes_no_choice(zoo, batch, method, dtype) -> None:
    model = zoo(batch.name, "sdpa")
    stages, logits = kept(model, method, batch.inputs)
    with default_dtype(dtype):
        again, other = kept(model, method, batch.inputs)
    assert again == stages
    torch.testing.assert_close(other, logits, atol=2 * TOLERANCE, rtol=0)


@often(12)
@given(batches(most=2), methods)
def test_gradients_and_modes_change_no_choice(zoo, batch, method) -> None:
    model = zoo(batch.name, "eager")
    stages, logits = kept(model, method, batch.inputs)
    weights = model.get_input_embeddings().weight
    with prune(model, method) as session:
        got = model(**batch.inputs).logits
        (slope,) = torch.autograd.grad(got.square().sum(), weights)

    # with gradients nothing is computed ahead for the next layer, so sums may round otherwise
    torch.testing.assert_close(got.detach(), logits, atol=TOLERANCE, rtol=0)
    assert [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages] == stages
    assert slope.isfinite().all()
    assert slope.any()


@often(12)
@given(batches(most=2), methods, st.integers(1, 60), st.booleans())
def test_asking_for_some_logits_changes_no_choice(zoo, batch, method, wanted, cached) -> None:
    """With an empty cache too, as a first pass over drafts has one."""
    model = zoo(batch.name, "sdpa")
    stages, logits = kept(model, method, batch.inputs)
    call = {**batch.inputs, "logits_to_keep": wanted}
    if cached:
        call |= cache_argument(model, DynamicCache())
    again, other = kept(model, method, call)
    assert again == stages
    torch.testing.assert_close(other, logits[:, -wanted:], atol=2 * TOLERANCE, rtol=0)
