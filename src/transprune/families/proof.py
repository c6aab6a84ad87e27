"""A proof that pruning is right in one model: its own outputs, with and without pruning.

A prompt of a few text tokens and 16 placeholders runs with random features, in the form in which
the model's own encoder hands them over. Keeping every token has to give the same logits to the
bit. Dropping half of the tokens in front of the language model has to give those of a prompt that
never had them, with the positions of those that are left. Dropping in the middle has to run, and
to give numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from transprune.families.base import Family
from transprune.families.trial import Session, Trial
from transprune.families.wrappers import unwrap

# largest difference over the largest logit: another order of the same sums
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
HALF = 0.05


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

    with _as_it_is(outer):
        trial = Trial(outer, family)
        plain = trial.find_form()
        half = trial.layers // 2
        for recipe in ("uniform:keep=0:1.0", f"uniform:keep={half}:1.0"):
            if not torch.equal(trial.pruned(session, recipe), plain):
                raise trial.refusal("keeping every token changes its output")

        _check_dropping(trial, session, plain)


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


@contextmanager
def _as_it_is(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients within; every module's mode and the random state after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.random.fork_rng(), torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
