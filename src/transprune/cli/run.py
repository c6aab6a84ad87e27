"""`transprune run`: one question about your pictures, on your model, with one or several methods."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import Json, print_json, show, status
from transprune.cli.run_report import Run, print_runs, to_document, write_overlay

if TYPE_CHECKING:
    from transprune.models.answer import Answer
    from transprune.models.checkpoint import Checkpoint

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


def run_command(
    model: Annotated[
        str, typer.Option("--model", help="Folder, hub id, or 'nano' for the bundled model.")
    ],
    image: Annotated[list[Path], typer.Option("--image", help="Image file; repeat for several.")],
    question: Annotated[str, typer.Option("--question", help="What to ask.")],
    method: Annotated[
        str, typer.Option("--method", help="Preset, recipe text, recipe file, or 'unpruned'.")
    ] = "transprune-high",
    compare: Annotated[
        list[str] | None,
        typer.Option("--compare", help="Another method beside it; repeat for several."),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="auto: float32 on a CPU, else the model's own.")
    ] = Dtype.auto,
    device: Annotated[
        Device, typer.Option("--device", help="auto: a GPU if there is one.")
    ] = Device.auto,
    attn: Annotated[
        Attention, typer.Option("--attn", help="Attention implementation.")
    ] = Attention.sdpa,
    text_tower: Annotated[
        str | None,
        typer.Option("--text-tower", help="Folder or hub id of the model's CLIP, for cdpruner."),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")
    ] = 64,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Runs per method; times are medians.")
    ] = 1,
    overlay: Annotated[
        Path | None, typer.Option("--overlay", help="Write a picture of what was kept.")
    ] = None,
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
        from transprune.models.answer import prepare
        from transprune.models.checkpoint import LoadOptions, load
        from transprune.models.images import open_image

        with quiet_libraries(bars=remote and not as_json and sys.stderr.isatty()):
            _check_methods(methods)
            _check_overlay(overlay)
            pictures = [open_image(file) for file in image]
            progress(f"loading {model}")
            options = LoadOptions(dtype.value, device.value, attn.value, text_tower)
            checkpoint = load(model, options)
            _check_fit(checkpoint, methods)
            inputs = prepare(checkpoint, pictures, question)
            runs = _ask_all(checkpoint, inputs, methods, max_new_tokens, repeat, progress)
            if overlay is not None:
                write_overlay(overlay, checkpoint, inputs, pictures, question, runs)
    if as_json:
        print_json(to_document(checkpoint, inputs, image, question, runs, overlay))
        return
    print_runs(checkpoint, inputs, question, runs, repeat)
    if overlay is not None:
        show("", f"what was kept: {overlay}")


def _ask_all(
    checkpoint: Checkpoint,
    inputs: Any,
    methods: list[str],
    max_new_tokens: int,
    repeat: int,
    progress: Callable[[str], None],
) -> list[Run]:
    """Every method, round by round, so that all see the same machine."""
    from transprune.cost.count import Convention
    from transprune.models.answer import ask, unpruned_cost

    progress("warming up")
    ask(
        checkpoint, inputs, None, max_new_tokens=2
    )  # not counted: the first pass through any model is slow
    answers: dict[str, list[Answer]] = {method: [] for method in methods}
    for round_ in range(repeat):
        for method in methods:
            progress(f"{method}" + (f", round {round_ + 1} of {repeat}" if repeat > 1 else ""))
            answers[method].append(
                ask(checkpoint, inputs, None if method == UNPRUNED else method, max_new_tokens)
            )
    conventions: tuple[Convention, ...] = ("paper", "exact")
    runs = []
    for method, given in answers.items():
        trace = given[0].trace
        costs = {
            name: trace.cost(name) if trace else unpruned_cost(checkpoint, inputs, name)
            for name in conventions
        }
        runs.append(Run(method, tuple(given), {str(name): cost for name, cost in costs.items()}))
    return runs


def _check_methods(methods: list[str]) -> None:
    """A wrong name is told before the model is loaded."""
    from transprune.methods.common.recipe import resolve

    for method in methods:
        if method != UNPRUNED:
            resolve(method)


def _check_fit(checkpoint: Checkpoint, methods: list[str]) -> None:
    """A method that does not fit this model says so before anything runs."""
    from transprune.session import prune

    for method in methods:
        if method != UNPRUNED:
            prune(checkpoint.model, method, text_tower=checkpoint.text_tower)


def _check_overlay(overlay: Path | None) -> None:
    """A wrong name is told now, not after the model has run."""
    from PIL import Image

    if overlay is None:
        return
    if overlay.suffix.lower() not in Image.registered_extensions():
        raise typer.BadParameter(
            f"{overlay} needs an image suffix, such as .png", param_hint="--overlay"
        )
    if not overlay.absolute().parent.is_dir():
        raise typer.BadParameter(f"no folder {overlay.absolute().parent}", param_hint="--overlay")


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
