"""`transprune train-pruner`: weights of a trained method for a model, from questions with answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import AGREEMENT, legend, new_table, print_json, show
from transprune.cli.options import (
    METHOD_HELP,
    OUT_HELP,
    Attention,
    AttentionOption,
    BatchSize,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Json,
    Model,
    OptionalThreads,
    Seed,
    Strict,
    command_line,
    load_options,
)
from transprune.cli.progress import follow_quietly
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.training.launch import Trained
    from transprune.training.plan import TrainPlan

Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help=f"{OUT_HELP}; it becomes the weights, and a stopped training in it goes on.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="METHOD",
        help=f"{METHOD_HELP}; a trained one, lvpruning or asymvlm; its ratios are aimed at.",
    ),
]
Questions = Annotated[
    str | None,
    typer.Option(
        "--questions",
        metavar="QUESTIONS",
        help="Folder or file of questions with answers; 'nano' or 'smol': training scenes of "
        "a test bed. Default: the model's own, else nano.",
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n",
        min=1,
        metavar="N",
        help="Number of scenes (nano, smol; default 1500) or questions (file; default all).",
    ),
]
Steps = Annotated[int, typer.Option("--steps", min=1, metavar="N", help="Updates of the weights.")]
LearningRate = Annotated[
    float, typer.Option("--learning-rate", metavar="RATE", help="Peak rate of Adam.")
]
HeldOut = Annotated[
    float,
    typer.Option(
        "--held-out",
        metavar="SHARE",
        help="Share of the pictures that is held out; nothing is learnt from them.",
    ),
]
StopAfter = Annotated[
    int | None,
    typer.Option(
        "--stop-after",
        min=1,
        metavar="N",
        help="Stop after that many steps; the same command goes on.",
    ),
]


def train_pruner_command(
    out: Out,
    method: Method = "lvpruning",
    model: Model = "nano",
    questions: Questions = None,
    n: Count = None,
    steps: Steps = 600,
    batch_size: BatchSize = 24,
    learning_rate: LearningRate = 1e-3,
    held_out: HeldOut = 0.05,
    stop_after: StopAfter = None,
    strict: Strict = False,
    seed: Seed = 0,
    threads: OptionalThreads = None,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    as_json: Json = False,
) -> None:
    """Train a method that needs training: the model stays as it is, a small module learns.

    Needs questions with answers. Run the same command again to continue after an interruption. The
    folder is what the method takes: lvpruning:weights=FOLDER.
    """
    need_folder(out, "--out")
    use_threads(threads)
    from transprune.bench.data.tasks import own_tasks
    from transprune.training.plan import TrainPlan

    plan = TrainPlan(
        out=out,
        method=method,
        model=model,
        questions=questions or own_tasks(model),
        n=n,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        held_out=held_out,
        seed=seed,
        strict=strict,
        stop_after=stop_after,
        loading=load_options(dtype, device, attn, None),
        command=command_line(),
    )

    notes: list[str] = []
    trained = _run(plan, notes, as_json)
    if as_json:
        document = {"weights": str(out), "finished": trained.finished, "notes": notes}
        print_json({**document, **trained.training})
        return

    _print(trained, notes)


def _run(plan: TrainPlan, notes: list[str], as_json: bool) -> Trained:
    """Train with the progress shown."""
    from transprune.training.launch import train_pruner

    with follow_quietly(as_json) as report:
        return train_pruner(plan, report, notes.append)


def _print(trained: Trained, notes: list[str]) -> None:
    folder = trained.plan.out
    if not trained.finished:
        show(*notes, f"stopped with a checkpoint in {folder}; the same command goes on")
        return

    name = trained.training["method"]["method"]
    show(*notes, _table(trained.training), "", _legend(), "")
    show(
        f"weights: {folder}   card: {folder}/README.md   figures: {folder}/pruner.json",
        f"use them: transprune run --model {trained.plan.model} --method {name}:weights={folder} ...",
    )


def _table(training: dict[str, Any]) -> Table:
    """The held-out figures of the weights and of the control."""
    held = training["held out"]
    loss = f"{training['curve'][0]['loss']:.3f} to {training['curve'][-1]['loss']:.3f}"
    title = f"{held['questions']} held-out questions; the loss went from {loss}"
    table = new_table(title, ("method", "KL", "same answers"))
    for row, figures in held.items():
        if isinstance(figures, dict):
            table.add_row(row, f"{figures['kl']:.4f}", f"{figures['same']:.1f} %")

    return table


def _legend() -> Table:
    return legend(
        {
            **AGREEMENT,
            "random": "a control that keeps as many tokens, drawn at random",
        }
    )
