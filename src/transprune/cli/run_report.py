"""The output of `transprune run`: answers, stages and costs, as tables or as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from transprune.cli.console import legend, new_table, show
from transprune.cli.run_tiles import show_tiles
from transprune.cli.units import duration, mebibytes, percent, scientific, with_share

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.cli.run_shown import Shown
    from transprune.cost.count import Cost
    from transprune.models.answer import Answer
    from transprune.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class MethodRun:
    """The answers of one method.

    Attributes:
        method: its name as given, or `"unpruned"`.
        answers: one per repetition. They differ in their times only, because decoding is greedy.
        costs: the cost by convention, `"paper"` and `"exact"`.
    """

    method: str
    answers: tuple[Answer, ...]
    costs: dict[str, Cost]

    @property
    def answer(self) -> Answer:
        """The first answer."""
        return self.answers[0]

    @property
    def first_token(self) -> float:
        """Seconds to the first token, median."""
        return median(answer.first_token for answer in self.answers)

    @property
    def per_token(self) -> float | None:
        """Seconds per further token, median; None if there is only one token."""
        # an answer of one token has no further one
        times = [answer.per_token for answer in self.answers if answer.per_token is not None]
        return median(times) if times else None

    @property
    def evicts(self) -> bool:
        """Whether keys left the cache behind the prompt."""
        return self.answer.trace is not None and bool(self.answer.trace.evictions)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        trace = self.answer.trace
        total = median(answer.total for answer in self.answers)
        costs = {name: cost.to_dict() for name, cost in self.costs.items()}
        seconds = {
            "first_token": self.first_token,
            "per_token": self.per_token,
            "total": total,
            "repeats": len(self.answers),
        }

        return {
            "method": self.method,
            "answer": self.answer.text,
            "new_tokens": self.answer.tokens,
            "seconds": seconds,
            "cost": costs,
            "trace": None if trace is None else trace.to_dict(),
        }


def to_document(
    checkpoint: Checkpoint,
    inputs: Any,
    shown: Shown,
    question: str,
    runs: list[MethodRun],
    overlay: Path | None,
) -> dict[str, Any]:
    """The results as one JSON document."""
    model = checkpoint.model
    from transprune.tiles.result import peak_memory

    visual, text = _prompt_size(checkpoint, inputs)
    return {
        "model": checkpoint.source,
        "family": model.config.model_type,
        "dtype": _dtype(checkpoint),
        "device": model.device.type,
        "attention": model.config._attn_implementation,
        **shown.to_dict(),
        "question": question,
        "visual_tokens": visual,
        "text_tokens": text,
        "runs": [run.to_dict() for run in runs],
        "peak_bytes": peak_memory(model.device),
        "overlay": None if overlay is None else str(overlay),
    }


def print_runs(
    checkpoint: Checkpoint,
    inputs: Any,
    shown: Shown,
    question: str,
    runs: list[MethodRun],
    repeat: int,
) -> None:
    """Print the results as tables."""
    visual, text = _prompt_size(checkpoint, inputs)
    # what ran; then the answers, which matter most; then tokens and costs
    show(_describe(checkpoint), *map(str, shown.clips))
    if shown.tiles is not None and shown.tiles.looks:
        show_tiles(shown.tiles, checkpoint.model.device)

    show(f"{visual} visual + {text} text tokens: {question}", "")
    if len(runs) == 1:
        show(runs[0].answer.text or "(an empty answer)", "")
    else:
        show(_answers(runs), "")

    show(_stages(runs), "", _costs(runs), "")
    if any(run.evicts for run in runs):
        show(_evictions(runs), "")

    show(_legend(runs, repeat))


def _describe(checkpoint: Checkpoint) -> str:
    """`nano: llava, float32, sdpa, cpu`."""
    config = checkpoint.model.config
    device = checkpoint.model.device.type
    settings = (config.model_type, _dtype(checkpoint), config._attn_implementation, device)
    return f"{checkpoint.source}: {', '.join(settings)}"


def _dtype(checkpoint: Checkpoint) -> str:
    return str(checkpoint.model.dtype).removeprefix("torch.")


def _prompt_size(checkpoint: Checkpoint, inputs: Any) -> tuple[int, int]:
    """Visual tokens and other tokens of the prompt."""
    from transprune.models.answer import count_visual

    visual = count_visual(checkpoint, inputs)
    return visual, int(inputs["input_ids"].shape[1]) - visual


def _answers(runs: list[MethodRun]) -> Table:
    table = new_table("answers", ("method", "answer"), left=("method",), wrap=("answer",))
    for run in runs:
        table.add_row(run.method, run.answer.text or "(empty)")
    return table


def _stages(runs: list[MethodRun]) -> Table:
    """For each method, how many visual tokens remain from which layer on."""
    columns = ("method", "from layer", "arrive", "stay", "share")
    table = new_table("visual tokens that are left", columns, wrap=("method",))
    for run in runs:
        trace = run.answer.trace
        if trace is None or not trace.stages:
            table.add_row(run.method, "-", "-", "all", "100%")
            continue

        # the prompt is a batch of one, so each stage has one sample
        for stage in trace.stages:
            arriving = len(stage.candidates[0])
            kept = len(stage.keep[0])
            share = percent(kept / trace.visual_tokens[0])
            table.add_row(run.method, str(stage.boundary), str(arriving), str(kept), share)

        table.add_section()

    return table


def _evictions(runs: list[MethodRun]) -> Table:
    """For each method that evicts keys, how many visual ones each head keeps in which layers."""
    from transprune.core.evicted import runs_of_layers

    columns = ("method", "layers", "visual keys", "stay", "share")
    table = new_table("what each head keeps in the cache", columns, wrap=("method", "layers"))
    for run in runs:
        trace = run.answer.trace
        if trace is None or not trace.evictions:
            continue

        arrived = trace.tokens_per_layer()
        for counts, layers in runs_of_layers(trace.evictions):
            there = arrived[layers[0]]
            share = percent(counts[0] / there)
            where = str(layers[0]) if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
            table.add_row(run.method, where, str(there), str(counts[0]), share)

        table.add_section()

    return table


def _costs(runs: list[MethodRun]) -> Table:
    """Cost in both conventions, key/value cache, and times."""
    title = "reading the prompt, with its share of the unpruned run, and times per token"
    columns = ("method", "work (exact)", "work (paper)", "memory (K/V)", "first", "next")
    table = new_table(title, columns, wrap=("method",))

    # paper leaves out text tokens and scoring, so its shares are the smaller ones
    for run in runs:
        paper = run.costs["paper"]
        exact = run.costs["exact"]
        table.add_row(
            run.method,
            with_share(scientific(exact.prefill), exact.prefill_share),
            with_share(scientific(paper.prefill), paper.prefill_share),
            with_share(mebibytes(exact.kv_bytes), exact.kv_share),
            duration(run.first_token),
            duration(run.per_token),
        )

    return table


def _legend(runs: list[MethodRun], repeat: int) -> Table:
    timing = f"medians of {repeat}"
    if repeat == 1:
        timing = "one run each after a warm-up; --repeat 5 gives medians"

    entries = {
        "from layer": "tokens are dropped in front of this decoder layer (a boundary)",
        "exact": "all tokens, FLOPs, choosing them included",
        "paper": "visual tokens only, multiply-adds, no scoring, as most tables in the field count",
        "K/V": "keys and values of the prompt, which every later token reads",
        "times": f"to the first token and for each one after it; {timing}",
    }

    notes: dict[str, None] = {}  # in order, each once
    for run in runs:
        if run.answer.trace is not None:
            notes.update(dict.fromkeys(run.answer.trace.notes))
    if notes:
        entries["notes"] = "\n".join(notes)

    return legend(entries)
