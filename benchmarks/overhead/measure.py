"""Measure the methods on one model: ratios of CPU time and of peak memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from transprune import Method, Session, prune
from transprune.bench.measure.memory import peak_bytes
from transprune.core.library import cache_argument, cache_of_output

from .reference import reference
from .settings import DEFAULT_LIMIT, LIMITS, METHODS
from .timing import Times, paired, ratio

DECODE_STEPS = 4
Row = dict[str, Any]


def measure(model: Any, inputs: dict[str, Tensor], names: list[str], rounds: int) -> Iterator[Row]:
    """All rows for one model: prefill, decoding, memory."""
    yield from _prefill_rows(model, inputs, names, rounds)

    # decoding does not depend on how the tokens were chosen, so one method is enough
    yield from _decode_rows(model, inputs, names[0], rounds)

    yield from _memory_rows(model, inputs, names)


def _prefill_rows(
    model: Any, inputs: dict[str, Tensor], names: list[str], rounds: int
) -> Iterator[Row]:
    groups = [{"unpruned": lambda: prefill(model, inputs)}]
    for name in names:
        groups.append(_with_reference(model, inputs, name))
    times = paired(groups, rounds)

    for name in names:
        limit = LIMITS.get(name, DEFAULT_LIMIT)
        yield _row(f"{name}: prefill / reference", times, name, f"{name} reference", limit)
    for name in names:
        yield _row(f"{name}: prefill / unpruned", times, name, "unpruned", None)


def _decode_rows(model: Any, inputs: dict[str, Tensor], name: str, rounds: int) -> Iterator[Row]:
    times = paired([_decoders(model, inputs, METHODS[name])], rounds)
    yield _row(f"{name}: decode step / unpruned", times, "pruned", "unpruned", 1.0)

    what = "hooks on an unpruned cache: decode / unpruned"
    yield _row(what, times, "attached", "unpruned", None)


def _memory_rows(model: Any, inputs: dict[str, Tensor], names: list[str]) -> Iterator[Row]:
    unpruned = peak_bytes(lambda: prefill(model, inputs))
    for name in names:
        session = prune(model, METHODS[name])
        # bound now: the loop variable is another session by the next turn
        peak = peak_bytes(lambda session=session: pruned_prefill(model, inputs, session))
        yield {
            "what": f"{name}: peak memory / unpruned",
            "median": peak / unpruned,
            "limit": 1.0,
            "bytes": peak,
        }


def _with_reference(
    model: Any, inputs: dict[str, Tensor], name: str
) -> dict[str, Callable[[], Any]]:
    """A method, with a session made beforehand and attached in each run, and its reference."""
    session = prune(model, METHODS[name])

    # how many tokens stay may depend on the data, so the reference needs a trace
    pruned_prefill(model, inputs, session)
    return {
        name: lambda: pruned_prefill(model, inputs, session),
        f"{name} reference": reference(model, inputs, session.trace),
    }


@torch.no_grad()
def prefill(model: Any, inputs: dict[str, Tensor]) -> Any:
    """One prefill with the logits of the last position only, as in `generate`."""
    return model(**inputs, use_cache=True, logits_to_keep=1)


def pruned_prefill(model: Any, inputs: dict[str, Tensor], session: Session) -> Any:
    """The same inside a session; attaching its hooks is part of the time."""
    with session:
        return prefill(model, inputs)


def _decoders(
    model: Any, inputs: dict[str, Tensor], method: Method
) -> dict[str, Callable[[], None]]:
    """Decode steps on an unpruned cache, on a pruned one, and with hooks on an unpruned one."""
    session = prune(model, method)
    unpruned = cache_of_output(prefill(model, inputs))
    pruned = cache_of_output(pruned_prefill(model, inputs, session))
    token = torch.tensor([[5]])  # any text token

    @torch.no_grad()
    def steps(cache: Any) -> None:
        for _ in range(DECODE_STEPS):
            model(input_ids=token, use_cache=True, **cache_argument(model, cache))

        # the next run starts from the same cache
        cache.crop(-DECODE_STEPS)

    def attached(cache: Any) -> None:
        with session:
            steps(cache)

    return {
        "unpruned": lambda: steps(unpruned),
        "pruned": lambda: attached(pruned),
        "attached": lambda: attached(unpruned),
    }


def _row(what: str, times: Times, name: str, base: str, limit: float | None) -> Row:
    """The ratio of `name` to `base` with its spread, and the median seconds of both."""

    def median_seconds(contender: str) -> float:
        values = sorted(times[contender])
        return values[len(values) // 2]

    return {
        "what": what,
        **ratio(times, name, base),
        "limit": limit,
        "seconds": median_seconds(name),
        "base": median_seconds(base),
    }
