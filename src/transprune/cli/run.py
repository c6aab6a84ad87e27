"""`transprune run`: one question about your pictures, on your model, with one or several methods."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import (
    Json,
    duration,
    legend,
    mebibytes,
    new_table,
    percent,
    print_json,
    scientific,
    show,
    status,
    with_share,
)

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.answer import Answer
    from transprune.checkpoint import Checkpoint
    from transprune.cost import Cost

UNPRUNED = "unpruned"


class Dtype(str, Enum):
    """What `--dtype` takes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Device(str, Enum):
    """What `--device` takes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Attention(str, Enum):
    """What `--attn` takes."""

    sdpa = "sdpa"
    eager = "eager"
    flash_attention_2 = "flash_attention_2"


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


def run_command(
    model: Annotated[str, typer.Option("--model", help="Folder, hub id, or 'nano' for the bundled model.")],
    image: Annotated[list[Path], typer.Option("--image", help="Image file; repeat for several.")],
    question: Annotated[str, typer.Option("--question", help="What to ask.")],
    method: Annotated[
        str, typer.Option("--method", help="Preset, recipe text, recipe file, or 'unpruned'.")
    ] = "transprune-high",
    compare: Annotated[
        list[str] | None, typer.Option("--compare", help="Another method beside it; repeat for several.")
    ] = None,
    dtype: Annotated[Dtype, typer.Option("--dtype", help="auto: float32 on a CPU, else the model's own.")] = Dtype.auto,
    device: Annotated[Device, typer.Option("--device", help="auto: a GPU if there is one.")] = Device.auto,
    attn: Annotated[Attention, typer.Option("--attn", help="Attention implementation.")] = Attention.sdpa,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")] = 64,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Runs per method; times are medians.")] = 1,
    overlay: Annotated[Path | None, typer.Option("--overlay", help="Write a picture of what was kept.")] = None,
    as_json: Json = False,
) -> None:
    """Ask one question about pictures, pruned; with --compare, several methods and the unpruned model side by side."""
    if not question.strip():
        raise typer.BadParameter("ask something", param_hint="--question")
    methods = _unique([*([UNPRUNED] if compare else []), method, *(compare or [])])
    remote = not (model == "nano" or Path(model).exists())  # a download has its own progress bars
    with status(as_json or remote) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries
        from transprune.images import open_image

        with quiet_libraries(bars=remote and not as_json and sys.stderr.isatty()):
            _check_methods(methods)
            _check_overlay(overlay)
            pictures = [open_image(file) for file in image]
            checkpoint, inputs, runs = _run_all(
                model,
                pictures,
                question,
                methods,
                dtype.value,
                device.value,
                attn.value,
                max_new_tokens,
                repeat,
                progress,
            )
            if overlay is not None:
                _write_overlay(overlay, checkpoint, inputs, pictures, question, runs)
    if as_json:
        print_json(_document(checkpoint, inputs, image, question, runs, overlay))
        return
    _print(checkpoint, inputs, question, runs, repeat)
    if overlay is not None:
        show("", f"what was kept: {overlay}")


def _run_all(
    model: str,
    pictures: list[Any],
    question: str,
    methods: list[str],
    dtype: str,
    device: str,
    attention: str,
    max_new_tokens: int,
    repeat: int,
    progress: Callable[[str], None],
) -> tuple[Checkpoint, Any, list[Run]]:
    """Load, ask with every method, round by round so that all see the same machine."""
    from transprune.answer import ask, prepare, unpruned_cost
    from transprune.checkpoint import load
    from transprune.cost import Convention
    from transprune.session import prune

    progress(f"loading {model}")
    checkpoint = load(model, dtype=dtype, device=device, attention=attention)
    for method in methods:
        if method != UNPRUNED:
            prune(checkpoint.model, method)  # a method that does not fit says so before anything runs
    inputs = prepare(checkpoint, pictures, question)
    answers: dict[str, list[Answer]] = {method: [] for method in methods}
    for round_ in range(repeat):
        for method in methods:
            progress(f"{method}" + (f", round {round_ + 1} of {repeat}" if repeat > 1 else ""))
            answers[method].append(ask(checkpoint, inputs, None if method == UNPRUNED else method, max_new_tokens))
    conventions: tuple[Convention, ...] = ("paper", "exact")
    runs = []
    for method, given in answers.items():
        trace = given[0].trace
        costs = {name: trace.cost(name) if trace else unpruned_cost(checkpoint, inputs, name) for name in conventions}
        runs.append(Run(method, tuple(given), {str(name): cost for name, cost in costs.items()}))
    return checkpoint, inputs, runs


def _print(checkpoint: Checkpoint, inputs: Any, question: str, runs: list[Run], repeat: int) -> None:
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
    table = new_table("visual tokens", ("method", "boundary", "arrive", "stay", "share"), wrap=("method",))
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
    table = new_table("prefill with its share of the unpruned one, and seconds per token", columns, wrap=("method",))
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
    timing = "one run each, the first one warms up; --repeat 5 gives medians" if repeat == 1 else f"medians of {repeat}"
    entries = {
        "paper": "visual tokens only, multiply-adds, no scoring, as most tables in the field count",
        "exact": "all tokens, FLOPs, scoring included",
        "times": f"to the first token and for each one after it; {timing}",
    }
    seen = dict.fromkeys(note for run in runs if run.answer.trace for note in run.answer.trace.notes)
    return legend({**entries, **({"notes": "\n".join(seen)} if seen else {})})


def _describe(checkpoint: Checkpoint) -> str:
    model = checkpoint.model
    dtype = str(model.dtype).removeprefix("torch.")
    attention = model.config._attn_implementation
    return f"{checkpoint.source}: {model.config.model_type}, {dtype}, {attention}, {model.device.type}"


def _prompt_size(checkpoint: Checkpoint, inputs: Any) -> str:
    from transprune.answer import count_visual

    visual, total = count_visual(checkpoint, inputs), inputs["input_ids"].shape[1]
    return f"{visual} visual + {total - visual} text tokens"


def _document(
    checkpoint: Checkpoint, inputs: Any, image: list[Path], question: str, runs: list[Run], overlay: Path | None
) -> dict[str, Any]:
    from transprune.answer import count_visual

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


def _write_overlay(
    file: Path, checkpoint: Checkpoint, inputs: Any, pictures: list[Any], question: str, runs: list[Run]
) -> None:
    """One row per method and picture."""
    from transprune.answer import count_images
    from transprune.overlay import Strip, draw_sheet, find_grid, stage_panels

    lengths = count_images(checkpoint, inputs)
    strips = []
    for run in runs:
        trace = run.answer.trace
        if trace is None:
            continue
        first = 0
        for number, (picture, tokens) in enumerate(zip(pictures, lengths, strict=False)):
            grid = find_grid(checkpoint.model.config, inputs, number, tokens, cropped=checkpoint.crops)
            which = f" (picture {number + 1})" if len(pictures) > 1 else ""
            title = f"{run.method}{which}: {_shorten(run.answer.text)}"
            strips.append(Strip(title, picture, grid, stage_panels(trace, tokens, first), tokens))
            first += tokens
    sheet = draw_sheet(_shorten(question), strips, "bright patches stay, dark ones are dropped")
    try:
        sheet.save(file)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {file}: {error}", param_hint="--overlay") from error


def _check_methods(methods: list[str]) -> None:
    from transprune.recipe import resolve

    for method in methods:
        if method != UNPRUNED:
            resolve(method)


def _check_overlay(overlay: Path | None) -> None:
    """A wrong name is told now, not after the model has run."""
    from PIL import Image

    if overlay is None:
        return
    if overlay.suffix.lower() not in Image.registered_extensions():
        raise typer.BadParameter(f"{overlay} needs an image suffix, such as .png", param_hint="--overlay")
    if not overlay.absolute().parent.is_dir():
        raise typer.BadParameter(f"no folder {overlay.absolute().parent}", param_hint="--overlay")


def _shorten(text: str, most: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
