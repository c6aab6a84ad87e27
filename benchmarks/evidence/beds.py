"""Test beds: a model, and pictures of which it is known which tokens show an object.

Another bed is a function that makes an `AskedBed`, and a line in `BEDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from transprune.bench.data.tasks import Item, load_tasks
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.nano import NANO
from transprune.nano.scenes import Split, draw

from .bed import Bools, Seen, TestBed


@dataclass(frozen=True)
class AskedBed:
    """Questions of the benchmark, whose items name the tokens that they are about.

    Attributes:
        checkpoint: the model with its processor.
        items: the questions.
        objects: name of a picture -> bool [N], tokens that show any object.
    """

    checkpoint: Checkpoint
    items: Sequence[Item]
    objects: Callable[[str], Bools]

    def seen(self) -> list[Seen]:
        """Each question with what its picture shows, picture by picture."""
        # a scene is drawn once for all its questions
        shown: dict[str, Bools] = {}
        found = []
        for item in sorted(self.items, key=lambda one: one.image):
            if item.image not in shown:
                shown[item.image] = self.objects(item.image)

            objects = shown[item.image]
            asked = np.zeros(len(objects), dtype=bool)
            for tokens in item.relevant or ():
                asked[list(tokens)] = True
            found.append(Seen(item, objects, asked))
        return found


def nano_bed(pictures: int) -> TestBed:
    """The bundled model on the first test scenes, on which no choice was made."""
    checkpoint = load(NANO, LoadOptions(dtype="float32", device="cpu"))
    return AskedBed(checkpoint, load_tasks(NANO, n=pictures).items, _nano_objects)


def _nano_objects(image: str) -> Bools:
    """From the scene that the name stands for, as `test/17`."""
    split: Split = "test"
    scene = draw(split, int(image.removeprefix(f"{split}/")))
    return scene.owner >= 0  # -1 is the background


BEDS: dict[str, Callable[[int], TestBed]] = {NANO: nano_bed}
