"""What a search for tiles looked at, chose and cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from transprune.tiles.choice import Votes
from transprune.tiles.pyramid import Box, Level, Tile


@dataclass(frozen=True)
class Look:
    """One look at a level.

    Attributes:
        level: the level.
        tiles: those that were looked at, in raster order.
        target: the level whose tiles were chosen; the same as `level` in the last look.
        votes: of the tiles that were chosen, the best first.
        prompts: prompts it took.
        visual_tokens: visual tokens in them, those of the thumbnail included.
        flops: of their prefills in the language model, scoring included.
        seconds: reading the file, encoding and prefill.
    """

    level: Level
    tiles: tuple[Tile, ...]
    target: Level
    votes: tuple[Votes, ...]
    prompts: int
    visual_tokens: int
    flops: int
    seconds: float

    @property
    def chosen(self) -> tuple[Tile, ...]:
        """The chosen tiles of `target`, the best first."""
        return tuple(vote.tile for vote in self.votes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        chosen = []
        for vote in self.votes:
            place = {"row": vote.tile.row, "column": vote.tile.column}
            chosen.append({**place, "hits": vote.hits, "sum": vote.total, "peak": vote.peak})

        return {
            "size": list(self.level.size),
            "tiles": [[tile.row, tile.column] for tile in self.tiles],
            "of": self.level.rows * self.level.columns,
            "chosen_size": list(self.target.size),
            "chosen": chosen,
            "prompts": self.prompts,
            "visual_tokens": self.visual_tokens,
            "flops": self.flops,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class TileSearch:
    """The outcome of a search.

    Attributes:
        file: the picture.
        size: its width and height, pixels.
        looks: from coarse to fine; empty for a picture that needs no pyramid.
        chosen: the tiles of the last level looked at that the question is to be asked about.
        pictures: what to show the model, in this order: the thumbnail, where tiles are shown
            together, and the chosen tiles in raster order.
        thumbnail: the whole picture, small.
        notes: sentences a reader should know.
        seconds: of the whole search, reading the file included.
    """

    file: Path
    size: tuple[int, int]
    looks: tuple[Look, ...]
    chosen: tuple[Tile, ...]
    pictures: tuple[Image.Image, ...]
    thumbnail: Image.Image
    notes: tuple[str, ...]
    seconds: float

    @property
    def boxes(self) -> tuple[Box, ...]:
        """What the chosen tiles show, in pixels of the picture: left, top, right, bottom."""
        if not self.looks:
            return ()
        level = self.looks[-1].level
        return tuple(level.box(tile) for tile in self.chosen)

    @property
    def flops(self) -> int:
        """FLOPs of all looks in the language model."""
        return sum(look.flops for look in self.looks)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return {
            "file": str(self.file),
            "size": list(self.size),
            "looks": [look.to_dict() for look in self.looks],
            "chosen": [[round(edge) for edge in box] for box in self.boxes],
            "flops": self.flops,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def peak_memory(device: torch.device | str) -> int | None:
    """Most bytes in use so far: of the GPU's tensors, or of this whole process on a CPU.

    None where the system does not say.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)

    # getrusage would count what a parent process held when it started this one
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024  # the file says kB and means KiB

    return None
