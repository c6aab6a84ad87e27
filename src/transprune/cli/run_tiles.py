"""`transprune run --tiles`: the tiles of a large picture, in place of the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import new_table, show
from transprune.cli.run_shown import Shown
from transprune.cli.units import duration, mebibytes, scientific

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.models.checkpoint import Checkpoint
    from transprune.tiles import LargePicture, Tiles, TileSearch

TilesOption = Annotated[
    str | None,
    typer.Option(
        "--tiles",
        metavar="N",
        help="Search a large picture from coarse to fine, with at most N tiles at a time, or "
        "'auto' (9); the model then sees the tiles that the question is about.",
    ),
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        "--tile-rounds",
        min=1,
        metavar="N",
        help="Levels of the large picture that are looked at; more find smaller things. Default 2.",
    ),
]


def check_one_picture(
    tiles: str | None, rounds: int | None, images: Sequence[Path], videos: Sequence[Path]
) -> None:
    """Refuse what no tiles can be cut from.

    Raises:
        BadParameter: there is a video, or not exactly one picture; rounds without tiles.
    """
    if tiles is None:
        if rounds is not None:
            raise typer.BadParameter("needs --tiles", param_hint="--tile-rounds")
        return
    if videos:
        raise typer.BadParameter(
            "tiles are cut from one picture; leave out --video", param_hint="--tiles"
        )
    if len(images) != 1:
        raise typer.BadParameter(
            f"tiles are cut from one picture; got {len(images)} of --image", param_hint="--tiles"
        )


@dataclass(frozen=True)
class Large:
    """A large picture that is searched once the model is there.

    Attributes:
        picture: opened, so that a file that cannot be read is told before the model is loaded.
        settings: of the search.
    """

    picture: LargePicture
    settings: Tiles

    def for_question(
        self, checkpoint: Checkpoint, question: str, progress: Callable[[str], None]
    ) -> Shown:
        """What is shown in its place: the tiles that the question is about.

        Raises:
            ImageError: the picture is damaged.
            MissingSignal: it is not known where this model's visual tokens lie.
            LayoutError: the tiles are too many tokens for one prompt.
        """
        from transprune.tiles import find_tiles

        progress("searching the picture")
        found = find_tiles(checkpoint, self.picture, question, self.settings)
        return Shown([self.picture.file], found.pictures, (), found)


def open_large(file: Path, most: str, rounds: int | None) -> Large:
    """Open a large picture; `most` is the text of `--tiles`.

    Raises:
        MethodError: `most` is neither 'auto' nor a number of at least 1.
        ImageError: the file cannot be read, or has too many pixels.
    """
    from transprune.tiles import LargePicture, Tiles
    from transprune.tiles.settings import parse_most

    settings = Tiles(most=parse_most(most))
    if rounds is not None:
        settings = replace(settings, rounds=rounds)
    return Large(LargePicture(file), settings)


def show_tiles(found: TileSearch, device: Any) -> None:
    """Print how the tiles were found."""
    from transprune.tiles.result import peak_memory

    show(_table(found), _summary(found, peak_memory(device)), *found.notes, "")


def _table(found: TileSearch) -> Table:
    """One row per look: what was looked at, what was chosen, and what it took."""
    width, height = found.size
    title = f"tiles of {width} x {height} pixels, from coarse to fine"
    columns = ("level", "looked at", "chosen", "visual tokens", "work (exact)", "time")
    table = new_table(title, columns)

    for number, look in enumerate(found.looks, start=1):
        last = number == len(found.looks)
        # all tiles of the last look are ranked; the answer is from these
        chosen = len(found.chosen) if last else len(look.chosen)
        target = look.target
        table.add_row(
            f"{look.level.size[0]} x {look.level.size[1]}",
            f"{len(look.tiles)} of {look.level.rows * look.level.columns}",
            f"{chosen} of {target.rows * target.columns}",
            str(look.visual_tokens),
            scientific(look.flops),
            duration(look.seconds),
        )

    return table


def _summary(found: TileSearch, peak: int | None) -> str:
    """Where the chosen tiles lie, and how much memory the process took at most."""
    places = []
    for left, top, right, bottom in found.boxes:
        places.append(f"{left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}")
    memory = "" if peak is None else f"; peak memory so far {mebibytes(peak)}"
    return f"chosen: {'; '.join(places)} ({duration(found.seconds)}{memory})"
