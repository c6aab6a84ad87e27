"""Which methods can be trained, how, and at which settings they are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from transprune.errors import TrainingError
from transprune.methods.asymvlm import AsymVLM
from transprune.methods.common.cross_attention import draw_module
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import METHODS, resolve
from transprune.methods.common.trained_weights import Fit
from transprune.methods.controls.random import Random
from transprune.methods.lvpruning import LVPruning
from transprune.training.asymvlm import AsymVLMTrainee
from transprune.training.loop import Trainee
from transprune.training.lvpruning import LVPruningTrainee

JUDGED_SHARE = 0.25  # of AsymVLM's tokens, to be compared at an equal count

Judged = dict[str, Method]


@dataclass(frozen=True)
class Kind:
    """A trained method.

    Attributes:
        trainee: makes what is trained of a method, its modules, prepared questions and a seed.
        judged: the method with its weights, and a control that keeps as many tokens.
    """

    trainee: Callable[..., Trainee]
    judged: Callable[[Any, str], Judged]


def _judge_lvpruning(method: LVPruning, folder: str) -> Judged:
    # by the budget: modules that decide may keep fewer than the control
    own = replace(method, weights=folder, decide="budget")
    return {"lvpruning": own, "random": Random(method.keep, positions=method.policy)}


def _judge_asymvlm(method: AsymVLM, folder: str) -> Judged:
    share = min(JUDGED_SHARE, method.most) if isinstance(method.most, float) else JUDGED_SHARE
    # the whole mass: the number is the upper bound, whatever the picture
    own = replace(method, weights=folder, mass=1.0, least=share, most=share)
    return {"asymvlm": own, "random": Random({0: share}, positions=method.policy)}


KINDS = {
    "lvpruning": Kind(LVPruningTrainee, _judge_lvpruning),
    "asymvlm": Kind(AsymVLMTrainee, _judge_asymvlm),
}


def trained_method(text: str) -> Any:
    """The trained method that a recipe text names.

    Raises:
        TrainingError: a method that needs no training, or one with weights.
        UnknownMethod, MethodError: no method of that name, or settings it refuses.
    """
    method = resolve(text)
    if method.name not in KINDS:
        known = ", ".join(name for name in METHODS if METHODS.get(name).fidelity == "trained")
        raise TrainingError(f"{method.name} needs no training; trained methods are {known}")
    if method.weights is not None:
        raise TrainingError(
            f"weights are what is trained here, and a training starts from random ones; got "
            f"{method.weights!r}. Leave the setting out"
        )

    return method


def draw_modules(
    fit: Fit, boundaries: list[int], seed: int, device: torch.device
) -> dict[int, dict[str, Tensor]]:
    """Random modules that require gradients, boundary -> weights."""
    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for boundary in boundaries:
        drawn = draw_module(fit.width, fit.inner, fit.outputs, generator)
        modules[boundary] = {
            name: value.to(device).requires_grad_(True) for name, value in drawn.items()
        }

    return modules
