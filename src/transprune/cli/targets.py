"""Refuse options that name a place where nothing can be written, before any work."""

from __future__ import annotations

from pathlib import Path

import typer

from transprune.core.targets import file_problem, folder_problem


def need_folder(folder: Path, option: str) -> None:
    """Check that files can be written into a folder, which may be missing.

    Raises:
        BadParameter: they cannot; it names the option and the reason.
    """
    if problem := folder_problem(folder):
        raise typer.BadParameter(problem, param_hint=option)


def need_file(file: Path, option: str) -> None:
    """Check that a file can be written in a folder that exists.

    Raises:
        BadParameter: it cannot; it names the option and the reason.
    """
    if problem := file_problem(file):
        raise typer.BadParameter(problem, param_hint=option)
