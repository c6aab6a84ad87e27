"""A task: a name, a metric, and questions with their right answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from PIL import Image

from transprune.bench.data.metrics import Metric
from transprune.core.shown import shown
from transprune.errors import TaskError
from transprune.registry import did_you_mean
from transprune.video.clip import Clip

Picture = Callable[[], Image.Image]
Film = Callable[[], Clip]


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: unique within its task.
        image: name of the image or images; items with the same name share their pictures and are
            resampled together.
        pictures: functions that return the pictures, in the order of the prompt; a picture is drawn
            or read only when its function is called.
        question: the text of the question, options included.
        answers: the right answers, at least one.
        family, kind: sort of the question.
        relevant: for each object of the question, indices of the visual tokens that show it; None
            if that is not known.
    """

    id: str
    image: str
    # functions have no useful repr, and equal questions may hold different ones
    pictures: tuple[Picture, ...] = field(repr=False, compare=False)
    question: str
    answers: tuple[str, ...]
    family: str = ""
    kind: str = ""
    relevant: tuple[tuple[int, ...], ...] | None = None
    clips: tuple[Film, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Task:
    """Questions that are scored together."""

    name: str
    metric: Metric
    items: tuple[Item, ...]

    @property
    def images(self) -> int:
        """How many different images the questions have."""
        return len({item.image for item in self.items})


@dataclass(frozen=True)
class Questions:
    """All questions of a run.

    Attributes:
        source: where they come from, as given.
        tasks: in a fixed order.
        skipped: lines that were left out, each with its reason.
        split: split of a test bed's scenes, else empty.
        origin: checksum of what the pictures are drawn from, where that is no code.
    """

    source: str
    tasks: tuple[Task, ...]
    skipped: tuple[str, ...] = ()
    split: str = ""
    origin: str = ""

    @property
    def items(self) -> list[Item]:
        """The questions of all tasks, task by task."""
        found: list[Item] = []
        for task in self.tasks:
            found += task.items
        return found

    @property
    def fingerprint(self) -> str:
        """16 hex digits, equal for the same questions, answers and order."""
        # a picture counts by its name; its pixels are not hashed
        digest = hashlib.sha256(self.origin.encode())
        for task in self.tasks:
            digest.update(repr((task.name, task.metric.name)).encode())
            for item in task.items:
                digest.update(repr((item.id, item.image, item.question, item.answers)).encode())
        return digest.hexdigest()[:16]

    @property
    def knows_relevant(self) -> bool:
        """Whether the relevant tokens of every item are known, which the oracle needs."""
        return all(item.relevant is not None for item in self.items)

    def only(self, names: Collection[str]) -> Questions:
        """The questions of some tasks, in the order in which they are here.

        Raises:
            TaskError: no task has one of the names.
        """
        known = [task.name for task in self.tasks]
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known)
                raise TaskError(
                    f"no task {shown(name)} among the questions.{hint} There: {', '.join(known)}"
                )
        return replace(self, tasks=tuple(task for task in self.tasks if task.name in names))

    def without_relevant(self) -> Questions:
        """The same questions, of which no relevant tokens are known."""
        tasks = []
        for task in self.tasks:
            items = tuple(replace(item, relevant=None) for item in task.items)
            tasks.append(replace(task, items=items))
        return replace(self, tasks=tuple(tasks))
