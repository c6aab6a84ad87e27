"""The loop every stage of the training runs in: batches ahead of time, one line of log, a checkpoint now and then.

A stage is a pure function of its step number (data, masks and rates follow from it), so a killed run that resumes at
its last checkpoint goes on exactly as if it had not been killed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from transprune.errors import TrainingError
from transprune.nano.train.optimizer import Optimizer

SAVE_SECONDS = 45.0
LOG_STEPS = 20
AHEAD = 4  # batches prepared in advance

Metrics = dict[str, float]
Progress = Callable[[str, int, int, Metrics], None]  # stage, step, steps, metrics


class Stage(Protocol):
    """What the loop needs to know of a stage.

    Attributes:
        name: also the name of its checkpoint.
        steps: how many there are.
        module: everything that is trained, and saved.
        optimizer: of that module.
    """

    name: str
    steps: int
    module: nn.ModuleDict
    optimizer: Optimizer

    def prepare(self, step: int) -> Any:
        """The batch of a step, on the CPU; runs in another thread."""

    def loss(self, batch: Any, step: int) -> tuple[Tensor, Metrics]:
        """The loss to descend, and what to log."""

    def rate(self, step: int) -> float:
        """Learning rate of a step as a share of the peak."""


def cosine(step: int, steps: int, warmup: int, floor: float) -> float:
    """A linear rise, then half a cosine from 1 down to `floor`."""
    rise = min(1.0, (step + 1) / warmup)
    return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def run_stage(
    stage: Stage, folder: Path, progress: Progress, stop_after: int | None = None
) -> bool:
    """Train a stage to its end, from its checkpoint if there is one.

    Args:
        stage: what to train.
        folder: where `<name>.pt` and `<name>.jsonl` are written.
        progress: told every few steps.
        stop_after: stop after so many steps of this call, as a kill would, but politely.

    Returns:
        Whether the stage is finished.
    """
    first = _load(stage, folder)
    log = Log(folder / f"{stage.name}.jsonl", first)
    last = stage.steps if stop_after is None else min(stage.steps, first + stop_after)
    saved = time.monotonic()
    device = next(stage.module.parameters()).device.type
    for step, batch in _batches(stage, first, last):
        with torch.autocast(device, torch.bfloat16):
            loss, metrics = stage.loss(batch, step)
        loss.backward()
        stage.optimizer.step(stage.rate(step))
        done = step + 1
        log.add(done, {"loss": loss.item(), **metrics})
        if done % LOG_STEPS == 0 or done == last:
            progress(stage.name, done, stage.steps, log.write())
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(stage, folder, done)
            saved = time.monotonic()
    if first < last:
        log.write()
        _save(stage, folder, last)
    return last == stage.steps


class Log:
    """Means of what the steps measured, one JSON line every few steps; nothing is logged twice after a resume."""

    def __init__(self, file: Path, first: int) -> None:
        self._file, self._step = file, first
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._start = time.monotonic()
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        kept = [line for line in lines if _step_of(line) <= first]
        self._before = json.loads(kept[-1]).get("seconds", 0.0) if kept else 0.0
        file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, step: int, metrics: Metrics) -> None:
        """Take up one step; a metric that is NaN was not measured in it."""
        self._step = step
        for name, value in metrics.items():
            if not math.isnan(value):
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1

    def write(self) -> Metrics:
        """Write and return the means since the last line; nothing new, nothing written."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        if means:
            seconds = self._before + time.monotonic() - self._start
            line = {
                "step": self._step,
                "seconds": round(seconds, 1),
                **{k: round(v, 5) for k, v in means.items()},
            }
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            self._sums, self._counts = {}, {}
        return means


def _step_of(line: str) -> float:
    """Step of a log line; infinite for half a line, which a kill leaves."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _batches(stage: Stage, first: int, last: int) -> Iterator[tuple[int, Any]]:
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        ahead = [
            pool.submit(stage.prepare, step) for step in range(first, min(first + AHEAD, last))
        ]
        for step in range(first, last):
            batch = ahead.pop(0).result()
            if step + AHEAD < last:
                ahead.append(pool.submit(stage.prepare, step + AHEAD))
            yield step, batch


def _load(stage: Stage, folder: Path) -> int:
    """Bring a stage to where its checkpoint left it; the number of steps done."""
    file = folder / f"{stage.name}.pt"
    if not file.exists():
        return 0
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        done = int(state["step"])
    except (RuntimeError, KeyError, EOFError, UnpicklingError) as error:
        raise TrainingError(
            f"{file} is not a checkpoint of this training ({error}); remove it to start over"
        ) from error
    try:
        stage.module.load_state_dict(state["module"])
        if done < stage.steps:
            stage.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{file} is a checkpoint of another architecture; nothing was touched. {error}"
        ) from error
    return done


def _save(stage: Stage, folder: Path, step: int) -> None:
    state = {
        "step": step,
        "module": stage.module.state_dict(),
        "optimizer": stage.optimizer.state_dict(),
    }
    with replacing(folder / f"{stage.name}.pt") as part:
        torch.save(state, part)


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A file beside `file` to write to, put in its place when complete: a kill never leaves half a file."""
    part = file.with_name(file.name + ".part")
    yield part
    part.replace(file)
