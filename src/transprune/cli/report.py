"""`transprune report`: one page and its figures from a benchmark run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.console import print_json, show
from transprune.cli.options import MODEL_HELP, OUT_HELP, Json
from transprune.cli.progress import follow
from transprune.cli.targets import need_folder

EXAMPLES = 6

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of `transprune bench`.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help=f"{OUT_HELP}; default: RUN/report."),
]
Examples = Annotated[
    int, typer.Option("--examples", min=0, metavar="N", help="Number of example questions.")
]
ModelOfRun = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"{MODEL_HELP}; default: the model of the run; 'none': no figures from inside it.",
    ),
]


def report_command(
    run: Run,
    out: Out = None,
    examples: Examples = EXAMPLES,
    model: ModelOfRun = None,
    as_json: Json = False,
) -> None:
    """Write the report of a benchmark run.

    One self-contained HTML page, the PNG of every figure, and their numbers as JSON.
    """
    # a run that is missing is the first thing to say
    if out is not None or run.is_dir():
        need_folder(out or run / "report", "--out")

    with follow(as_json=as_json) as progress:
        from transprune.report.build import build_report
        from transprune.report.theme import need_extra

        need_extra()  # before torch is loaded, which takes seconds
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries

        with quiet_libraries(bars=False):
            try:
                report = build_report(
                    run,
                    out,
                    examples=examples,
                    model=model,
                    command=_command_line(run, out, examples, model),
                    progress=progress,
                )
            # a folder that cannot be written, or a full disk
            except OSError as error:
                raise typer.BadParameter(
                    f"cannot write to {out or run / 'report'}: {error}", param_hint="--out"
                ) from error

    if not as_json:
        figures = f"figures: {len(report.figures)} PNG files and {report.numbers.name}"
        show(*report.missing, f"page: {report.page}", figures)
        return

    print_json(
        {
            "page": str(report.page),
            "numbers": str(report.numbers),
            "figures": [str(file) for file in report.figures],
            "missing": list(report.missing),
        }
    )


def _command_line(run: Path, out: Path | None, examples: int, model: str | None) -> str:
    """The command that makes the same page; printed on it."""
    words = ["transprune", "report", str(run)]
    if out is not None:
        words += ["--out", str(out)]
    if examples != EXAMPLES:
        words += ["--examples", str(examples)]
    if model is not None:
        words += ["--model", model]
    return shlex.join(words)
