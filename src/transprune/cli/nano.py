"""`transprune nano`: the bundled model's own business: its scenes, its training, its scores."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transprune.cli.console import Json, err, new_table, print_json, show

if TYPE_CHECKING:
    from transprune.nano.evaluate import Scores

nano_app = typer.Typer(
    name="nano",
    help="Scenes, training and scores of the bundled model.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Recipe(str, Enum):
    """What `--recipe` takes."""

    eyes_first = "eyes-first"
    words_first = "words-first"
    miniature = "miniature"


class SplitName(str, Enum):
    """What `--split` takes."""

    train = "train"
    validation = "validation"
    test = "test"
    demo = "demo"


Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]


@nano_app.command("train")
def train_command(
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the run; an interrupted one goes on.")
    ] = Path("out/nano"),
    recipe: Annotated[Recipe, typer.Option("--recipe", help="Which training.")] = Recipe.eyes_first,
    threads: Threads = 2,
    stop_after: Annotated[
        int | None, typer.Option("--stop-after", min=1, help="Stop after so many steps.")
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile", help="Compile the layers where a compiler is installed."
        ),
    ] = True,
) -> None:
    """Train from scenes to a finished checkpoint; run it again after an interruption and it goes on."""
    # read by OpenMP when torch is loaded: threads that spin while they wait make a busy machine ten times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    import torch

    from transprune.cli.guard import quiet_libraries
    from transprune.nano.train.recipe import RECIPES
    from transprune.nano.train.run import train

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with quiet_libraries(bars=False), _bars() as progress:
        folder = train(RECIPES[recipe.value], out, progress, device, stop_after, compiled)
    show(
        f"checkpoint: {folder}"
        if folder
        else f"stopped; the same command goes on: transprune nano train --out {out}"
    )


@nano_app.command("scenes")
def scenes_command(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the pictures and questions.jsonl.")
    ],
    count: Annotated[int, typer.Option("--count", min=1, help="How many scenes.")] = 12,
    first: Annotated[int, typer.Option("--first", min=0, help="Number of the first one.")] = 0,
    split: Annotated[
        SplitName, typer.Option("--split", help="Which stream of scenes.")
    ] = SplitName.demo,
) -> None:
    """Write pictures with their questions, to look at or to run a benchmark on."""
    from transprune.nano.export import write_scenes

    questions = write_scenes(out, split.value, range(first, first + count))
    show(f"{count} pictures and {questions} questions: {out}/")


@nano_app.command("evaluate")
def evaluate_command(
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Folder of a checkpoint; the bundled one if left out."),
    ] = None,
    scenes: Annotated[int, typer.Option("--scenes", min=1, help="How many scenes.")] = 500,
    split: Annotated[
        SplitName, typer.Option("--split", help="validation to choose by, test to report.")
    ] = (SplitName.validation),
    floor: Annotated[bool, typer.Option("--floor", help="Also with the pictures blanked.")] = False,
    threads: Threads = 2,
    as_json: Json = False,
) -> None:
    """Exact answers of a checkpoint of the bundled kind, per question family."""
    import torch

    from transprune import nano
    from transprune.cli.guard import quiet_libraries
    from transprune.nano.evaluate import evaluate, load_trained

    torch.set_num_threads(threads)
    with quiet_libraries(bars=False), _bars() as bars:
        trained = load_trained(model or nano.path())
        told: Callable[[int, int], None] = lambda done, total: bars("scenes", done, total, {})  # noqa: E731
        found = [
            evaluate(trained, split.value, scenes, blank=blank, progress=told)
            for blank in ([False, True][: 1 + floor])
        ]
    if as_json:
        print_json(
            {"model": str(model or "nano"), "scores": [scores.to_dict() for scores in found]}
        )
    else:
        show(_table(found))


@nano_app.command("plot")
def plot_command(
    run: Annotated[Path, typer.Option("--run", help="Folder of a training run.")] = Path(
        "out/nano"
    ),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="PNG to write; training.png in the run if left out."),
    ] = None,
) -> None:
    """Draw the logs of a training run: loss and accuracies over the steps of each stage."""
    from transprune.nano.train.plot import plot_run

    show(f"{plot_run(run, out or run / 'training.png')}")


def _table(found: list[Scores]) -> object:
    columns = ("questions", "n", "right %", *(["blank %"] if len(found) > 1 else []))
    table = new_table(
        f"{found[0].scenes} scenes of the {found[0].split} split", columns, left=("questions",)
    )
    for name, tally in found[0].families.items():
        _row(table, name, [scores.families[name].percent for scores in found], tally.asked)
        for kind, part in sorted(found[0].kinds.items()):
            if kind.startswith(f"{name}/"):
                values = [scores.kinds[kind].percent for scores in found]
                _row(table, "  " + kind.partition("/")[2], values, part.asked)
    table.add_section()
    _row(table, "mean of families", [scores.mean for scores in found], None)
    return table


def _row(table: object, name: str, values: list[float], asked: int | None) -> None:
    table.add_row(name, "" if asked is None else str(asked), *(f"{value:.1f}" for value in values))  # type: ignore[attr-defined]


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """A bar per stage on a terminal; elsewhere a line of JSON now and then, so that a log file can be followed."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = err()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        TextColumn("{task.fields[said]}"),
        console=console,
        disable=not console.is_terminal,
    ) as bars:
        tasks: dict[str, object] = {}

        def progress(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
            said = "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
            if bars.disable and metrics:
                console.print(
                    json.dumps({"stage": stage, "step": step, "of": steps, **metrics}),
                    soft_wrap=True,
                )
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=steps, said=said)
            bars.update(tasks[stage], completed=step, said=said)  # type: ignore[arg-type]

        yield progress
