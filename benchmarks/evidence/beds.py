"""Test beds: a model, and pictures of which it is known which tokens show an object.

Another bed is a class with `checkpoint` and `seen()`, and a line in `BEDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transprune.bench.data.tasks import load_tasks
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.nano import NANO
from transprune.nano.scenes import Split, draw

from .bed import Seen, TestBed


@dataclass(frozen=True)
class NanoBed:
    """The bundled model and its test scenes, which no choice was made on."""

    checkpoint: Checkpoint
    pictures: int

    def seen(self) -> list[Seen]:
        """All questions about the first test scenes."""
        found = []
        for item in load_tasks(NANO, n=self.pictures).items:
            split: Split = "test"
            scene = draw(split, int(item.image.partition("/")[2]))
            objects = scene.owner >= 0  # -1 is the background

            asked = np.zeros(len(objects), dtype=bool)
            for tokens in item.relevant or ():
                asked[list(tokens)] = True
            found.append(Seen(item, objects, asked))
        return found


def nano_bed(pictures: int) -> TestBed:
    """The bundled model on this many test scenes."""
    return NanoBed(load(NANO, LoadOptions(dtype="float32", device="cpu")), pictures)


BEDS: dict[str, Callable[[int], TestBed]] = {NANO: nano_bed}
