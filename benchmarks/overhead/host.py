"""Host time: what pruning adds where the layers cost next to nothing.

A model of 32 layers and width 64 with 16 visual tokens spends its time in Python and in the
dispatch of operations. A GPU that waits for the host is in the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from statistics import median
from typing import Any

import torch

from transprune import Method, Session, prune

from .model import TOY, Shape, build_inputs, build_model
from .own_time import largest, own_time, part_rows
from .rows import Row, time_row
from .runs import Inputs, decode_step, prefill, pruned_prefill
from .settings import HOST_DECODE, HOST_PREFILL, small_methods
from .timing import Contender, paired

ROUNDS = 30
CALLS = 3  # averaged in each round
PARTS_OF = "transprune-high"
PARTS_ROUNDS = 9

PREFILL = "prefill"
ATTACHED = "attach, prefill, detach"
DECODE = "decode step"


def measure_host(rounds: int = ROUNDS, shape: Shape = TOY) -> Iterator[Row]:
    """Prefill and decode step of each method over the unpruned model's, in float32."""
    model = build_model(shape, torch.float32)
    inputs = build_inputs(shape, torch.float32)
    methods = small_methods()

    yield from _prefill_rows(model, inputs, methods, rounds)
    yield from _decode_rows(model, inputs, methods, rounds)


def _prefill_rows(
    model: Any, inputs: Inputs, methods: Mapping[str, Method], rounds: int
) -> Iterator[Row]:
    group = {"unpruned": Contender(partial(prefill, model, inputs))}
    for name, method in methods.items():
        session = prune(model, method)
        # a session for long-lived use is attached once, one in a `with` for each call
        group[f"{name}: {PREFILL}"] = Contender(partial(prefill, model, inputs), _enter(session))
        group[f"{name}: {ATTACHED}"] = Contender(partial(pruned_prefill, model, inputs, session))
    times = paired([group], rounds, calls=CALLS)

    session = prune(model, methods[PARTS_OF])
    parts = own_time(partial(pruned_prefill, model, inputs, session), PARTS_ROUNDS)
    for what in (PREFILL, ATTACHED):
        for name in methods:
            limit = HOST_PREFILL if name == PARTS_OF else None
            row = time_row(what, name, times, f"{name}: {what}", "unpruned", limit)
            yield row.because(largest(parts))

    group_name = f"parts of {PARTS_OF}: {ATTACHED}"
    yield from part_rows(group_name, parts, median(times["unpruned"]))


def _decode_rows(
    model: Any, inputs: Inputs, methods: Mapping[str, Method], rounds: int
) -> Iterator[Row]:
    group = {"unpruned": Contender(decode_step(model, inputs))}
    for name, session in _decode_sessions(model, methods).items():
        step = decode_step(model, inputs, session)
        group[name] = Contender(step, _enter(session))

    # the hooks by themselves: a session is attached, and the cache is an unpruned one
    idle = prune(model, methods[PARTS_OF])
    group["attached, unpruned cache"] = Contender(decode_step(model, inputs), _enter(idle))

    times = paired([group], rounds, calls=CALLS)
    parts = _decode_parts(model, inputs, methods[PARTS_OF])
    for name in group:
        if name != "unpruned":
            row = time_row(DECODE, name, times, name, "unpruned", HOST_DECODE)
            yield row.because(largest(parts)) if name.startswith(PARTS_OF) else row


def _decode_sessions(model: Any, methods: Mapping[str, Method]) -> dict[str, Session]:
    """A session for each method, and TransPrune-High under both position policies."""
    high = methods[PARTS_OF]
    sessions = {
        f"{PARTS_OF}, renumbered": prune(model, high, positions="renumber"),
        f"{PARTS_OF}, kept positions": prune(model, high, positions="keep"),
    }
    for name, method in methods.items():
        if name != PARTS_OF:
            sessions[name] = prune(model, method)
    return sessions


def _decode_parts(model: Any, inputs: Inputs, method: Method) -> dict[str, float]:
    session = prune(model, method)
    step = decode_step(model, inputs, session)
    with session:
        return own_time(step, PARTS_ROUNDS)


def _enter(session: Session) -> Any:
    """A function that returns the session, which is a context by itself."""
    return lambda: session
