"""A test bed: scenes that are drawn, questions about them, and which tokens show what.

Everything that is asked of a source of questions beyond its questions is asked here: how long
answers are, where the tokens lie, which of them show an object. A further test bed is one class.

Existence is scored as its bed says, multiple choice by the option letter, everything else by exact
match. The test split is for reporting; choose on the validation split. Scenes of the training split
are asked about where something is fitted or learnt, and never scored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from transprune.bench.data.metrics import METRICS
from transprune.bench.data.tasks.base import Item, Questions, Task
from transprune.errors import TaskError

SPLITS = ("test", "validation")

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Bed(ABC):
    """A test bed.

    Attributes:
        name: by which `--tasks` and the like call it.
        scenes: how many are asked about unless another number is given.
        quick: the same with `--quick`.
        answer_tokens: longest answer.
        grid: rows and columns of the tokens of a picture.
        categories: of the questions, one task each, in this order.
        metrics: category -> name of its metric; the others have exact match.
        fitted, learnt: first scene of the training split that a fit, and a training, ask about.
    """

    name: str

    scenes: ClassVar[int]
    quick: ClassVar[int]
    answer_tokens: ClassVar[int]
    grid: ClassVar[tuple[int, int]]
    metrics: ClassVar[Mapping[str, str]]
    fitted: ClassVar[int]
    learnt: ClassVar[int]

    @property
    @abstractmethod
    def categories(self) -> tuple[str, ...]:
        """The categories of questions."""

    @property
    def tokens(self) -> int:
        """Visual tokens of a picture."""
        rows, columns = self.grid
        return rows * columns

    def ask(self, split: str, n: int, seed: int = 0) -> Questions:
        """One question of every category about each of the first `n` scenes of a split.

        Raises:
            TaskError: an unknown split, or no scenes.
            SceneError: what the scenes are drawn from is missing.
        """
        if split not in SPLITS or n < 1:
            raise TaskError(
                f"scenes come from the splits {' and '.join(SPLITS)}, at least one; got {split!r}, "
                f"{n}"
            )
        return self._ask(split, range(n), seed)

    def ask_to_fit(self, n: int, seed: int = 0) -> tuple[Item, ...]:
        """The same questions about `n` scenes of the training split, category by category."""
        return tuple(self._ask("train", range(self.fitted, self.fitted + n), seed).items)

    def ask_to_learn(self, n: int, seed: int = 0) -> list[Item]:
        """The same about `n` scenes that the model was not trained on, scene by scene.

        Raises:
            TaskError: no scenes.
        """
        if n < 1:
            raise TaskError(f"training takes one scene or more; got {n}")

        items: list[Item] = []
        for index in range(self.learnt, self.learnt + n):
            items += self.items("train", index, seed)
        return items

    @abstractmethod
    def items(self, split: str, index: int, seed: int) -> list[Item]:
        """The questions about one scene; each knows its relevant tokens."""

    @abstractmethod
    def objects(self, image: str) -> Bools:
        """Which tokens of a picture, by its name in `Item.image`, show any object. -> bool [N]."""

    def origin(self) -> str:
        """A checksum of what the pictures are drawn from; empty where the code alone decides."""
        return ""

    def _ask(self, split: str, numbers: Iterable[int], seed: int) -> Questions:
        items: dict[str, list[Item]] = defaultdict(list)
        for index in numbers:
            for item in self.items(split, index, seed):
                items[item.family].append(item)

        tasks = [self._task(name, items[name]) for name in self.categories if items[name]]
        return Questions(self.name, tuple(tasks), split=split, origin=self.origin())

    def _task(self, category: str, items: list[Item]) -> Task:
        metric = METRICS[self.metrics.get(category, "exact_match")]
        return Task(category, metric, tuple(items))
