"""Milliseconds per decode step, of greedy `generate` on one thread.

    python -m benchmarks.static [--rounds 7] [--tokens 48] [--models tiny nano]

Every contender generates in each round, in another order each time; a step is the CPU time between
two tokens, so prefill and compiling are not in it. The unpruned compiled run is transformers' own
(`compile_config`), which compiles the whole model; ours compiles the decoder.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import CompileConfig, LogitsProcessor, LogitsProcessorList
from transformers.utils import logging

from transprune import TransPrune, prune

from ..overhead.bundled import _noise_batch
from ..overhead.model import Shape, build_inputs, build_model
from ..overhead.runs import Inputs

STATIC = {"cache_implementation": "static"}
# a tiny model in the width of a test, with the number of visual tokens of LLaVA-1.5
TINY = Shape(layers=4, hidden=64, intermediate=96, heads=4, grid=24)
METHODS = {"tiny": TransPrune({1: 0.6, 2: 0.2}), "nano": TransPrune.high()}


class Clock(LogitsProcessor):
    """Notes the CPU time of this thread at every token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.times.append(time.thread_time())
        return scores

    def steps(self) -> list[float]:
        """Milliseconds between two tokens."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return [1000 * (later - earlier) for earlier, later in pairs]


def contenders(
    model: Any, method: Any
) -> dict[str, tuple[Callable[[], AbstractContextManager[Any]], dict[str, Any]]]:
    """What is compared: a context and options of `generate`, by name."""
    compiled = CompileConfig(mode="default", fullgraph=False)
    compiled._compile_all_devices = True  # transformers compiles on a GPU only, unless told so
    ours = prune(model, method, decode="static", compile=True)
    return {
        "unpruned dynamic": (nullcontext, {}),
        "unpruned static": (nullcontext, STATIC),
        "unpruned static compiled": (nullcontext, {**STATIC, "compile_config": compiled}),
        "pruned dynamic": (lambda: prune(model, method), {}),
        "pruned static": (lambda: prune(model, method), STATIC),
        "pruned static compiled": (lambda: ours, {}),
    }


def measure(model: Any, inputs: Inputs, method: Any, rounds: int, tokens: int) -> Iterator[str]:
    """A line for each contender."""
    runs = contenders(model, method)
    names = list(runs)
    steps: dict[str, list[float]] = {name: [] for name in names}
    shuffle = random.Random(0).shuffle

    for number in range(rounds + 1):
        shuffle(names)
        for name in names:
            inside, options = runs[name]
            clock = Clock()
            with inside(), torch.no_grad():
                model.generate(
                    **inputs,
                    **options,
                    do_sample=False,
                    min_new_tokens=tokens,
                    max_new_tokens=tokens,
                    logits_processor=LogitsProcessorList([clock]),
                )
            if number:  # the first round compiles
                steps[name].append(statistics.median(clock.steps()))

    base = statistics.median(steps["unpruned dynamic"])
    for name in runs:
        median = statistics.median(steps[name])
        yield f"{name:26s} {median:8.3f} {min(steps[name]):8.3f} {median / base:8.3f}"


def _model(name: str) -> tuple[Any, Inputs]:
    if name == "nano":
        from transprune.models.checkpoint import LoadOptions, load

        checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
        return checkpoint.model, _noise_batch(checkpoint, 1)
    model = build_model(TINY, torch.float32)
    return model, build_inputs(TINY, torch.float32)


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.static", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--models", nargs="+", choices=list(METHODS), default=list(METHODS))
    args = parser.parse_args()

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    for name in args.models:
        model, inputs = _model(name)
        length = inputs["input_ids"].shape[1]
        print(f"\n{name}: {length} tokens in the prompt, {METHODS[name]!r}")
        print(f"{'':26s} {'median':>8s} {'min':>8s} {'ratio':>8s}   ms per step", flush=True)
        for line in measure(model, inputs, METHODS[name], args.rounds, args.tokens):
            print(line, flush=True)


if __name__ == "__main__":
    main()
