"""What is known of a public benchmark: where its rows are, how it asks, how it is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

OWNERS = ("lmms-lab-encoder", "lmms-lab")  # on the hub; the name was changed once


@dataclass(frozen=True)
class Asked:
    """One row as a question.

    Attributes:
        id: unique in the benchmark.
        image: name of the image; rows with the same name are resampled together.
        question: the whole text of the prompt behind the picture.
        answers: the right answers.
        kind: split or category.
    """

    id: str
    image: str
    question: str
    answers: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A public benchmark in the layout in which its rows are published.

    Attributes:
        name: what to call it, also the name of its task.
        title: the column of the papers' tables.
        dataset: name of the data sets on the hub that hold its rows (`repositories`).
        split: which of their rows.
        columns: columns that a row must have.
        ask: a row as a question; None for a row that is not part of this score.
        metric: name of its metric.
        scale: the published figure is this times the score.
        questions: how many questions it has, for estimates.
        config: configuration of the data set.
        new_tokens: longest answer.
        image: column of the picture, or of a list of pictures.
        pictures_config: the configuration that holds the pictures, where rows only name them.
        picture_id: the column that names them.
        note: in which way the rows differ from those of the papers; empty if in none.
    """

    name: str
    title: str
    dataset: str
    split: str
    columns: tuple[str, ...]
    ask: Callable[[Row], Asked | None]
    metric: str
    questions: int
    scale: float = 100
    config: str = "default"
    new_tokens: int = 16
    image: str = "image"
    pictures_config: str = ""
    picture_id: str = ""
    note: str = ""

    @property
    def repositories(self) -> tuple[str, ...]:
        """Data sets on the hub that hold the same rows; the last is the usual one."""
        return tuple(f"{owner}/{self.dataset}" for owner in OWNERS)
