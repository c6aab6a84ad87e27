"""What a task is: a name, a metric, and questions with their right answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from transprune.bench.data.metrics import Metric

Picture = Callable[[], Image.Image]


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: unique within its task.
        image: name of what it is about; items of one name share their pictures, and are resampled together.
        pictures: give the pictures, in the order of the prompt; drawn or read when called.
        question: the text asked, options included.
        answers: the right ones, at least one.
        family, kind: what sort of question it is.
        relevant: for each thing asked about, numbers of the visual tokens that show it; None where nobody knows.
    """

    id: str
    image: str
    pictures: tuple[Picture, ...] = field(repr=False, compare=False)
    question: str
    answers: tuple[str, ...]
    family: str = ""
    kind: str = ""
    relevant: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Task:
    """Questions that are scored together."""

    name: str
    metric: Metric
    items: tuple[Item, ...]

    @property
    def images(self) -> int:
        """How many different images they are about."""
        return len({item.image for item in self.items})


@dataclass(frozen=True)
class Questions:
    """Everything that is asked in a run.

    Attributes:
        source: where it comes from, as given.
        tasks: in a fixed order.
        skipped: what was left out, each with its reason.
        split: split of the bundled scenes, else empty.
    """

    source: str
    tasks: tuple[Task, ...]
    skipped: tuple[str, ...] = ()
    split: str = ""

    @property
    def items(self) -> list[Item]:
        """The questions of all tasks."""
        return [item for task in self.tasks for item in task.items]

    @property
    def fingerprint(self) -> str:
        """The same for the same questions, answers and order."""
        digest = hashlib.sha256()
        for task in self.tasks:
            digest.update(repr((task.name, task.metric.name)).encode())
            for item in task.items:
                digest.update(repr((item.id, item.image, item.question, item.answers)).encode())
        return digest.hexdigest()[:16]

    @property
    def knows_relevant(self) -> bool:
        """Whether every item says which tokens it is about, which the oracle needs."""
        return all(item.relevant is not None for item in self.items)
