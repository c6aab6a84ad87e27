"""The bill: what each condition costs in time and memory, measured in pairs with the unpruned model.

A pair is one pruned and one unpruned run of the same prompt, back to back; the ratio of a pair is steadier than either
time, and medians over pairs are reported with their quartiles. Pictures are encoded beforehand where that is possible,
so the prefill is the language model's (a method that listens to the vision tower pays for it, in both runs of a pair).
Memory is that of the tensors alive at once (see `memory`). FLOPs stand beside, in both conventions.

Each row is written when it is measured. Continuing keeps the rows that are there, if they were measured alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from transprune.bench.data.manifest import write_json
from transprune.bench.data.tasks import Item
from transprune.bench.measure.memory import peak_bytes
from transprune.bench.run.answers import placed
from transprune.bench.run.prompts import Prompts
from transprune.bench.run.trials import Trial
from transprune.core.library import cache_argument, cache_of_output
from transprune.cost.count import Convention, Cost, count_cost
from transprune.errors import RecordError
from transprune.methods.common.method import Method

FILE, SCHEMA = "bill.json", 1
ROUNDS = 5
PROMPTS = 4
NEW_TOKENS = 4

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: the prefill, and one new token after it."""

    prefill: float
    decode: float


def measure_bill(
    folder: Path,
    prompts: Prompts,
    items: Sequence[Item],
    trials: Sequence[Trial],
    *,
    rounds: int = ROUNDS,
    report: Report = lambda condition, done, total: None,
) -> Path:
    """Measure every trial on the first few questions and write `bill.json`; returns the file.

    Args:
        folder: of the run.
        prompts, items: prepared questions; the first four about different pictures are used.
        trials: what is measured, the unpruned one first.
        rounds: pairs per question.
        report: told which condition is at work.

    Raises:
        RecordError: there is a bill already, and it is damaged.
    """
    chosen = _first_of_each_picture(items)[:PROMPTS]
    file = folder / FILE
    meta = {
        "schema": SCHEMA,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "prompts": len(chosen),
    }
    rows = _measured(file, meta)
    for number, trial in enumerate(trials):
        report(trial.condition.name, number, len(trials))
        if trial.condition.name not in rows:
            rows[trial.condition.name] = _row(prompts, chosen, trial, rounds)
            write_json(file, {**meta, "rows": list(rows.values())})
    report("done", len(trials), len(trials))
    return file


def _first_of_each_picture(items: Sequence[Item]) -> list[Item]:
    found: dict[str, Item] = {}
    for item in items:
        found.setdefault(item.image, item)
    return list(found.values())


def _measured(file: Path, meta: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows by condition of a bill that was measured alike; none of another."""
    if not file.exists():
        return {}
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        rows = {row["condition"]: row for row in known.pop("rows")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{file} is damaged ({error!r}); remove it, and it is measured again"
        ) from error
    return rows if known == meta else {}


def _row(prompts: Prompts, items: Sequence[Item], trial: Trial, rounds: int) -> dict[str, Any]:
    encoded = not _listens(trial.method)
    pairs = [
        (_time(prompts, item, trial.bind([item], 0), encoded), _time(prompts, item, None, encoded))
        for _ in range(rounds)
        for item in items
    ]
    method = trial.bind([items[0]], 0)
    full_peak, full_kv = _peak(prompts, items[0], None, encoded)
    peak, kv = _peak(prompts, items[0], method, encoded)
    return {
        "condition": trial.condition.name,
        "prefill_ms": 1000 * median(own.prefill for own, _ in pairs),
        "prefill_ratio": _quartiles([own.prefill / full.prefill for own, full in pairs]),
        "decode_ms": 1000 * median(own.decode for own, _ in pairs),
        "decode_ratio": _quartiles([own.decode / full.decode for own, full in pairs]),
        "kv_bytes": kv,
        "kv_share": kv / full_kv,
        "peak_bytes": peak,
        "peak_share": peak / full_peak,
        "paper": _cost(prompts, method, "paper"),
        "exact": _cost(prompts, method, "exact"),
    }


def _listens(method: Method | None) -> bool:
    """Whether the vision tower has to run, in both runs of a pair then."""
    return method is not None and any(step.reads.vision for step in method.steps)


@torch.no_grad()
def _time(prompts: Prompts, item: Item, method: Method | None, encoded: bool) -> Timing:
    """One prompt, then a few tokens, each by itself."""
    model = prompts.checkpoint.model
    inputs = placed(prompts.batch([item], encoded=encoded), model)
    with ExitStack() as stack:
        if method is not None:
            stack.enter_context(prompts.prune(method))
        start = _now(model)
        out = model(**inputs, use_cache=True, logits_to_keep=1)
        prefilled = _now(model)
        mask = inputs["attention_mask"]
        cache = cache_of_output(out)
        for _ in range(NEW_TOKENS):
            mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
            token = out.logits[:, -1:].argmax(dim=-1)
            out = model(
                input_ids=token, attention_mask=mask, use_cache=True, **cache_argument(model, cache)
            )
        return Timing(prefilled - start, (_now(model) - prefilled) / NEW_TOKENS)


def _now(model: Any) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


@torch.no_grad()
def _peak(prompts: Prompts, item: Item, method: Method | None, encoded: bool) -> tuple[int, int]:
    """Most bytes alive at once during a prefill, above what was there before; bytes of the K/V it leaves."""
    model = prompts.checkpoint.model
    inputs = placed(prompts.batch([item], encoded=encoded), model)
    with ExitStack() as stack:
        if method is not None:
            stack.enter_context(prompts.prune(method))
        found: list[Any] = []
        peak = peak_bytes(
            lambda: found.append(model(**inputs, use_cache=True, logits_to_keep=1)), model.device
        )
    layers = cache_of_output(found[-1]).layers
    return peak, sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)


def _quartiles(ratios: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    return {"median": middle, "low": low, "high": high}


def _cost(prompts: Prompts, method: Method | None, convention: Convention) -> dict[str, Any]:
    cost = (
        prompts.nominal().cost(method, convention)
        if method is not None
        else _unpruned(prompts, convention)
    )
    keys = ("prefill", "scoring", "decode", "unit")
    whole = asdict(cost)
    shares = {"prefill_share": cost.prefill_share, "decode_share": cost.decode_share}
    return {key: whole[key] for key in keys} | shares


def _unpruned(prompts: Prompts, convention: Convention) -> Cost:
    nominal = prompts.nominal()
    visual = [nominal.visual_tokens] * prompts.geometry.layers
    return count_cost(
        prompts.geometry,
        visual,
        nominal.text_tokens,
        unpruned=nominal.visual_tokens,
        convention=convention,
    )
