"""Operations per prefill and decode step: what a GPU would have to launch, counted on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from transprune import Method, prune

from .model import TOY, Shape, build_inputs, build_model
from .operations import count_operations, most_added
from .rows import Row, count_row
from .runs import Inputs, decode_step, prefill
from .settings import OPERATIONS, small_methods


def measure_kernels(shape: Shape = TOY) -> Iterator[Row]:
    """Operations of each method over the unpruned model's, for three batches."""
    model = build_model(shape, torch.float32)
    methods = small_methods()

    for batch, inputs in _batches(shape).items():
        yield from _batch_rows(model, inputs, methods, batch)


def _batches(shape: Shape) -> dict[str, Inputs]:
    """One prompt, eight of one length, and eight that differ in text and pictures."""
    eight = range(8)
    texts = [32 + 3 * sample for sample in eight]
    pictures = [1 + sample % 2 for sample in eight]

    return {
        "batch 1": build_inputs(shape, torch.float32),
        "batch 8": build_inputs(shape, torch.float32, [32] * 8, [1] * 8),
        "ragged 8": build_inputs(shape, torch.float32, texts, pictures),
    }


def _batch_rows(
    model: Any, inputs: Inputs, methods: Mapping[str, Method], batch: str
) -> Iterator[Row]:
    full_prefill = count_operations(partial(prefill, model, inputs))
    full_step = count_operations(decode_step(model, inputs))

    for name, method in methods.items():
        session = prune(model, method)
        step = decode_step(model, inputs, session)
        with session:
            pruned_prefill = count_operations(partial(prefill, model, inputs))
            pruned_step = count_operations(step)

        yield _row(f"{batch}, prefill", name, pruned_prefill, full_prefill)
        yield _row(f"{batch}, decode step", name, pruned_step, full_step)


def _row(group: str, name: str, counts: Counter[str], base: Counter[str]) -> Row:
    limit = OPERATIONS if name == "transprune-high" else None
    row = count_row(group, name, counts.total(), base.total(), "operations", limit)
    return row.because(most_added(counts, base))
