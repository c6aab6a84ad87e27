"""`transprune nano`: scenes, training and scores of the bundled model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transprune.cli.console import err, new_table, print_json, show
from transprune.cli.options import Json, Threads
from transprune.cli.progress import follow
from transprune.cli.targets import need_file, need_folder
from transprune.cli.threads import use_threads
from transprune.core import strict_json
from transprune.errors import MissingExtra

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.nano.evaluate import Scores

StageProgress = Callable[[str, int, int, dict[str, float]], None]  # stage, step, steps, metrics

_TRAINING_PACKAGES = ("transprune.nano.train", "transprune.smol.train")

nano_app = typer.Typer(
    name="nano",
    help="Scenes, training and scores of the bundled model.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class TrainingRecipeName(str, Enum):
    """The values of `--recipe`."""

    eyes_first = "eyes-first"
    words_first = "words-first"
    miniature = "miniature"


class SplitName(str, Enum):
    """The values of `--split`."""

    train = "train"
    validation = "validation"
    test = "test"
    demo = "demo"


@nano_app.command("train")
def train_command(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="Folder of the run; an interrupted run is continued."
        ),
    ] = Path("out/nano"),
    recipe: Annotated[
        TrainingRecipeName, typer.Option("--recipe", help="Training recipe.")
    ] = TrainingRecipeName.eyes_first,
    threads: Threads = 2,
    stop_after: Annotated[
        int | None,
        typer.Option("--stop-after", min=1, metavar="N", help="Stop after that many steps."),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile", help="Compile the layers where a compiler is installed."
        ),
    ] = True,
) -> None:
    """Train the bundled model from scenes to a checkpoint; run again to continue."""
    need_folder(out, "--out")
    # before torch is imported
    use_threads(threads)
    import torch

    from transprune.cli.guard import quiet_libraries

    with training_code():
        from transprune.nano.train.recipe import RECIPES
        from transprune.nano.train.run import train

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with quiet_libraries(bars=False), stages() as progress:
        folder = train(RECIPES[recipe.value], out, progress, device, stop_after, compiled)

    if folder is not None:
        show(f"checkpoint: {folder}")
    else:
        command = f"transprune nano train --recipe {recipe.value} --out {out}"
        show(f"stopped; to continue: {command}")


@nano_app.command("scenes")
def scenes_command(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="Folder for the pictures and questions.jsonl."
        ),
    ],
    count: Annotated[
        int, typer.Option("--count", min=1, metavar="N", help="Number of scenes.")
    ] = 12,
    first: Annotated[
        int, typer.Option("--first", min=0, metavar="N", help="Number of the first scene.")
    ] = 0,
    split: Annotated[
        SplitName, typer.Option("--split", help="Split of the scenes.")
    ] = SplitName.demo,
) -> None:
    """Write pictures with their questions, to view or to run a benchmark on."""
    need_folder(out, "--out")
    from transprune.nano.export import write_scenes

    questions = write_scenes(out, split.value, range(first, first + count))
    show(f"{count} pictures and {questions} questions: {out}/")


@nano_app.command("evaluate")
def evaluate_command(
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="FOLDER", help="Folder of a checkpoint; default: the bundled one."
        ),
    ] = None,
    scenes: Annotated[
        int, typer.Option("--scenes", min=1, metavar="N", help="Number of scenes.")
    ] = 500,
    split: Annotated[
        SplitName, typer.Option("--split", help="validation to choose by, test to report.")
    ] = SplitName.validation,
    floor: Annotated[
        bool, typer.Option("--floor", help="Also score the model with blanked pictures.")
    ] = False,
    threads: Threads = 2,
    as_json: Json = False,
) -> None:
    """Score the answers of a checkpoint of the bundled kind, per category of questions."""
    use_threads(threads)
    from transprune import nano
    from transprune.cli.guard import quiet_libraries
    from transprune.nano.evaluate import evaluate, load_trained

    found = []
    with quiet_libraries(bars=False), stages() as progress:
        trained = load_trained(model or nano.path())

        def scene_progress(done: int, total: int) -> None:
            progress("scenes", done, total, {})

        # blank pictures show what can be guessed from the question alone
        for blank in (False, True) if floor else (False,):
            scores = evaluate(trained, split.value, scenes, blank=blank, progress=scene_progress)
            found.append(scores)

    if as_json:
        source = str(model or nano.NANO)
        print_json({"model": source, "scores": [scores.to_dict() for scores in found]})
    else:
        show(_table(found))


@nano_app.command("plot")
def plot_command(
    run: Annotated[
        Path, typer.Option("--run", metavar="FOLDER", help="Folder of a training run.")
    ] = Path("out/nano"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="PNG file to write; default: training.png in the run."
        ),
    ] = None,
) -> None:
    """Draw the logs of a training run: loss and accuracies over the steps of each stage."""
    with training_code():
        from transprune.nano.train.plot import plot_run

    if out is not None and out.suffix.lower() != ".png":
        raise typer.BadParameter(f"{out} needs the suffix .png", param_hint="--out")

    # without a run there is nothing to draw, and the error is about the run
    file = out or run / "training.png"
    if run.is_dir():
        need_file(file, "--out")
    show(f"{plot_run(run, file)}")


@contextmanager
def training_code() -> Iterator[None]:
    """Explain where the training code is if its import fails.

    Raises:
        MissingExtra: transprune was installed from a wheel, which does not contain that code.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(_TRAINING_PACKAGES):
            raise  # a missing dependency, not the missing package
        raise MissingExtra(
            "this command needs the training code, which is in the source repository and not in "
            "the wheel. In a checkout of the repository run: pip install -e . ; then repeat the "
            "command."
        ) from error


def _table(found: list[Scores]) -> Table:
    """Accuracy per category and kind; the second scores, if any, are those on blanked pictures."""
    first = found[0]
    columns = ["questions", "n", "right %"]
    if len(found) > 1:
        columns.append("blank %")

    table = new_table(
        f"{first.scenes} scenes of the {first.split} split", columns, left=("questions",)
    )

    for name, tally in first.categories.items():
        _add_row(table, name, [scores.categories[name].percent for scores in found], tally.asked)

        for kind, part in sorted(first.kinds.items()):
            if kind.startswith(f"{name}/"):
                label = "  " + kind.partition("/")[2]
                _add_row(table, label, [scores.kinds[kind].percent for scores in found], part.asked)

    table.add_section()
    _add_row(table, "mean of categories", [scores.mean for scores in found], None)
    return table


def _add_row(table: Table, name: str, values: list[float], asked: int | None) -> None:
    count = "" if asked is None else str(asked)
    table.add_row(name, count, *(f"{value:.1f}" for value in values))


@contextmanager
def stages() -> Iterator[StageProgress]:
    """One progress bar per stage on a terminal.

    Elsewhere a line every half minute, and the metrics as lines of JSON for a program that follows
    the log.
    """
    console = err()
    with follow(bar_per_step=True) as report:

        def progress(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
            """A line of JSON for every step that has figures, where nobody watches."""
            # "test scenes" of the card has no metrics, so it prints nothing here
            if metrics and not console.is_terminal:
                line = {"stage": stage, "step": step, "of": steps, **metrics}
                console.print(strict_json.write(line), soft_wrap=True, markup=False)

            shown = "  ".join(f"{name} {value:.3g}" for name, value in metrics.items())
            report(stage, step, steps, shown)

        yield progress
