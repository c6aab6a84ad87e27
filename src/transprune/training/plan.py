"""The options of `transprune train-pruner` as one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transprune.errors import TrainingError
from transprune.models.checkpoint import LoadOptions
from transprune.nano import NANO

STEPS = 600
BATCH = 24
RATE = 1e-3
HELD_OUT = 0.05  # of the pictures
SCENES = 1500  # of a test bed's training split, up to nine questions each
JUDGED = 256  # held-out questions that are answered at the end, at most


@dataclass(frozen=True)
class TrainPlan:
    """The options of a training.

    Attributes:
        out: folder of the weights, and of the checkpoints on the way.
        method: recipe text of a trained method; its ratios are the targets.
        model: `"nano"`, `"smol"`, a folder or a hub id.
        questions: name of a test bed, as `"nano"`, for its training scenes, or a folder or file.
        n: scenes (default 1500) or questions of a file (default all).
        steps: updates.
        batch_size: questions per update.
        learning_rate: peak of Adam's.
        held_out: share of the pictures whose questions are never trained on.
        seed: seed of the weights, the order, the decisions and the held-out part.
        strict: whether a bad line of a questions file is an error.
        stop_after: stop after so many steps of this call, with a checkpoint; None for the end.
        loading: dtype, device and attention implementation of the model.
        command: the command line, for the provenance.

    Raises:
        TrainingError: a number that makes no training.
    """

    out: Path
    method: str
    model: str = NANO
    questions: str = NANO
    n: int | None = None
    steps: int = STEPS
    batch_size: int = BATCH
    learning_rate: float = RATE
    held_out: float = HELD_OUT
    seed: int = 0
    strict: bool = False
    stop_after: int | None = None
    loading: LoadOptions = LoadOptions()
    command: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise TrainingError(
                f"held_out is a share of the pictures between 0 and 1; got {self.held_out!r}"
            )
        if min(self.steps, self.batch_size) < 1:
            raise TrainingError("steps and batch_size are whole numbers from 1 on")
        if not 0 < self.learning_rate < 1:
            raise TrainingError(
                f"learning_rate is a number between 0 and 1; got {self.learning_rate!r}"
            )
