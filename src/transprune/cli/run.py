"""`transprune run`: one question about pictures and videos, on any model, with several methods."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import print_json, show, status
from transprune.cli.options import (
    MAX_NEW_TOKENS_HELP,
    Attention,
    AttentionOption,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Json,
    Method,
    Model,
    Question,
    TextTower,
    load_options,
)
from transprune.cli.run_overlay import check_overlay, write_overlay
from transprune.cli.run_report import MethodRun, print_runs, to_document
from transprune.cli.run_shown import Frames, Images, Pool, Pools, Shown, Videos, open_all
from transprune.cli.run_tiles import (
    Large,
    RoundsOption,
    TilesOption,
    check_one_picture,
    open_large,
)
from transprune.core.plan import UNPRUNED

if TYPE_CHECKING:
    from transprune.methods.common.method import Method as PruningMethod
    from transprune.models.answer import Answer
    from transprune.models.checkpoint import Checkpoint

Compare = Annotated[
    list[str] | None,
    typer.Option(
        "--compare",
        metavar="METHOD",
        help="Another method to run beside it and the unpruned model; repeat for several.",
    ),
]
MaxNewTokens = Annotated[
    int,
    typer.Option("--max-new-tokens", min=1, metavar="N", help=f"{MAX_NEW_TOKENS_HELP}."),
]
Repeat = Annotated[
    int,
    typer.Option("--repeat", min=1, metavar="N", help="Runs per method; times are medians."),
]
Overlay = Annotated[
    Path | None,
    typer.Option("--overlay", metavar="FILE", help="Write a picture of the kept tokens."),
]


def run_command(
    model: Model,
    question: Question,
    image: Images = None,
    video: Videos = None,
    frames: Frames = 8,
    tiles: TilesOption = None,
    tile_rounds: RoundsOption = None,
    method: Method = "transprune-high",
    compare: Compare = None,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    text_tower: TextTower = None,
    max_new_tokens: MaxNewTokens = 64,
    repeat: Repeat = 1,
    pool: Pool = Pools.sample,
    overlay: Overlay = None,
    as_json: Json = False,
) -> None:
    """Ask a question about pictures or videos, pruned and unpruned.

    Of a video --frames are taken at even distances, and of a large picture --tiles. One method
    runs alone; with --compare several and the unpruned model run side by side.
    """
    pictures = image or []
    videos = video or []
    _check_given(question, pictures, videos)
    check_overlay(overlay)
    check_one_picture(tiles, tile_rounds, pictures, videos)
    names = [UNPRUNED, method, *compare] if compare else [method]

    from transprune.models.source import is_local

    # a download shows progress bars of its own, which a spinner would overwrite
    downloads = not is_local(model)
    with status(as_json or downloads) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries
        from transprune.models.checkpoint import load

        with quiet_libraries(bars=downloads and not as_json and sys.stderr.isatty()):
            # mistakes in the options show before the model is loaded
            methods = _resolve(names)
            opened: Shown | Large
            if tiles is None:
                opened = open_all(pictures, videos, frames, progress)
            else:
                opened = open_large(pictures[0], tiles, tile_rounds)

            progress(f"loading {model}")
            checkpoint = load(model, load_options(dtype, device, attn, text_tower))
            _check_fit(checkpoint, methods.values())

            shown = opened.for_question(checkpoint, question, progress)
            inputs = _prepare(checkpoint, shown, question)
            limits = {"max_new_tokens": max_new_tokens, "pool": pool.value}
            runs = _ask_all(checkpoint, inputs, methods, limits, repeat, progress)
            if overlay is not None:
                write_overlay(overlay, checkpoint, inputs, shown, question, runs)

    if as_json:
        print_json(to_document(checkpoint, inputs, shown, question, runs, overlay))
        return

    print_runs(checkpoint, inputs, shown, question, runs, repeat)
    if overlay is not None:
        show("", f"what was kept: {overlay}")


def _check_given(question: str, pictures: list[Path], videos: list[Path]) -> None:
    """Refuse a command without a question, or without anything to ask about."""
    if not question.strip():
        raise typer.BadParameter("the question is empty", param_hint="--question")
    if not pictures and not videos:
        raise typer.BadParameter("give a picture with --image, or a video with --video")


def _resolve(names: Iterable[str]) -> dict[str, PruningMethod | None]:
    """The methods by name, each once; None for the unpruned model."""
    from transprune.methods.common.recipe import resolve

    return {name: None if name == UNPRUNED else resolve(name) for name in names}


def _check_fit(checkpoint: Checkpoint, methods: Iterable[PruningMethod | None]) -> None:
    """Raise the error of a method that does not fit this model, before anything runs."""
    from transprune.session import prune

    for method in methods:
        if method is not None:
            prune(checkpoint.model, method, text_tower=checkpoint.text_tower)


def _prepare(checkpoint: Checkpoint, shown: Shown, question: str) -> Any:
    """The model's inputs; a warning where they leave no room for an answer."""
    from transprune.models.answer import prepare
    from transprune.models.context import warn_beyond

    inputs = prepare(checkpoint, shown.pictures, question, shown.clips)
    warn_beyond(checkpoint.model, int(inputs["input_ids"].shape[1]))
    return inputs


def _ask_all(
    checkpoint: Checkpoint,
    inputs: Any,
    methods: Mapping[str, PruningMethod | None],
    limits: Mapping[str, Any],
    repeat: int,
    progress: Callable[[str], None],
) -> list[MethodRun]:
    """Run every method `repeat` times; `limits` are options of `ask`."""
    from transprune.models.answer import ask

    progress("warming up")
    ask(checkpoint, inputs, None, max_new_tokens=2)  # the first pass through a model is slow

    answers: dict[str, list[Answer]] = {name: [] for name in methods}

    # all methods run once before any runs again, so that a slow moment of the machine affects all
    for number in range(1, repeat + 1):
        for name, method in methods.items():
            progress(f"{name}, round {number} of {repeat}" if repeat > 1 else name)
            answers[name].append(ask(checkpoint, inputs, method, **limits))

    return [_collect(checkpoint, inputs, name, given) for name, given in answers.items()]


def _collect(checkpoint: Checkpoint, inputs: Any, name: str, answers: list[Answer]) -> MethodRun:
    """The answers of one method with its cost in both conventions."""
    from transprune.models.answer import unpruned_cost

    trace = answers[0].trace
    if trace is None:
        paper = unpruned_cost(checkpoint, inputs, "paper")
        exact = unpruned_cost(checkpoint, inputs, "exact")
    else:
        paper = trace.cost("paper")
        exact = trace.cost("exact")

    return MethodRun(name, tuple(answers), {"paper": paper, "exact": exact})
