"""What is known of a public benchmark: where its rows are, how it asks, how it is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

COLLECTION = "GPT_Zero_Shot_QA"  # in which the benchmarks about videos are published
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
        questions: how many questions it has: for estimates, and to notice data that lack some.
        config: configuration of the data set.
        new_tokens: longest answer.
        image: column of the picture, or of a list of pictures.
        pictures_config: the configuration that holds the pictures, where rows only name them.
        picture_id: the column that names them.
        note: in which way the rows differ from those of the papers; empty if in none.
        videos: folder of its videos; empty for a benchmark about pictures.
        answers_of: benchmark whose answers are scored here in another way; empty for its own.
        judged: what a judge's verdict gives, `"right"` (the share of right answers) or `"grade"`
            (the mean of its 0 to 5); empty where no judge is asked. A share without a judge is that
            of the metric.
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
    videos: str = ""
    answers_of: str = ""
    judged: str = ""

    @property
    def repositories(self) -> tuple[str, ...]:
        """Data sets on the hub that hold the same rows; the last is the usual one.

        Of a benchmark about videos it is its folder in the collection, which is not on the hub.
        """
        if self.videos:
            return (f"{COLLECTION}/{self.dataset}",)
        return tuple(f"{owner}/{self.dataset}" for owner in OWNERS)
