"""Measured costs: time and memory of each condition, in pairs with the unpruned model.

A pair is one pruned and one unpruned run of the same prompt, one right after the other. The ratio
of a pair is steadier than either time, and medians over pairs are reported with their quartiles.
Pictures are encoded beforehand where that is possible, so the prefill is the language model's; for
a method that reads the vision tower both runs of a pair include the tower. Memory is that of the
tensors alive at once (see `memory`). Counted FLOPs are added, in both conventions.

Each row is written as soon as it is measured. Continuing keeps the rows in the file if they were
measured with the same settings.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from transprune.bench.run.answers import reads_tower, to_device
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.bench.run.trials import Trial
from transprune.core import strict_json
from transprune.core.library import cache_argument, cache_of_output
from transprune.cost.count import Convention, unpruned_cost
from transprune.errors import RecordError
from transprune.methods.common.method import Method
from transprune.models.clock import clock

COSTS_FILE = "bill.json"
COSTS_SCHEMA = 1
ROUNDS = 5  # pairs per prompt
PROMPTS = 4  # of different pictures, since token counts may depend on the picture
NEW_TOKENS = 4  # decoded after each prefill; their mean is the time of one


@dataclass(frozen=True)
class _Times:
    """Seconds of one run: the prefill, and one new token after it."""

    prefill: float
    decode: float


def measure_costs(
    folder: Path,
    questions: PreparedQuestions,
    items: Sequence[Item],
    trials: Sequence[Trial],
    *,
    rounds: int = ROUNDS,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Measure every trial on a few questions and write `bill.json`.

    Args:
        folder: folder of the run.
        questions: the prepared questions.
        items: the questions; the first four about different pictures are used.
        trials: the trials to measure, the unpruned one first.
        rounds: pairs per question.
        on_progress: called with the condition that is measured next.

    Returns:
        The file.

    Raises:
        RecordError: the file exists and is damaged.
    """
    chosen = _first_of_each_picture(items)[:PROMPTS]
    file = folder / COSTS_FILE
    settings = {
        "schema": COSTS_SCHEMA,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "prompts": len(chosen),
    }
    rows = _read_rows(file, settings)

    for number, trial in enumerate(trials):
        name = trial.condition.name
        on_progress(Progress(f"time and memory: {name}", number, len(trials)))
        if name not in rows:
            rows[name] = _measure(questions, chosen, trial, rounds)

            # after every row: a run of all methods takes long, and may be killed
            write_json(file, {**settings, "rows": list(rows.values())})

    on_progress(Progress("time and memory: done", len(trials), len(trials)))
    return file


def _first_of_each_picture(items: Sequence[Item]) -> list[Item]:
    found: dict[str, Item] = {}
    for item in items:
        found.setdefault(item.image, item)
    return list(found.values())


def _read_rows(file: Path, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of an existing file by condition, if its settings match, else {}."""
    if not file.exists():
        return {}

    try:
        known = strict_json.read(file.read_bytes())
        rows = {row["condition"]: row for row in known.pop("rows")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{file} is damaged ({error!r}); remove it, and it is measured again"
        ) from error

    # times under other threads or rounds do not belong in one table
    return rows if known == settings else {}


def _measure(
    questions: PreparedQuestions, items: Sequence[Item], trial: Trial, rounds: int
) -> dict[str, Any]:
    """The row of one trial."""
    # both runs of a pair get the same inputs: pixels if the method reads the tower
    encoded = not reads_tower(trial.method)

    pruned: list[_Times] = []
    unpruned: list[_Times] = []
    for _ in range(rounds):
        for item in items:
            method = trial.bind([item], 0)
            pruned.append(_time(questions, item, method, encoded))
            unpruned.append(_time(questions, item, None, encoded))

    # memory and counts do not vary from run to run, so one prompt is enough
    method = trial.bind([items[0]], 0)
    full_peak, full_kv = _memory(questions, items[0], None, encoded)
    peak, kv = _memory(questions, items[0], method, encoded)

    return {
        "condition": trial.condition.name,
        **_summary("prefill", pruned, unpruned),
        **_summary("decode", pruned, unpruned),
        "kv_bytes": kv,
        "kv_share": kv / full_kv,
        "peak_bytes": peak,
        "peak_share": peak / full_peak,
        "paper": _counted(questions, method, "paper"),
        "exact": _counted(questions, method, "exact"),
    }


@torch.no_grad()
def _time(questions: PreparedQuestions, item: Item, method: Method | None, encoded: bool) -> _Times:
    """Time the prefill of one prompt, then a few new tokens."""
    model = questions.checkpoint.model
    inputs = to_device(questions.batch([item], encoded=encoded), model)

    with ExitStack() as stack:
        if method is not None:
            stack.enter_context(questions.prune(method))

        start = clock(model.device)
        out = model(**inputs, use_cache=True, logits_to_keep=1)
        prefilled = clock(model.device)

        _decode(model, out)
        decoded = clock(model.device)

    return _Times(prefill=prefilled - start, decode=(decoded - prefilled) / NEW_TOKENS)


def _decode(model: Any, out: Any) -> None:
    """Generate a few tokens after a prefill; not `generate`, which would prefill again.

    One prompt has no padding, so no step needs a mask; Qwen2.5-VL would number all its tokens.
    """
    cache = cache_of_output(out)
    for _ in range(NEW_TOKENS):
        token = out.logits[:, -1:].argmax(dim=-1)  # [1, 1, V] -> [1, 1]
        out = model(input_ids=token, use_cache=True, **cache_argument(model, cache))


@torch.no_grad()
def _memory(
    questions: PreparedQuestions, item: Item, method: Method | None, encoded: bool
) -> tuple[int, int]:
    """Bytes of a prefill: peak of the tensors above those before it, and the K/V it leaves."""
    model = questions.checkpoint.model
    inputs = to_device(questions.batch([item], encoded=encoded), model)

    # the output is kept until after the run, as it is in a real one
    outputs: list[Any] = []

    def prefill() -> None:
        outputs.append(model(**inputs, use_cache=True, logits_to_keep=1))

    with ExitStack() as stack:
        if method is not None:
            stack.enter_context(questions.prune(method))
        peak = peak_bytes(prefill, model.device)

    kv = 0
    for layer in cache_of_output(outputs[-1]).layers:
        kv += layer.keys.nbytes + layer.values.nbytes
    return peak, kv


def _summary(phase: str, pruned: Sequence[_Times], unpruned: Sequence[_Times]) -> dict[str, Any]:
    """Median milliseconds of a phase, and quartiles of its ratios to the unpruned runs."""
    seconds = [getattr(times, phase) for times in pruned]
    full = [getattr(times, phase) for times in unpruned]

    low, middle, high = np.quantile(np.divide(seconds, full), (0.25, 0.5, 0.75)).tolist()
    return {
        f"{phase}_ms": 1000 * median(seconds),
        f"{phase}_ratio": {"median": middle, "low": low, "high": high},
    }


def _counted(
    questions: PreparedQuestions, method: Method | None, convention: Convention
) -> dict[str, Any]:
    """Counted work on the nominal prompt, without running anything."""
    nominal = questions.nominal()
    if method is None:
        cost = unpruned_cost(
            nominal.geometry, nominal.visual_tokens, nominal.text_tokens, convention
        )
    else:
        cost = nominal.cost(method, convention)

    # the unpruned counts are in the row of the unpruned condition
    counts = asdict(cost)
    row = {key: counts[key] for key in ("prefill", "scoring", "decode", "unit")}
    row["prefill_share"] = cost.prefill_share
    row["decode_share"] = cost.decode_share
    return row
