"""The bundled model, on pictures of noise: the small end, where pruning can lose. `nano`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image

from transprune import Method, Session, TransPrune, prune
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.models.prompt import prepare
from transprune.nano.scenes import SIDE

from .own_time import largest, own_time
from .rows import Row, time_row
from .runs import Inputs, prefill, pruned_prefill
from .settings import NANO_PREFILL
from .timing import Contender, paired

ROUNDS = 30
BATCHES = (1, 8)
NEW_TOKENS = 8
PARTS_ROUNDS = 9
QUESTION = "what shape is the orange object?"

METHODS: dict[str, Method] = {
    "transprune-high": TransPrune.high(),
    "fastv": resolve("fastv"),
    "visionzip:keep=64": resolve("visionzip:keep=64"),
}


def measure_nano(rounds: int = ROUNDS, batches: tuple[int, ...] = BATCHES) -> Iterator[Row]:
    """Prefill and eight new tokens of each method over the unpruned model's, in float32."""
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    for batch in batches:
        inputs = _noise_batch(checkpoint, batch)
        yield from _batch_rows(checkpoint.model, inputs, batch, rounds)


def _noise_batch(checkpoint: Checkpoint, batch: int) -> Inputs:
    """One question about `batch` pictures of noise."""
    generator = np.random.default_rng(0)
    samples = []
    for _ in range(batch):
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        samples.append(prepare(checkpoint, [Image.fromarray(pixels)], QUESTION))

    # the same question and size, hence the same length
    return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}


def _batch_rows(model: Any, inputs: Inputs, batch: int, rounds: int) -> Iterator[Row]:
    sessions = {name: prune(model, method) for name, method in METHODS.items()}
    prefills = _prefills(model, inputs, sessions)
    answers = _answers(model, inputs, sessions)

    # a group each: a comparison is between neighbours in time
    prefill_times = paired([prefills], rounds)
    answer_times = paired([answers], rounds)
    parts = own_time(prefills["transprune-high"].run, PARTS_ROUNDS)

    for name in METHODS:
        limit = NANO_PREFILL if batch == 1 and name == "transprune-high" else None
        group = f"batch {batch}: prefill"
        row = time_row(group, name, prefill_times, name, "unpruned", limit)
        yield row.because(largest(parts))

    for name in METHODS:
        group = f"batch {batch}: generate {NEW_TOKENS} tokens"
        yield time_row(group, name, answer_times, name, "unpruned")


def _prefills(model: Any, inputs: Inputs, sessions: Mapping[str, Session]) -> dict[str, Contender]:
    contenders = {"unpruned": Contender(partial(prefill, model, inputs))}
    for name, session in sessions.items():
        contenders[name] = Contender(partial(pruned_prefill, model, inputs, session))
    return contenders


def _answers(model: Any, inputs: Inputs, sessions: Mapping[str, Session]) -> dict[str, Contender]:
    contenders = {"unpruned": Contender(partial(_generate, model, inputs))}
    for name, session in sessions.items():
        contenders[name] = Contender(partial(_generate_pruned, model, inputs, session))
    return contenders


def _generate(model: Any, inputs: Inputs) -> Any:
    return model.generate(
        **inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False
    )


def _generate_pruned(model: Any, inputs: Inputs, session: Session) -> Any:
    with session:
        return _generate(model, inputs)
