"""What surrounds every command: our errors become one red line, our warnings a note, and nothing else is printed.

Exit codes: 0 done, 1 an error of ours, 2 a wrong command line. With `--debug` (or TRANSPRUNE_DEBUG=1) the error is
raised instead, with its traceback.
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
    """A group of commands that turns PruneError into a line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        notes.forget()
        try:
            with _our_warnings_only():
                return super().invoke(ctx)
        except PruneError as error:
            if _debug:
                raise
            _fail(str(error))
            raise typer.Exit(1) from error
        except RuntimeError as error:
            if (
                _debug or type(error).__name__ != "OutOfMemoryError"
            ):  # torch's, without importing it here
                raise
            _fail(
                "the GPU's memory is full; try --dtype bfloat16, fewer or smaller pictures, or --device cpu"
            )
            raise typer.Exit(1) from error


def _fail(message: str) -> None:
    err().print(
        f"error: {message}", style="bold red", soft_wrap=True, markup=False, highlight=False
    )


def set_debug(debug: bool) -> None:
    """Whether errors of ours are raised with their traceback."""
    global _debug
    _debug = debug


@contextmanager
def quiet_libraries(bars: bool) -> Iterator[None]:
    """transformers without its log lines, and without progress bars unless `bars`; as before afterwards."""
    from transformers.utils import logging

    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
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
def _our_warnings_only() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PruneWarning)
        warnings.showwarning = _show_once
        yield


def _show_once(message: Warning | str, *where: Any, **more: Any) -> None:
    text = str(message)
    if notes.tell(text):
        err().print(f"note: {text}", style="yellow", soft_wrap=True, markup=False, highlight=False)
