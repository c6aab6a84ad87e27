"""`transprune smol` alone: everything that is missing, up to the finished model."""

from __future__ import annotations

from pathlib import Path

import typer

from transprune.cli.console import show
from transprune.cli.smol_making import gather, make_or_fetch, put_together, refuse_both
from transprune.cli.smol_options import HOME, Adapter, Font, Gguf, Home, Hub
from transprune.cli.targets import need_folder
from transprune.smol import LANGUAGE_FOLDER, WORLD_FOLDER
from transprune.smol import home as home_of_the_name


def smol_command(
    context: typer.Context,
    gguf: Gguf = None,
    hub: Hub = False,
    font: Font = None,
    adapter: Adapter = None,
    home: Home = HOME,
) -> None:
    """A second test bed with a language model that learnt language first.

    Without a command: make what is missing and put the model together. Then --model smol is it.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return

    need_folder(home, "--home")
    refuse_both(gguf, hub)

    _make_language(home, gguf, hub)
    _gather_world(home, font)
    put_together(home, adapter, hub)
    show("", "ask it: transprune run --model smol --image FILE --question QUESTION")
    if home.resolve() != home_of_the_name().resolve():
        show(f"so that --model smol finds it: export TRANSPRUNE_SMOL={home}")


def _refuse_options(context: typer.Context) -> None:
    """Refuse options in front of a command, which would be ignored there.

    Raises:
        BadParameter: there are some.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        # by name: typer may bring a click of its own
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"write it behind the command: transprune smol {context.invoked_subcommand} "
                f"{parameter.opts[0]} ...",
                param_hint=parameter.opts[0],
            )


def _make_language(home: Path, gguf: Path | None, hub: bool) -> None:
    """Make the language model, unless it is there and no other one is asked for."""
    from transprune.smol.language import is_marked

    folder = home / LANGUAGE_FOLDER
    there = (folder / "talk.json").is_file()
    # the hub's model in place of the measured one, or the reverse, is refused where it is made
    if there and is_marked(folder) == hub:
        show(f"language model: {folder}, made before")
        return
    make_or_fetch(home, gguf, hub)


def _gather_world(home: Path, font: Path | None) -> None:
    """Gather what pictures are drawn from; the model can do without, so what is missing is a note."""
    from transprune.errors import MissingExtra

    if (home / WORLD_FOLDER / "names.json").is_file():
        show(f"pictures: {home / WORLD_FOLDER}, gathered before")
        return
    try:
        gather(home, font)
    except MissingExtra as error:
        if font is not None:
            raise
        show(
            f"note: nothing to draw scenes from ({error}). The model itself needs none; scenes, bench "
            "and training do. Later: transprune smol world"
        )
