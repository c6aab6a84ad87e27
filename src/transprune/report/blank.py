"""The language-only floor: how well the model answers when every image is blank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from PIL import Image

from transprune.bench.data.tasks import Item, Questions, Task
from transprune.models.checkpoint import Checkpoint
from transprune.report.progress import Progress, silent
from transprune.report.results import Results

FLOOR_QUESTIONS = 60  # per task; the floor is context, so minutes would be too much for it
QUESTIONS_PER_BATCH = 30
GREY = (127, 127, 127)


@dataclass(frozen=True)
class Floor:
    """How well the model answers without seeing.

    Attributes:
        accuracy: relative accuracy with blank images, mean over tasks, in percent of the unpruned
            score; None where no task has such a score.
        missing: sentences about what is left out.
    """

    accuracy: float | None
    missing: tuple[str, ...] = ()


def language_floor(
    results: Results,
    questions: Questions,
    checkpoint: Checkpoint,
    progress: Progress = silent,
) -> Floor:
    """Answer the first questions of each task with blank images.

    Args:
        results: the run.
        questions: of the run.
        checkpoint: its model.
        progress: called before each task.
    """
    tokens = results.manifest.settings.max_new_tokens
    scores = {task.task: task.score.value for task in results.unpruned.tasks}

    shares = []
    for number, task in enumerate(questions.tasks, start=1):
        progress("answering with blank images", number - 1, len(questions.tasks))
        score = scores.get(task.name, 0.0)
        # there is nothing that the blank score could be relative to; `words` says so
        if not isfinite(score) or not score:
            continue
        grade = _mean_grade(task, checkpoint, tokens)
        shares.append(100 * grade / (score / 100))  # scores are 0..100, grades 0..1

    if not shares:
        return Floor(None, ("No language-only floor: no task has an unpruned score above 0.",))
    return Floor(float(np.mean(shares)))


def _mean_grade(task: Task, checkpoint: Checkpoint, max_new_tokens: int) -> float:
    """Mean grade, 0..1, of the answers to the first questions of a task with blank images."""
    # late: these import transformers, which is not needed without a model
    from transprune.bench.run.answers import answer
    from transprune.bench.run.prepared import PreparedQuestions

    items = [_with_blank_images(item) for item in task.items[:FLOOR_QUESTIONS]]
    prepared = PreparedQuestions(checkpoint, items)
    items.sort(key=lambda item: prepared.count(item).length)  # less padding

    grades = []
    for start in range(0, len(items), QUESTIONS_PER_BATCH):
        batch = items[start : start + QUESTIONS_PER_BATCH]
        answers = answer(prepared, batch, None, max_new_tokens)
        for given, item in zip(answers, batch, strict=True):
            grades.append(task.metric.grade(given.text, item.answers))
    return float(np.mean(grades))


def _with_blank_images(item: Item) -> Item:
    """The same question about grey images of the size of its first image."""
    size = item.pictures[0]().size

    def blank() -> Image.Image:
        return Image.new("RGB", size, GREY)

    # images of one name are encoded once, so all blank images of one size share a name
    return replace(item, image=f"blank {size}", pictures=(blank,) * len(item.pictures))
