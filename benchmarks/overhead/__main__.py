"""`python -m benchmarks.overhead`: what pruning costs on top of the work it leaves, and what it saves."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

import transprune
from transprune import (
    Compose,
    DivPrune,
    Method,
    Random,
    Session,
    TransPrune,
    Uniform,
    VisionZip,
    prune,
)
from transprune.bench.measure.memory import peak_bytes
from transprune.core.library import cache_argument, cache_of_output
from transprune.methods.common.recipe import METHODS as REGISTRY

from .model import build_inputs, build_model
from .reference import reference
from .timing import Times, paired, ratio

NAMED: dict[str, Method] = {
    "transprune-high": TransPrune.high(),
    "transprune-low": TransPrune.low(),
    "random-high": Random.high(),
    "uniform-high": Uniform.high(),
    "visionzip+transprune-low": Compose([VisionZip(192), TransPrune.low()]),
    "divprune-proportional": DivPrune(proportional=True),
}
# every registered method, four of them among the named ones
OTHERS = sorted({*REGISTRY} - {"compose", "random", "transprune", "uniform"})
SETTINGS = {"cdpruner": {"relevance": "embedding"}}  # a random model has no text tower
METHODS: dict[str, Method] = NAMED | {
    name: REGISTRY.get(name)(**SETTINGS.get(name, {})) for name in OTHERS
}
LIMITS = {"transprune-high": 1.02}
DEFAULT_LIMIT = 1.03
WHY = {
    "divprune": "compares all pairs of features in fp32 (0.7 GFLOP), beside a prefill cut to a tenth",
    "divprune-proportional": "does as divprune, finds the nearest kept token of each dropped one, and biases its masks",
    "cdpruner": "compares all pairs of features in fp32 and picks one token after another",
    "prumerge": "has every kept patch find its nearest 32, beside a prefill cut to a tenth",
    "vscan": "reads two layers of the tower and merges all other tokens, beside a prefill cut to a sixth",
    "sparsevlm": "clusters the dropped tokens at each boundary, which compares them pairwise",
    "vispruner": "takes out near-duplicates step by step, by pairwise comparisons, beside a prefill cut to a quarter",
    "transprune-high": "projects and rotates keys of tokens that are then dropped, and measures twelve transitions",
    "visionzip+transprune-low": "pays for two scorings beside a prefill cut to a sixth",
    "pact": "compares the keys of 316 tokens pairwise, and those of the dropped ones with every centre, in fp32",
}
DECODE_STEPS = 4
Row = dict[str, Any]


def main(
    methods: Annotated[str, typer.Option(help="comma-separated names")] = ",".join(METHODS),
    dtypes: Annotated[str, typer.Option(help="comma-separated torch dtypes")] = "float32,bfloat16",
    rounds: Annotated[
        int, typer.Option(help="paired rounds, at least 7 for figures that are reported")
    ] = 9,
    out: Annotated[Path, typer.Option(help="JSON lines file, appended to")] = Path(
        "out/overhead.jsonl"
    ),
) -> None:
    """Time each prefill against the cheapest run with the same tokens, decoding and memory against no pruning."""
    torch.set_num_threads(1)
    out.parent.mkdir(parents=True, exist_ok=True)
    console = Console()
    with out.open("a") as file:
        for name in dtypes.split(","):
            dtype = getattr(torch, name)
            model, inputs = build_model(dtype), build_inputs(dtype)
            rows = list(measure(model, inputs, methods.split(","), rounds))
            for row in rows:
                file.write(json.dumps({**provenance(name, rounds), **row}) + "\n")
            console.print(table(name, rounds, rows))
            del model
    console.print(f"one JSON line per row in {out}")


def measure(model: Any, inputs: dict[str, Tensor], names: list[str], rounds: int) -> Iterator[Row]:
    """All rows for one model."""
    times = paired(
        [{"unpruned": lambda: prefill(model, inputs)}, *(contest(model, inputs, n) for n in names)],
        rounds,
    )
    for name in names:
        yield row(
            f"{name}: prefill / reference",
            times,
            name,
            f"{name} reference",
            LIMITS.get(name, DEFAULT_LIMIT),
        )
    for name in names:
        yield row(f"{name}: prefill / unpruned", times, name, "unpruned", None)
    times = paired([decoders(model, inputs, METHODS[names[0]])], rounds)
    yield row(f"{names[0]}: decode step / unpruned", times, "pruned", "unpruned", 1.0)
    yield row("hooks on an unpruned cache: decode / unpruned", times, "attached", "unpruned", None)
    plain = peak_bytes(lambda: prefill(model, inputs))
    for name in names:
        session = prune(model, METHODS[name])
        peak = peak_bytes(lambda session=session: pruned_prefill(model, inputs, session))
        yield {
            "what": f"{name}: peak memory / unpruned",
            "median": peak / plain,
            "limit": 1.0,
            "bytes": peak,
        }


def contest(model: Any, inputs: dict[str, Tensor], name: str) -> dict[str, Callable[[], Any]]:
    """A method, its session made beforehand and attached each time, and its reference."""
    session = prune(model, METHODS[name])
    pruned_prefill(model, inputs, session)  # how many tokens stay may depend on the data
    return {
        name: lambda: pruned_prefill(model, inputs, session),
        f"{name} reference": reference(model, inputs, session.trace),
    }


@torch.no_grad()
def prefill(model: Any, inputs: dict[str, Tensor]) -> Any:
    """One prefill, logits of the last position only, as generate asks for them."""
    return model(**inputs, use_cache=True, logits_to_keep=1)


def pruned_prefill(model: Any, inputs: dict[str, Tensor], session: Session) -> Any:
    """The same inside a session, attaching included."""
    with session:
        return prefill(model, inputs)


def decoders(
    model: Any, inputs: dict[str, Tensor], method: Method
) -> dict[str, Callable[[], None]]:
    """Decode steps on an unpruned cache, on a pruned one, and with hooks attached to an unpruned one."""
    plain = cache_of_output(prefill(model, inputs))
    token, session = torch.tensor([[5]]), prune(model, method)
    short = cache_of_output(pruned_prefill(model, inputs, session))

    @torch.no_grad()
    def steps(cache: Any) -> None:
        for _ in range(DECODE_STEPS):
            model(input_ids=token, use_cache=True, **cache_argument(model, cache))
        cache.crop(-DECODE_STEPS)

    def attached(cache: Any) -> None:
        with session:
            steps(cache)

    return {
        "unpruned": lambda: steps(plain),
        "pruned": lambda: attached(short),
        "attached": lambda: attached(plain),
    }


def row(what: str, times: Times, name: str, base: str, limit: float | None) -> Row:
    """A ratio with its spread and the median seconds behind it."""
    seconds = {key: sorted(values)[len(values) // 2] for key, values in times.items()}
    return {
        "what": what,
        **ratio(times, name, base),
        "limit": limit,
        "seconds": seconds[name],
        "base": seconds[base],
    }


def provenance(dtype: str, rounds: int) -> Row:
    """What a figure needs to be believed."""
    return {
        "transprune": transprune.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": 1,
        "dtype": dtype,
        "rounds": rounds,
        "seed": 0,
    }


def table(dtype: str, rounds: int, rows: list[Row]) -> Table:
    """The rows for people."""
    result = Table(title=f"{dtype}, one thread, median of {rounds} paired rounds")
    for column in ("ratio of CPU time", "median", "min", "max", "aim", ""):
        result.add_column(column, justify="left" if column == "ratio of CPU time" else "right")
    for one in rows:
        limit = one.get("limit")
        verdict = "" if limit is None else "ok" if one["median"] <= limit else "above"
        cells = [f"{one[key]:.3f}" if key in one else "" for key in ("median", "min", "max")]
        result.add_row(one["what"], *cells, "" if limit is None else f"<= {limit:.2f}", verdict)
    above = [
        one["what"].split(":")[0]
        for one in rows
        if one.get("limit") and one["median"] > one["limit"]
    ]
    result.caption = "; ".join(f"{name} {WHY[name]}" for name in above if name in WHY)
    return result


if __name__ == "__main__":
    typer.run(main)
