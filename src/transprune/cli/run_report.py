"""What `transprune run` shows: answers, stages, the bill, the same as JSON, and the picture of what was kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import typer

from transprune.cli.console import (
    duration,
    legend,
    mebibytes,
    new_table,
    percent,
    scientific,
    show,
    with_share,
)

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.cost.count import Cost
    from transprune.models.answer import Answer
    from transprune.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Run:
    """One method's answers; the first is shown, times are medians of all."""

    method: str
    answers: tuple[Answer, ...]
    costs: dict[str, Cost]

    @property
    def answer(self) -> Answer:
        """The answer; greedy, so the same every time."""
        return self.answers[0]

    @property
    def first_token(self) -> float:
        """Seconds to the first token."""
        return median(answer.first_token for answer in self.answers)

    @property
    def per_token(self) -> float | None:
        """Seconds per further token."""
        times = [answer.per_token for answer in self.answers if answer.per_token is not None]
        return median(times) if times else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return {
            "method": self.method,
            "answer": self.answer.text,
            "new_tokens": self.answer.tokens,
            "seconds": {
                "first_token": self.first_token,
                "per_token": self.per_token,
                "total": median(answer.total for answer in self.answers),
                "repeats": len(self.answers),
            },
            "cost": {name: cost.to_dict() for name, cost in self.costs.items()},
            "trace": self.answer.trace.to_dict() if self.answer.trace else None,
        }


def print_runs(
    checkpoint: Checkpoint, inputs: Any, question: str, runs: list[Run], repeat: int
) -> None:
    """Tables for people."""
    show(f"{_describe(checkpoint)}", f"{_prompt_size(checkpoint, inputs)}: {question}", "")
    if len(runs) == 1:
        show(runs[0].answer.text or "(an empty answer)", "")
    else:
        table = new_table("answers", ("method", "answer"), left=("method",), wrap=("answer",))
        for run in runs:
            table.add_row(run.method, run.answer.text or "(empty)")
        show(table, "")
    show(_stages(runs), "", _bill(runs), "", _legend(runs, repeat))


def _stages(runs: list[Run]) -> Table | str:
    """Per method, how many visual tokens run from which layer on."""
    table = new_table(
        "visual tokens", ("method", "boundary", "arrive", "stay", "share"), wrap=("method",)
    )
    for run in runs:
        trace = run.answer.trace
        if trace is None or not trace.stages:
            table.add_row(run.method, "-", "-", "all", "100%")
            continue
        for stage in trace.stages:
            arrived, kept = len(stage.candidates[0]), len(stage.keep[0])
            share = percent(kept / trace.visual_tokens[0])
            table.add_row(run.method, str(stage.boundary), str(arrived), str(kept), share)
        table.add_section()
    return table


def _bill(runs: list[Run]) -> Table:
    """Cost in both conventions, K/V, and times."""
    columns = ("method", "paper MACs", "exact FLOPs", "K/V", "first", "next")
    table = new_table(
        "prefill with its share of the unpruned one, and seconds per token",
        columns,
        wrap=("method",),
    )
    for run in runs:
        paper, exact = run.costs["paper"], run.costs["exact"]
        table.add_row(
            run.method,
            with_share(scientific(paper.prefill), paper.prefill_share),
            with_share(scientific(exact.prefill), exact.prefill_share),
            with_share(mebibytes(exact.kv_bytes), exact.kv_share),
            duration(run.first_token),
            duration(run.per_token),
        )
    return table


def _legend(runs: list[Run], repeat: int) -> Table:
    timing = (
        "one run each after a warm-up; --repeat 5 gives medians"
        if repeat == 1
        else f"medians of {repeat}"
    )
    entries = {
        "paper": "visual tokens only, multiply-adds, no scoring, as most tables in the field count",
        "exact": "all tokens, FLOPs, scoring included",
        "times": f"to the first token and for each one after it; {timing}",
    }
    seen = dict.fromkeys(
        note for run in runs if run.answer.trace for note in run.answer.trace.notes
    )
    return legend({**entries, **({"notes": "\n".join(seen)} if seen else {})})


def _describe(checkpoint: Checkpoint) -> str:
    model = checkpoint.model
    dtype = str(model.dtype).removeprefix("torch.")
    attention = model.config._attn_implementation
    return (
        f"{checkpoint.source}: {model.config.model_type}, {dtype}, {attention}, {model.device.type}"
    )


def _prompt_size(checkpoint: Checkpoint, inputs: Any) -> str:
    from transprune.models.answer import count_visual

    visual, total = count_visual(checkpoint, inputs), inputs["input_ids"].shape[1]
    return f"{visual} visual + {total - visual} text tokens"


def to_document(
    checkpoint: Checkpoint,
    inputs: Any,
    image: list[Path],
    question: str,
    runs: list[Run],
    overlay: Path | None,
) -> dict[str, Any]:
    """The same for programs."""
    from transprune.models.answer import count_visual

    model = checkpoint.model
    visual, total = count_visual(checkpoint, inputs), int(inputs["input_ids"].shape[1])
    return {
        "model": checkpoint.source,
        "family": model.config.model_type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "attention": model.config._attn_implementation,
        "images": [str(file) for file in image],
        "question": question,
        "visual_tokens": visual,
        "text_tokens": total - visual,
        "runs": [run.to_dict() for run in runs],
        "overlay": str(overlay) if overlay else None,
    }


def write_overlay(
    file: Path,
    checkpoint: Checkpoint,
    inputs: Any,
    pictures: list[Any],
    question: str,
    runs: list[Run],
) -> None:
    """One row per method and picture."""
    from transprune.models.answer import count_images
    from transprune.report.overlay import Strip, draw_sheet, find_grid, stage_panels

    lengths = count_images(checkpoint, inputs)
    strips = []
    for run in runs:
        trace = run.answer.trace
        if trace is None:
            continue
        first = 0
        for number, (picture, tokens) in enumerate(zip(pictures, lengths, strict=False)):
            grid = find_grid(
                checkpoint.model.config, inputs, number, tokens, cropped=checkpoint.crops
            )
            which = f" (picture {number + 1})" if len(pictures) > 1 else ""
            title = f"{run.method}{which}: {_shorten(run.answer.text or '(empty)')}"
            strips.append(Strip(title, picture, grid, stage_panels(trace, tokens, first), tokens))
            first += tokens
    sheet = draw_sheet(_shorten(question), strips, "bright patches stay, dark ones are dropped")
    try:
        sheet.save(file)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {file}: {error}", param_hint="--overlay") from error


def _shorten(text: str, most: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
