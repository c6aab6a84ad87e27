"""The options that the commands of `transprune smol` share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

HOME = Path("out/smol")

Home = Annotated[
    Path, typer.Option("--home", metavar="FOLDER", help="Folder of everything that smol writes.")
]
Scenes = Annotated[int, typer.Option("--scenes", min=1, metavar="N", help="Number of scenes.")]


class SplitName(str, Enum):
    """The values of `--split`."""

    validation = "validation"
    test = "test"


Split = Annotated[
    SplitName, typer.Option("--split", help="validation to choose by, test to report.")
]
