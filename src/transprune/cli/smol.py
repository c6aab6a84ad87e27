"""`transprune smol`: the second test bed, put together, trained and scored."""

from __future__ import annotations

from collections.abc import Callable

import typer

from transprune.cli.smol_all import smol_command
from transprune.cli.smol_making import (
    assemble_command,
    language_command,
    scenes_command,
    world_command,
)
from transprune.cli.smol_training import (
    adapter_command,
    evaluate_command,
    measure_command,
    talk_command,
    train_command,
)

smol_app = typer.Typer(
    name="smol",
    help="A second test bed with a language model that learnt language first.",
    rich_markup_mode=None,
)
smol_app.callback(invoke_without_command=True)(smol_command)

# in the order in which they are needed
COMMANDS: dict[str, Callable[..., None]] = {
    "language": language_command,
    "world": world_command,
    "scenes": scenes_command,
    "train": train_command,
    "adapter": adapter_command,
    "measure": measure_command,
    "assemble": assemble_command,
    "evaluate": evaluate_command,
    "talk": talk_command,
}
for name, function in COMMANDS.items():
    smol_app.command(name)(function)
