"""Time and memory of whole answers, one question at a time, for the paper's table of efficiency.

The paper prints milliseconds and gigabytes without saying what they count. Here a time is the
median over questions of one whole answer (vision tower, prefill, new tokens), and memory is the
most that is allocated at once, weights included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

from transprune.bench.data.tasks import Item
from transprune.bench.measure.memory import peak_bytes
from transprune.methods.common.method import Method
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import Checkpoint

GIGA = 1e9


@dataclass(frozen=True)
class Timing:
    """What one row takes.

    Attributes:
        milliseconds: median of one answer.
        low, high: quartiles of it.
        gigabytes: most memory at once: weights, and tensors of one answer.
        questions: how many were timed.
        device: where.
    """

    milliseconds: float
    low: float
    high: float
    gigabytes: float
    questions: int
    device: str


def time_answers(
    checkpoint: Checkpoint, items: Sequence[Item], method: Method | None, longest: int
) -> Timing:
    """Answer each question once after a warm-up, and measure.

    Args:
        checkpoint: the model.
        items: the questions, at least one.
        method: what prunes; None is the unpruned model.
        longest: most new tokens of an answer.
    """
    prompts = []
    for item in items:
        pictures = [picture() for picture in item.pictures]
        prompts.append(prepare(checkpoint, pictures, item.question))

    # the first answer compiles kernels and fills caches; its memory is what all of them need
    peak = peak_bytes(lambda: ask(checkpoint, prompts[0], method, longest), checkpoint.model.device)
    seconds = [ask(checkpoint, prompt, method, longest).total for prompt in prompts]

    times = torch.tensor(seconds, dtype=torch.float64)
    low, high = torch.quantile(times, torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    weights = sum(value.nbytes for value in checkpoint.model.parameters())

    return Timing(
        milliseconds=1000 * median(seconds),
        low=1000 * low,
        high=1000 * high,
        gigabytes=(weights + peak) / GIGA,
        questions=len(items),
        device=_device_name(checkpoint),
    )


def _device_name(checkpoint: Checkpoint) -> str:
    device = checkpoint.model.device
    if device.type != "cuda":
        return f"{device.type}, {torch.get_num_threads()} threads"
    return str(torch.cuda.get_device_name(device))
