"""`transprune demo`: the bundled model with and without pruning, in well under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transprune.cli import demo_tables
from transprune.cli.console import print_json, show, status
from transprune.cli.demo_first import first_look
from transprune.cli.options import OUT_HELP, Json, Methods
from transprune.cli.targets import need_folder


def demo_command(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help=f"{OUT_HELP}; it gets pictures of the kept tokens."
        ),
    ] = Path("demo-out"),
    method: Methods = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Print every question with all answers, too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Try pruning on the bundled model and six pictures.

    It begins with one question in detail: what was kept, and what that saved. Then 24 questions
    are answered unpruned and with each of eight methods; --method replaces these.
    """
    # before anything runs: a mistake in --out should not cost half a minute
    need_folder(out, "--out")
    out.mkdir(parents=True, exist_ok=True)

    with status(as_json) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries
        from transprune.demo import run_demo

        with quiet_libraries(bars=False):
            result = run_demo(out, methods=method or None, progress=progress)

    if as_json:
        print_json({"model": "nano", **result.to_dict()})
        return

    if result.first is not None:
        show("", first_look(result.first), f"As a picture: {result.first.file}", "")

    show(demo_tables.summary(result), "")
    if note := demo_tables.note_on_speed(result):
        show(note, "")

    show(demo_tables.explanations(result), "")
    if answers:
        show(demo_tables.answer_table(result), "")

    show(*demo_tables.next_steps(result, out, answers))
