"""Test beds: a model, and pictures of which it is known which tokens show an object.

Another bed is one of the benchmark's, and a line in `TYPES`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from transprune.bench.data.tasks import Item
from transprune.bench.data.tasks.beds import BEDS
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.nano import NANO
from transprune.smol import SMOL

from .bed import Bools, Seen, TestBed

# name of a model -> the number type that its benchmark has run in
TYPES = {NANO: "float32", SMOL: "bfloat16"}


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


def asked_bed(name: str, pictures: int, tasks: Sequence[str]) -> TestBed:
    """A model on its own first test scenes, on which no choice was made.

    Args:
        name: of the model and of its scenes, a key of `BEDS`.
        pictures: how many scenes.
        tasks: categories of questions; others are not asked.
    """
    bed = BEDS[name]
    checkpoint = load(name, LoadOptions(dtype=TYPES[name], device="cpu"))
    return AskedBed(checkpoint, bed.ask("test", pictures).only(tasks).items, bed.objects)


def object_rate(name: str, images: Iterable[str]) -> tuple[float, ...]:
    """How often each token shows an object, N numbers from 0 to 1.

    Args:
        name: of the scenes, a key of `BEDS`.
        images: names of pictures, each as often as it counts.
    """
    # a scene is drawn once for all its questions
    counts = Counter(images)
    shown = sum(count * BEDS[name].objects(image).astype(float) for image, count in counts.items())
    return tuple(np.round(shown / counts.total(), 4).tolist())
