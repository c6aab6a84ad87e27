"""A proof that pruning is right in one model: its own outputs, with and without pruning.

A prompt of a few text tokens and 16 placeholders runs with random features, in the form in which
the model's own encoder hands them over. Keeping every token has to give the same logits to the
bit. Dropping half of the tokens in front of the language model has to give those of a prompt that
never had them, with the positions of those that are left. Dropping in the middle has to run, and
to give numbers. The attention that methods read has to be that of the model's own eager maps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transprune.families.base import Family
from transprune.families.trial import Session, Trial
from transprune.families.untouched import left_as_it_was
from transprune.families.wrappers import unwrap

# largest difference over the largest logit: another order of the same sums
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
HALF = 0.05
# largest difference of an attention probability
NEAR = {torch.float32: 1e-5, torch.float64: 1e-6}  # scores are float32
HALF_NEAR = 0.01


def prove_on(model: nn.Module, family: Family, session: Session) -> None:
    """Compare outputs of `model` with and without pruning.

    Nothing is proven where there are no weights (torch's meta device).

    Raises:
        UnknownFamily: they differ, or the model does not take features of the usual form.
    """
    outer: Any = unwrap(model)
    # weights that accelerate keeps elsewhere are on the meta device too, and come when they are used
    there = hasattr(outer, "hf_device_map")
    if not there and all(weight.is_meta for weight in outer.parameters()):
        return

    with left_as_it_was(outer):
        trial = Trial(outer, family)
        plain = trial.find_form()
        half = trial.layers // 2
        for recipe in ("uniform:keep=0:1.0", f"uniform:keep={half}:1.0"):
            if not torch.equal(trial.pruned(session, recipe), plain):
                raise trial.refusal("keeping every token changes its output")

        _check_dropping(trial, session, plain)
        if trial.layers > 1:
            _check_attention(trial, session)


def _check_dropping(trial: Trial, session: Session, plain: Tensor) -> None:
    """Drop every second token, in front of the first layer and in the middle."""
    dropped = trial.pruned(session, "uniform:keep=0:0.5")
    if trial.can_be_shortened:
        expected = trial.run(trial.kept)
        limit = TOLERANCE.get(plain.dtype, HALF) * float(expected.abs().max())
        difference = float((dropped[:, -1] - expected[:, -1]).abs().max())
        if not difference <= limit:
            raise trial.refusal(
                "dropping tokens is not the same as a prompt without them (logits differ by "
                f"{difference:.2g}, {limit:.2g} would be rounding)"
            )

    middle = trial.pruned(session, f"uniform:keep={trial.layers // 2}:0.5")
    if middle.shape != plain.shape or not torch.isfinite(middle[:, -1]).all():
        raise trial.refusal("dropping tokens in the middle gives no output")


def _check_attention(trial: Trial, session: Session) -> None:
    """Compare what methods read of the layers at a boundary with the maps of the model itself."""
    # FastV reads the layer in front of its boundary, PyramidDrop the one behind it
    readings = [(f"pdrop:keep={layer}:0.5", layer) for layer in trial.one_of_each_kind if layer > 0]
    readings += [
        (f"fastv:layer={layer + 1}", layer)
        for layer in trial.one_of_each_kind
        if layer + 1 < trial.layers
    ]

    for recipe, layer in readings:
        scores = trial.scores(session, recipe)
        if scores is None:
            continue  # there is no attention that can be read, and the method says so

        attention = trial.attention(layer)
        if attention is None:
            continue  # this class returns no maps

        difference = float((scores - trial.last_row(attention)).abs().max())
        if not difference <= NEAR.get(attention.dtype, HALF_NEAR):
            raise trial.refusal(
                f"the attention that is read of decoder layer {layer} is not the model's own "
                f"(probabilities differ by {difference:.2g})"
            )
