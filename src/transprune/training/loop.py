"""The steps of a training: Adam, a warm-up and a cosine, checkpoints, and the loss on the way.

Everything in a step is a function of its number and the seed, so a killed training that resumes
from its checkpoint ends exactly as an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from transprune.bench.data.tasks.base import Item
from transprune.errors import TrainingError
from transprune.training.folder import read_state, take_weights, write_state
from transprune.training.plan import TrainPlan
from transprune.training.questions import batches

SAVE_SECONDS = 60.0
CURVE_POINTS = 60  # of the loss, in what is written at the end
WARM_UP = 0.05  # share of the steps
LARGEST_NORM = 1.0  # of the gradients

OnStep = Callable[[int, int, str], None]  # done, total, note


class Trainee(Protocol):
    """What is trained.

    Attributes:
        modules: boundary -> weights that require gradients.
    """

    modules: dict[int, dict[str, Tensor]]

    def loss(
        self, items: Sequence[Item], step: int, done: float
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of a batch, and figures to show."""


def train(
    trainee: Trainee, items: Sequence[Item], plan: TrainPlan, on_step: OnStep
) -> list[dict[str, float]] | None:
    """Train to the end, from the last checkpoint if there is one.

    Returns:
        The figures of every step, or None where the training was stopped before its end.

    Raises:
        TrainingError: a damaged checkpoint, or a loss that is no number.
    """
    optimizer = torch.optim.Adam(_weights(trainee), lr=plan.learning_rate)
    first, curve = _resume(trainee, optimizer, plan.out)
    last = plan.steps
    if plan.stop_after is not None:
        last = min(last, first + plan.stop_after)

    saved = time.monotonic()
    # drawn from the number of the step, so a resumed training sees what it would have seen
    drawn = batches(items, plan.batch_size, plan.seed, first, last)
    for step, batch in enumerate(drawn, start=first):
        figures = _step(trainee, optimizer, batch, step, plan)
        curve.append(figures)
        on_step(step + 1, plan.steps, f"loss {figures['loss']:.4f}")
        # by the clock: the length of a step differs from model to model
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(trainee, optimizer, plan.out, step + 1, curve)
            saved = time.monotonic()

    if first < last:
        _save(trainee, optimizer, plan.out, last, curve)

    return curve if last == plan.steps else None


def shorten_curve(curve: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Means of the figures over equal parts of the training, at most sixty."""
    parts = min(CURVE_POINTS, len(curve))
    shorter = []
    for part in range(parts):
        first = len(curve) * part // parts
        end = len(curve) * (part + 1) // parts
        point = {"step": float(end)}
        for name in curve[first]:
            values = [figures[name] for figures in curve[first:end]]
            point[name] = round(sum(values) / len(values), 5)
        shorter.append(point)

    return shorter


def _step(
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[Item],
    step: int,
    plan: TrainPlan,
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate * rate_at(step, plan.steps)

    loss, figures = trainee.loss(batch, step, step / plan.steps)
    if not math.isfinite(float(loss.detach())):
        raise TrainingError(
            f"the loss of step {step} is {float(loss.detach())}; try a smaller --learning-rate, or "
            "--dtype float32 or bfloat16"
        )

    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(_weights(trainee), LARGEST_NORM)
    optimizer.step()
    return {"loss": float(loss.detach()), **figures}


def rate_at(step: int, steps: int) -> float:
    """Learning rate of a step as a share of the peak."""
    rise = min(1.0, (step + 1) / max(1.0, WARM_UP * steps))
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


def _weights(trainee: Trainee) -> list[Tensor]:
    return [weight for module in trainee.modules.values() for weight in module.values()]


def _resume(
    trainee: Trainee, optimizer: torch.optim.Optimizer, folder: Path
) -> tuple[int, list[dict[str, float]]]:
    """Steps that are done, and their figures."""
    state = read_state(folder)
    if state is None:
        return 0, []

    take_weights(trainee.modules, state)
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), list(state["curve"])


def _save(
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    folder: Path,
    step: int,
    curve: list[dict[str, float]],
) -> None:
    modules: dict[int, Any] = {}
    for boundary, module in trainee.modules.items():
        modules[boundary] = {name: value.detach() for name, value in module.items()}
    state = {"step": step, "curve": curve, "modules": modules, "optimizer": optimizer.state_dict()}
    write_state(folder, state)
