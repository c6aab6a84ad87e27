"""Prefill beside the reference, the cheapest run that keeps as many tokens: `ratio`.

The ratio is what this library and the method's own scoring add to the work that pruning leaves. The
sum of the parts is measured beside it, in runs of their own, because the noise of a busy machine is
larger than the difference between two good engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from transprune import Session, prune
from transprune.bench.measure.memory import peak_bytes

from .model import BENCH, Shape, build_inputs, build_model
from .own_time import largest, own_time, part_rows
from .reference import reference
from .rows import Row, count_row, time_row
from .runs import Inputs, decode_step, prefill, pruned_prefill
from .settings import DEFAULT_LIMIT, HIGH_LIMITS, METHODS, USUAL, WHY
from .timing import Contender, Group, paired

ROUNDS = 25
PARTS_OF = ("transprune-high", "transprune-low")
PARTS_ROUNDS = 5
DTYPES = ("bfloat16", "float32")


def measure_ratio(
    rounds: int = ROUNDS,
    names: Sequence[str] = USUAL,
    dtypes: Sequence[str] = DTYPES,
    shape: Shape = BENCH,
) -> Iterator[Row]:
    """Prefill, decoding and memory of each method, beside the reference and the unpruned model."""
    for dtype in dtypes:
        model = build_model(shape, getattr(torch, dtype))
        inputs = build_inputs(shape, getattr(torch, dtype))
        # the reference runs without a mask, in SDPA's causal mode; so does the model without one
        del inputs["attention_mask"]

        yield from _prefill_rows(model, shape, inputs, names, rounds, dtype)
        # decoding does not depend on how the tokens were chosen, so one method is enough
        yield from _decode_rows(model, inputs, names[0], rounds, dtype)
        yield from _memory_rows(model, inputs, names, dtype)

        # before the next one is built, or both would be in memory
        del model


def _prefill_rows(
    model: Any, shape: Shape, inputs: Inputs, names: Sequence[str], rounds: int, dtype: str
) -> Iterator[Row]:
    sessions = {name: prune(model, METHODS[name]) for name in names}
    groups: list[Group] = [{"unpruned": Contender(partial(prefill, model, inputs))}]
    for name, session in sessions.items():
        groups.append(_with_reference(model, shape, inputs, name, session))
    times = paired(groups, rounds)

    for name, session in sessions.items():
        limit = HIGH_LIMITS[dtype] if name == "transprune-high" else DEFAULT_LIMIT
        base = f"{name} reference"
        row = time_row(f"{dtype}: prefill / reference", name, times, name, base, limit)

        if name not in PARTS_OF:
            yield row.because(WHY.get(name, ""))
            continue
        parts = own_time(partial(pruned_prefill, model, inputs, session), PARTS_ROUNDS)
        yield row.because(largest(parts))
        group = f"{dtype}: parts of {name} / reference"
        yield from part_rows(group, parts, median(times[base]))

    for name in names:
        yield time_row(f"{dtype}: prefill / unpruned", name, times, name, "unpruned")


def _with_reference(model: Any, shape: Shape, inputs: Inputs, name: str, session: Session) -> Group:
    """A method, with a session made beforehand and attached in each run, and its reference."""
    # how many tokens stay may depend on the data, so the reference needs a trace
    pruned_prefill(model, inputs, session)
    return {
        name: Contender(partial(pruned_prefill, model, inputs, session)),
        f"{name} reference": Contender(reference(model, shape, inputs, session.trace)),
    }


def _decode_rows(model: Any, inputs: Inputs, name: str, rounds: int, dtype: str) -> Iterator[Row]:
    session = prune(model, METHODS[name])
    unpruned = decode_step(model, inputs)
    times = paired(
        [
            {
                "unpruned": Contender(unpruned),
                "pruned": Contender(decode_step(model, inputs, session), lambda: session),
                "attached": Contender(unpruned, lambda: session),
            }
        ],
        rounds,
        calls=4,
    )

    group = f"{dtype}: decode step / unpruned"
    yield time_row(group, name, times, "pruned", "unpruned", 1.0)
    yield time_row(group, "attached, unpruned cache", times, "attached", "unpruned")


def _memory_rows(model: Any, inputs: Inputs, names: Sequence[str], dtype: str) -> Iterator[Row]:
    unpruned = peak_bytes(partial(prefill, model, inputs))
    for name in names:
        session = prune(model, METHODS[name])
        peak = peak_bytes(partial(pruned_prefill, model, inputs, session))
        group = f"{dtype}: peak memory / unpruned"
        yield count_row(group, name, peak / 2**20, unpruned / 2**20, "MiB", limit=1.0)
