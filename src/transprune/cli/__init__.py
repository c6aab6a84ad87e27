"""The command line: a table of commands, one file each.

Importing it loads typer but no torch, so `--help` is quick; each command imports what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from transprune import __version__
from transprune.cli.batch import batch_command
from transprune.cli.bench import bench_command
from transprune.cli.calibrate import calibrate_command
from transprune.cli.cost import cost_command
from transprune.cli.demo import demo_command
from transprune.cli.doctor import doctor_command
from transprune.cli.fit import fit_command
from transprune.cli.glossary import POINTER, glossary_command
from transprune.cli.guard import GuardedGroup, set_debug
from transprune.cli.methods import methods_command
from transprune.cli.nano import nano_app
from transprune.cli.push import push_command
from transprune.cli.report import report_command
from transprune.cli.reproduce import reproduce_command
from transprune.cli.run import run_command
from transprune.cli.serve import serve_command
from transprune.cli.smol import smol_app
from transprune.cli.suggest import suggest_command
from transprune.cli.train_pruner import train_pruner_command
from transprune.cli.tune import tune_command

app = typer.Typer(
    name="transprune",
    cls=GuardedGroup,
    help="Prune visual tokens inside unmodified Hugging Face vision-language models, without "
    "training, to make inference cheaper.",
    epilog=POINTER,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: it reads the same in a terminal and in a log file
    pretty_exceptions_enable=False,  # with --debug, Python's own traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)

# in the order of `--help`: what a newcomer tries first comes first
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo_command,
    "run": run_command,
    "methods": methods_command,
    "suggest": suggest_command,
    "cost": cost_command,
    "report": report_command,
    "doctor": doctor_command,
    "bench": bench_command,
    "reproduce": reproduce_command,
    "tune": tune_command,
    "push": push_command,
    "train-pruner": train_pruner_command,
    "serve": serve_command,
    "batch": batch_command,
    "calibrate": calibrate_command,
    "fit": fit_command,
    "glossary": glossary_command,
}
for name, function in COMMANDS.items():
    app.command(name, epilog=None if name == "glossary" else POINTER)(function)
app.add_typer(nano_app, name="nano")
app.add_typer(smol_app, name="smol")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"transprune {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="TRANSPRUNE_DEBUG", help="Show the traceback of an error."),
    ] = False,
) -> None:
    """The options in front of every command."""
    set_debug(debug)


def main() -> None:
    """Entry point of the `transprune` command."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal whose encoding lacks our marks prints `?` for them instead of failing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app()
