"""Gradients flow through what stays, for every method: choices are not differentiable, contents are."""

import pytest

from families.cases import FAMILIES
from methods.cases import CASES
from transprune import prune


@pytest.mark.parametrize("name", CASES)
def test_gradients_reach_the_projector(zoo, family, name):
    if family in CASES[name].refuses:
        pytest.skip(CASES[name].refuses[family])
    model, inputs = zoo(family, "sdpa"), FAMILIES[family].batch(FAMILIES[family].ragged())
    projector = [p for n, p in model.named_parameters() if "projector" in n or "merger" in n]
    try:
        with prune(model, CASES[name].method):
            loss = model(**inputs).logits[:, -1].float().logsumexp(dim=-1).sum()
        loss.backward()
        gradients = [parameter.grad for parameter in projector]
    finally:
        model.zero_grad(set_to_none=True)

    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
