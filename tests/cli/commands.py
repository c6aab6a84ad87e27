"""The commands of the command line, as the app itself lists them."""

from __future__ import annotations

from collections.abc import Callable

from transprune.cli import app


def commands() -> dict[tuple[str, ...], Callable]:
    """The function of every command by its words, as `("nano", "train")`."""
    found = {(command.name,): command.callback for command in app.registered_commands}
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            found[group.name, command.name] = command.callback
    return found
