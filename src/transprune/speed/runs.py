"""One run of a model, timed: a prefill, a prefill and some tokens, a whole `generate`.

Each takes a session that was made beforehand, or None for the unpruned model. Attaching its hooks
is part of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transprune.bench.measure.memory import peak_bytes
from transprune.core.library import cache_argument, cache_of_output
from transprune.session import Session
from transprune.speed.clocks import Clock

Times = dict[str, float]  # what was timed -> seconds

PREFILL = "prefill"
PER_TOKEN = "per_token"


@dataclass(frozen=True)
class Bench:
    """What all runs of one cell share.

    Attributes:
        model: the model.
        inputs: a prepared batch of prompts.
        clock: of the model's device.
    """

    model: Any
    inputs: dict[str, Tensor]
    clock: Clock


def answer_name(tokens: int) -> str:
    """The name of the time of a whole answer: `answer_20`."""
    return f"answer_{tokens}"


@torch.no_grad()
def time_prefill(bench: Bench, session: Session | None) -> Times:
    """Seconds of one forward over the prompts that fills a cache and gives one row of logits."""
    start = bench.clock.start()
    with session or nullcontext():
        prefill(bench)
        end = bench.clock.mark()
    return {PREFILL: bench.clock.seconds(start, end)}


@torch.no_grad()
def time_prefill_and_decode(bench: Bench, session: Session | None, steps: int) -> Times:
    """Seconds of a prefill, and of a new token after it: the mean of `steps` greedy steps."""
    start = bench.clock.start()
    with session or nullcontext():
        out = prefill(bench)
        prefilled = bench.clock.mark()
        decode(bench, out, steps)
        decoded = bench.clock.mark()

    seconds = bench.clock.seconds
    return {PREFILL: seconds(start, prefilled), PER_TOKEN: seconds(prefilled, decoded) / steps}


@torch.no_grad()
def time_generate(bench: Bench, session: Session | None, lengths: Sequence[int]) -> Times:
    """Seconds of `generate` until each of `lengths` new tokens, and of a token after the first.

    One run is enough: the first tokens of a long answer are those of a short one. Lengths ascend.
    """
    from transformers import StoppingCriteriaList

    marks: dict[int, Any] = {}
    prompt = bench.inputs["input_ids"].shape[1]

    def mark(ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """A stopping criterion that marks the moment and never stops."""
        marks[ids.shape[1] - prompt] = bench.clock.mark()
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    start = bench.clock.start()
    with session or nullcontext():
        bench.model.generate(
            **bench.inputs,
            max_new_tokens=lengths[-1],
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([mark]),
        )

    seconds = bench.clock.seconds
    times = {answer_name(count): seconds(start, marks[count]) for count in lengths}
    # from the first token on: the prefill is in none of it
    if lengths[-1] > 1:
        times[PER_TOKEN] = seconds(marks[1], marks[lengths[-1]]) / (lengths[-1] - 1)

    return times


def peak_of_prefill(bench: Bench, session: Session | None) -> int:
    """Bytes that a prefill needs at once above those of the model and its inputs."""

    @torch.no_grad()
    def run() -> None:
        with session or nullcontext():
            prefill(bench)

    return peak_bytes(run, bench.inputs["input_ids"].device)


def prefill(bench: Bench) -> Any:
    """One forward over the prompts, with the logits of the last position only, as in `generate`."""
    return bench.model(**bench.inputs, use_cache=True, logits_to_keep=1)


def decode(bench: Bench, out: Any, steps: int) -> Tensor:
    """Greedy steps after a prefill; not `generate`, which would prefill again.

    Args:
        bench: prompts without padding, so no step needs a mask.
        out: output of the prefill.
        steps: how many.

    Returns:
        The tokens that were put in, long [B, steps]; the first is the one the prefill gave.
    """
    cache = cache_of_output(out)
    tokens = []
    for _ in range(steps):
        token = out.logits[:, -1:].argmax(dim=-1)  # [B, 1, V] -> [B, 1]
        tokens.append(token)
        out = bench.model(input_ids=token, use_cache=True, **cache_argument(bench.model, cache))
    return torch.cat(tokens, dim=1)
