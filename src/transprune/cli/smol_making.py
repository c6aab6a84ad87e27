"""Commands of `transprune smol` that make something from what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.console import show
from transprune.cli.options import OUT_HELP
from transprune.cli.smol_options import HOME, Adapter, Font, Gguf, Home, Hub, Split, SplitName
from transprune.cli.targets import need_folder
from transprune.smol import LANGUAGE_FOLDER, WORLD_FOLDER


def language_command(
    gguf: Gguf = None,
    hub: Hub = False,
    home: Home = HOME,
) -> None:
    """Make the language model of a quantised file, or fetch the hub's; record what it says."""
    need_folder(home, "--home")
    refuse_both(gguf, hub)
    make_or_fetch(home, gguf, hub)


def refuse_both(gguf: Path | None, hub: bool) -> None:
    """Refuse two sources of one language model.

    Raises:
        BadParameter: both are given.
    """
    if hub and gguf:
        raise typer.BadParameter(
            "a file and the hub's model exclude each other", param_hint="--hub"
        )


def make_or_fetch(home: Path, gguf: Path | None, hub: bool) -> None:
    """Write the language model into its home, and say which it is.

    Raises:
        PruneError: the file, a package or the hub is missing; the message names the cures.
    """
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.hub_language import fetch_language
    from transprune.smol.language import find_gguf, make_language

    folder = home / LANGUAGE_FOLDER
    with quiet_libraries(bars=hub):
        checksum = fetch_language(folder) if hub else make_language(gguf or find_gguf(), folder)
    unmeasured = "; NOTHING WAS MEASURED WITH IT" if hub else ""
    show(f"language model: {folder}, weights {checksum}{unmeasured}")


def world_command(
    font: Font = None,
    home: Home = HOME,
) -> None:
    """Gather what pictures are drawn from: emoji with names, photographs and fonts."""
    need_folder(home, "--home")
    gather(home, font)


def gather(home: Path, font: Path | None) -> None:
    """Write what pictures are drawn from into its home.

    Raises:
        MissingExtra: the font or a package is missing.
    """
    from transprune.smol.emoji_kinds import FONT, emoji_kinds
    from transprune.smol.world import make_world

    kinds = emoji_kinds(font or FONT)
    checksum = make_world(kinds, home / WORLD_FOLDER)
    show(f"{len(kinds.names)} kinds: {home / WORLD_FOLDER}, checksum {checksum}")


def scenes_command(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", help=f"{OUT_HELP}; pictures and questions.jsonl."),
    ],
    home: Home = HOME,
    count: Annotated[
        int, typer.Option("--count", min=1, metavar="N", help="Number of scenes.")
    ] = 12,
    first: Annotated[
        int, typer.Option("--first", min=0, metavar="N", help="Number of the first scene.")
    ] = 0,
    split: Split = SplitName.validation,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Show kinds that no training picture has.")
    ] = False,
    held_out: Annotated[
        bool, typer.Option("--new-phrasings", help="Word questions as no training question is.")
    ] = False,
) -> None:
    """Write pictures with their questions, to view or to run a benchmark on."""
    need_folder(out, "--out")
    from transprune.smol.export import write_scenes
    from transprune.smol.world import load_world

    world = load_world(home / WORLD_FOLDER)
    numbers = range(first, first + count)
    questions = write_scenes(world, out, split.value, numbers, unseen=unseen, held_out=held_out)
    show(f"{count} pictures and {questions} questions: {out}/")


def assemble_command(
    adapter: Adapter = None,
    hub: Hub = False,
    home: Home = HOME,
) -> None:
    """Put language model and adapter together, as a checkpoint that transformers loads."""
    need_folder(home, "--home")
    put_together(home, adapter, hub)


def put_together(home: Path, adapter: Path | None, hub: bool) -> None:
    """Write the model into its home, and say what it is made of.

    Raises:
        CheckpointError: a part is missing, damaged or another one.
    """
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.assembly import assemble_home

    with quiet_libraries(bars=False):
        done = assemble_home(home, adapter, hub=hub)
    show(f"adapter: {done.adapter}, weights {done.adapter_sha256}", f"model: {done.folder}")
    for caveat in done.caveats:
        show(f"CAUTION: {caveat}")
