"""Training: the loss of a pruned forward, and gradients with and without checkpointing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from families.case import SPECIAL
from families.contract import Beside, apart
from families.modes.common import mode, ragged
from reference import Forced
from transprune import prune
from transprune.errors import TransformersError


def text_labels(inputs: dict[str, Tensor]) -> Tensor:
    """Labels on text behind text: what stands behind an image would be predicted by a dropped token."""
    ids = inputs["input_ids"]
    special = torch.isin(ids, torch.tensor(SPECIAL)) | (inputs["attention_mask"] == 0)
    behind = nn.functional.pad(special[:, :-1], (1, 0), value=True)
    return ids.masked_fill(special | behind, -100)


@mode("labels and loss")
def loss(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    labels = text_labels(inputs)
    with torch.no_grad(), prune(beside.model, method):
        got = beside.model(**inputs, labels=labels).loss

    terms = []
    for row, sample in enumerate(samples):
        logits = beside.expected(sample, extra=None, **told[row])
        wanted = labels[row, -len(sample.ids) :]
        at = (wanted != -100).nonzero().flatten()
        terms.append(nn.functional.cross_entropy(logits[at - 1], wanted[at], reduction="none"))
    beside.near(apart(got, torch.cat(terms).mean()), samples)


@mode("gradient checkpointing")
def checkpointing(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    plain = gradients(beside, method, inputs, checkpoint=False)
    try:
        again = gradients(beside, method, inputs, checkpoint=True)
    except TransformersError as refused:  # up to 5.22
        pytest.skip(str(refused))
    assert plain.keys() == again.keys()
    assert any(bool(gradient.any()) for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def gradients(
    beside: Beside, method: Forced, inputs: dict[str, Tensor], *, checkpoint: bool
) -> dict[str, Tensor]:
    """Gradients of a decoder's weights, of a model of our own in training."""
    model = beside.zoo.fresh(beside.name, beside.attn).train()
    if checkpoint:
        # renamed in 5.23
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    with prune(model, method):
        model(**inputs, labels=text_labels(inputs), use_cache=False).loss.backward()
    named = model.get_decoder().named_parameters()
    return {name: weight.grad.clone() for name, weight in named if weight.grad is not None}
