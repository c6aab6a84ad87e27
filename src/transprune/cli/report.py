"""`transprune report`: one page and its pictures from a benchmark run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.console import Json, print_json, show, status


def report_command(
    run: Annotated[Path, typer.Argument(help="Folder of a run that `transprune bench` made.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; default RUN/report.")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Examples to show.")] = 6,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Model to look into; default the run's own, 'none' for no model."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page, the PNG of every figure, and what they plot as JSON."""
    words = ["transprune", "report", str(run), *(["--out", str(out)] if out else [])]
    words += [
        *(["--examples", str(examples)] if examples != 6 else []),
        *(["--model", model] if model else []),
    ]
    with status(as_json) as progress:
        from transprune.report.build import build_report
        from transprune.report.theme import need_extra

        need_extra()
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries

        with quiet_libraries(bars=False):
            try:
                report = build_report(
                    run,
                    out,
                    examples=examples,
                    model=model,
                    command=shlex.join(words),
                    progress=progress,
                )
            except OSError as error:
                raise typer.BadParameter(
                    f"cannot write to {out or run / 'report'}: {error}", param_hint="--out"
                ) from error
    if as_json:
        figures = [str(file) for file in report.figures]
        missing = list(report.missing)
        print_json(
            {
                "page": str(report.page),
                "numbers": str(report.numbers),
                "figures": figures,
                "missing": missing,
            }
        )
        return
    show(
        *report.missing,
        f"page: {report.page}",
        f"figures: {len(report.figures)} PNG files and {report.numbers.name}",
    )
