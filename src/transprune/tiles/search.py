"""Find the parts of a large picture that a question is about, from coarse to fine.

LRS-VQA (Luo et al., ICCV 2025, https://arxiv.org/abs/2503.07588), with the language model's own
attention in place of its trained module (`settings.Scorer`). The tiles are ordinary pictures, so
the model stays as it is: the last ones are what the question is asked about.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from transprune.errors import PruneWarning
from transprune.families import find_family
from transprune.models.checkpoint import Checkpoint
from transprune.models.clock import clock
from transprune.models.images import open_image
from transprune.tiles.look import Looker
from transprune.tiles.picture import LargePicture
from transprune.tiles.pyramid import BLOCKS, Level, build_pyramid
from transprune.tiles.result import TileSearch
from transprune.tiles.settings import DEFAULT, Tiles

SIDE = 336  # pixels: the paper's tile, where the processor has no size of its own


def find_tiles(
    checkpoint: Checkpoint,
    picture: LargePicture | str | os.PathLike[str],
    question: str,
    settings: Tiles = DEFAULT,
) -> TileSearch:
    """Search a picture for what a question is about.

        found = find_tiles(checkpoint, "huge.tif", "what is on the roof?")
        answer = ask(checkpoint, prepare(checkpoint, found.pictures, question), "transprune-high")

    Args:
        checkpoint: the model with its processor.
        picture: a file, or a `LargePicture`.
        question: what it is searched for.
        settings: how.

    Returns:
        The tiles and how they were found. A picture no longer than three tiles has no pyramid: it
        is given back whole, with a note and a PruneWarning.

    Raises:
        ImageError: the picture cannot be read.
        MissingSignal: it is not known where in a picture this model's visual tokens lie.
        LayoutError: a prompt is longer than the model's positions reach.
    """
    start = clock(checkpoint.model.device)
    source = picture if isinstance(picture, LargePicture) else LargePicture(picture)
    side = settings.side or tile_side(checkpoint)
    levels = build_pyramid(*source.size, side)
    if not levels:
        return _whole(source, side)

    together = shows_together(checkpoint, settings)
    thumbnail = source.thumbnail(side, levels[0])
    context = thumbnail if together else None
    looks = Looker(checkpoint, source, question, settings, context).run(levels)

    last = looks[-1]
    # alone: the best tile answers
    chosen = tuple(sorted(last.chosen)) if together else last.chosen[:1]
    pictures = [source.cut(last.level, tile) for tile in chosen]
    if together:
        pictures.insert(0, thumbnail)

    return TileSearch(
        file=source.file,
        size=source.size,
        looks=looks,
        chosen=chosen,
        pictures=tuple(pictures),
        thumbnail=thumbnail,
        notes=_notes(levels, settings, together),
        seconds=clock(checkpoint.model.device) - start,
    )


def tile_side(checkpoint: Checkpoint) -> int:
    """Pixels along a tile: what the processor brings pictures to, or `SIDE`."""
    processor = getattr(checkpoint.processor, "image_processor", None)
    for name in ("crop_size", "size"):
        size = getattr(processor, name, None)
        height = _entry(size, "height") or _entry(size, "shortest_edge")
        # sizes of processors that keep proportions are numbers of pixels of the whole picture
        if height and _entry(size, "longest_edge") is None:
            return int(height)

    return SIDE


def shows_together(checkpoint: Checkpoint, settings: Tiles) -> bool:
    """Whether tiles are shown in one prompt."""
    if settings.together is not None:
        return settings.together
    return not find_family(checkpoint.model).one_picture


def _entry(size: Any, name: str) -> int | None:
    """One number of a processor's size, which is a mapping or an object of its own."""
    value = size.get(name) if isinstance(size, Mapping) else getattr(size, name, None)
    return value if isinstance(value, int) else None


def _whole(source: LargePicture, side: int) -> TileSearch:
    """A picture without a pyramid, as the plain run shows it."""
    note = (
        f"{source.file} is {source.size[0]} x {source.size[1]} pixels, no longer than "
        f"{BLOCKS} tiles of {side}: it is shown whole, without tiles"
    )
    warnings.warn(note, PruneWarning, stacklevel=3)
    picture = open_image(source.file)
    return TileSearch(source.file, source.size, (), (), (picture,), picture, (note,), 0.0)


def _notes(levels: Sequence[Level], settings: Tiles, together: bool) -> tuple[str, ...]:
    """What differs from the settings, or from what the paper does."""
    notes = []
    if not together:
        notes.append(
            "each tile was looked at in a prompt of its own, and the answer is from the best one"
        )

    if settings.rounds > len(levels):
        notes.append(
            f"the picture has {len(levels)} levels, so {len(levels)} of {settings.rounds} rounds ran"
        )

    return tuple(notes)
