"""The loop of every training stage: batches prepared ahead, log lines and regular checkpoints.

A stage is a pure function of its step number: data, masks and rates follow from it. A killed run
that resumes from its last checkpoint therefore ends exactly as an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from transprune.errors import TrainingError
from transprune.nano.messages import first_line
from transprune.nano.train.ahead import made_ahead
from transprune.nano.train.log import Log, Metrics
from transprune.nano.train.optimizer import Optimizer

SAVE_SECONDS = 45.0
LOG_STEPS = 20

Progress = Callable[[str, int, int, Metrics], None]  # stage, step, steps, metrics


class TrainingStage(Protocol):
    """The interface between the loop and a stage.

    Attributes:
        name: of the stage; its checkpoint and log are named after it.
        steps: number of steps.
        module: everything that is trained and saved.
        optimizer: of that module.
    """

    name: str
    steps: int
    module: nn.ModuleDict
    optimizer: Optimizer

    def prepare(self, step: int) -> Any:
        """Make the batch of a step on the CPU; it runs in another thread or process."""

    def loss(self, batch: Any, step: int) -> tuple[Tensor, Metrics]:
        """Compute the loss to minimise, and the metrics to log."""

    def rate(self, step: int) -> float:
        """Learning rate of a step, as a share of the peak."""


def cosine(step: int, steps: int, warmup: int, floor: float) -> float:
    """Learning rate schedule: a linear warm-up, then half a cosine from 1 down to `floor`."""
    rise = min(1.0, (step + 1) / warmup)
    return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def run_stage(
    stage: TrainingStage,
    folder: Path,
    progress: Progress,
    stop_after: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    workers: int = 0,
) -> bool:
    """Train a stage to its end, from its checkpoint if there is one.

    Args:
        stage: the stage to train.
        folder: where `<name>.pt` and `<name>.jsonl` are written.
        progress: called every few steps.
        stop_after: stop after that many steps of this call, with a checkpoint.
        stop: called after every step; stop there if it returns True, with a checkpoint.
        workers: processes that prepare batches; with 0 one thread does.

    Returns:
        Whether the stage is finished.
    """
    first = _load(stage, folder)
    last = stage.steps
    if stop_after is not None:
        last = min(stage.steps, first + stop_after)

    log = Log(folder / f"{stage.name}.jsonl", first)
    saved = time.monotonic()
    done = first

    steps = range(first, last)
    for step, batch in zip(steps, made_ahead(stage.prepare, steps, workers), strict=True):
        metrics = _train_step(stage, batch, step)
        done = step + 1  # logs and checkpoints count finished steps
        log.add(done, metrics)

        if done % LOG_STEPS == 0 or done == last:
            progress(stage.name, done, stage.steps, log.write())
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(stage, folder, done)
            saved = time.monotonic()
        if stop():
            break

    if first < done:
        log.write()
        _save(stage, folder, done)

    return done == stage.steps


def _train_step(stage: TrainingStage, batch: Any, step: int) -> Metrics:
    """Run one forward, backward and update; return what to log."""
    device = next(stage.module.parameters()).device.type
    with torch.autocast(device, torch.bfloat16):
        loss, metrics = stage.loss(batch, step)

    loss.backward()
    stage.optimizer.step(stage.rate(step))
    return {"loss": loss.item(), **metrics}


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint: `step`, `module` and `optimizer`.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        state["step"] = int(state["step"])
    # a damaged archive fails in torch, in zipfile, in pickle or where its content is used
    except Exception as error:
        raise TrainingError(
            f"{file} is not a checkpoint of this training ({first_line(error)}); remove it to "
            "start over"
        ) from error

    return state


def load_weights(
    module: nn.Module, state: dict[str, Any], file: Path, optimizer: Optimizer | None = None
) -> None:
    """Restore a module, and an optimizer if one is given, from the checkpoint that `file` had.

    Raises:
        TrainingError: the checkpoint is of another architecture.
    """
    try:
        module.load_state_dict(state["module"])
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
    except Exception as error:
        raise TrainingError(
            f"{file} is a checkpoint of another architecture; nothing was touched. "
            f"{first_line(error)}"
        ) from error


def _load(stage: TrainingStage, folder: Path) -> int:
    """Restore a stage from its checkpoint; return the number of finished steps.

    Raises:
        TrainingError: the file is damaged, or of another architecture.
    """
    file = folder / f"{stage.name}.pt"
    if not file.exists():
        return 0

    state = load_checkpoint(file)
    # a finished stage needs its weights only
    unfinished = state["step"] < stage.steps
    load_weights(stage.module, state, file, stage.optimizer if unfinished else None)
    return int(state["step"])


def _save(stage: TrainingStage, folder: Path, step: int) -> None:
    """Write the checkpoint of a stage after `step` steps."""
    state = {
        "step": step,
        "module": stage.module.state_dict(),
        "optimizer": stage.optimizer.state_dict(),
    }
    with replacing(folder / f"{stage.name}.pt") as part:
        torch.save(state, part)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a path to write to, and move the complete file to `file`: a kill leaves no half file."""
    part = file.with_name(file.name + ".part")
    yield part
    part.replace(file)
