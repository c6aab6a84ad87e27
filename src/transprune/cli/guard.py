"""Run a command with clean output: an error of transprune is one red line, a warning is a note.

Exit codes: 0 success, 1 an error of transprune, 2 a wrong command line. With `--debug` (or
TRANSPRUNE_DEBUG=1) errors are raised instead, with their traceback.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from transprune.cli import notes
from transprune.cli.console import err
from transprune.errors import PruneError, PruneWarning

_debug = False


class GuardedGroup(TyperGroup):
    """A group of commands that turns a PruneError into one line and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        notes.clear()
        try:
            with _own_warnings_only():
                return super().invoke(ctx)
        except PruneError as error:
            if _debug:
                raise
            _print_error(str(error))
            raise typer.Exit(1) from error

        except RuntimeError as error:
            # compared by name, because importing torch here would slow down `--help`
            if _debug or type(error).__name__ != "OutOfMemoryError":
                raise
            _print_error(
                "the GPU is out of memory; try --dtype bfloat16, fewer or smaller pictures, or "
                "--device cpu"
            )
            raise typer.Exit(1) from error


def set_debug(debug: bool) -> None:
    """Choose whether errors of transprune are raised with their traceback."""
    global _debug
    _debug = debug


@contextmanager
def quiet_libraries(bars: bool) -> Iterator[None]:
    """Silence the log of transformers, and its progress bars unless `bars`; restored at the end."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    had_bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()


@contextmanager
def _own_warnings_only() -> Iterator[None]:
    # libraries warn about their own matters (deprecations, metadata), which users cannot act on
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PruneWarning)
        warnings.showwarning = _show_once  # catch_warnings restores it
        yield


def _show_once(message: Warning | str, *where: Any, **more: Any) -> None:
    text = str(message)
    if notes.add(text):
        _print_line(f"note: {text}", "yellow")


def _print_error(message: str) -> None:
    _print_line(f"error: {message}", "bold red")


def _print_line(text: str, style: str) -> None:
    # soft_wrap: the terminal wraps the line, so a log file gets it whole
    err().print(text, style=style, soft_wrap=True, markup=False, highlight=False)
