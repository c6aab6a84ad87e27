"""Ask every question under every trial and append the answers; existing answers stay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from transprune.bench.data.manifest import (
    MANIFEST_FILE,
    Manifest,
    check_same,
    read_manifest,
    write_manifest,
)
from transprune.bench.data.records import Record, RecordLog, check_free
from transprune.bench.data.tasks import Item, Task
from transprune.bench.run.answers import ModelAnswer, answer
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.bench.run.trials import DRAWS, Trial
from transprune.core.targets import folder_problem
from transprune.errors import RecordError

PROMPTS_PER_BATCH = 32


class TaskItem(NamedTuple):
    """A question with its task."""

    task: Task
    item: Item


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot hold this run, before anything is loaded; nothing is changed.

    Raises:
        RecordError: it holds a damaged run or something else, cannot be written, or another process
            is writing its run.
    """
    if problem := folder_problem(folder):
        raise RecordError(problem)
    if (folder / MANIFEST_FILE).exists():
        read_manifest(folder)
        check_free(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise RecordError(
            f"{folder} exists and holds no run; choose an empty or new folder for --out"
        )


def open_run(folder: Path, manifest: Manifest) -> Manifest:
    """Create the folder of a run, or continue the one that is there.

    Returns:
        The manifest of the run: the existing one with the new conditions added, or the given one.

    Raises:
        RecordError: the folder holds a run with other settings or something else, cannot be
            written, or another process is writing this run.
    """
    check_folder(folder)
    if (folder / MANIFEST_FILE).exists():
        known = read_manifest(folder)
        check_same(folder, known.settings, manifest.settings)
        manifest = known.extended(manifest.conditions)

    # nothing is written before every check has passed
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, manifest)
    return manifest


def run_trials(
    folder: Path,
    manifest: Manifest,
    questions: PreparedQuestions,
    tasks: Sequence[Task],
    trials: Sequence[Trial],
    *,
    batch_size: int = PROMPTS_PER_BATCH,
    on_progress: OnProgress = no_progress,
) -> str:
    """Answer every question that has no answer yet.

    Returns:
        A sentence about an incomplete record that was dropped, or an empty text.

    Raises:
        RecordError: another process is writing this run, or the records are damaged.
    """
    draws = number_draws(tasks)
    total = len(trials) * sum(len(task.items) for task in tasks)

    with RecordLog(folder) as log:
        # a folder may hold conditions of earlier calls, which do not count here
        requested = {trial.condition.name for trial in trials}
        done = sum(condition in requested for condition, _, _ in log.keys)

        for trial in trials:
            on_progress(Progress(trial.condition.name, done, total))
            new_answers = answer_trial(
                log, manifest, questions, tasks, trial, draws=draws, batch_size=batch_size
            )
            for count in new_answers:
                done += count
                on_progress(Progress(trial.condition.name, done, total))

        return log.note


def answer_trial(
    log: RecordLog,
    manifest: Manifest,
    questions: PreparedQuestions,
    tasks: Sequence[Task],
    trial: Trial,
    *,
    draws: Mapping[str, int],
    batch_size: int = PROMPTS_PER_BATCH,
    indices: bool = True,
) -> Iterator[int]:
    """Answer under one trial what has no answer in the log, batch by batch.

    Args:
        log: open; every batch is written to it before the next one.
        manifest: of the run.
        questions: the questions of `tasks`, prepared.
        tasks: what to answer.
        trial: how.
        draws: image -> number of its draw, from `number_draws`.
        batch_size: prompts per batch.
        indices: whether records list the visual tokens that stayed; without them a record takes a
            fifth of the space.

    Yields:
        The number of new answers, after each batch.

    Raises:
        RecordError: the log cannot be written.
    """
    longest = manifest.settings.max_new_tokens
    for batch, draw in _batches(trial, tasks, questions, log, draws, batch_size):
        items = [question.item for question in batch]
        answers = answer(questions, items, trial.bind(items, draw), longest)
        if not indices:
            answers = [replace(one, kept={}) for one in answers]

        # on disk before the next batch, so a kill loses at most this one
        pairs = zip(batch, answers, strict=True)
        log.append(build_record(manifest, trial, *pair) for pair in pairs)
        yield len(batch)


def _batches(
    trial: Trial,
    tasks: Sequence[Task],
    questions: PreparedQuestions,
    log: RecordLog,
    draws: Mapping[str, int],
    size: int,
) -> Iterator[tuple[list[TaskItem], int]]:
    """Batches of unanswered questions with prompts of similar length, each with its draw.

    Batches are cut from all questions, and then the answered ones are removed. So a continued run
    has the batches of an undisturbed one, except for the one that was interrupted.
    """
    for draw, group in sorted(_by_draw(trial, tasks, draws).items()):
        # the sort is stable, so equal lengths stay in the order of the tasks
        group.sort(key=lambda question: questions.count(question.item).length)

        # parts of nearly equal size, not full batches and a small rest
        parts = math.ceil(len(group) / size)
        for part in range(parts):
            first = part * len(group) // parts
            end = (part + 1) * len(group) // parts

            pending = []
            for question in group[first:end]:
                key = (trial.condition.name, question.task.name, question.item.id)
                if key not in log.keys:
                    pending.append(question)
            if pending:
                yield pending, draw


def _by_draw(
    trial: Trial, tasks: Sequence[Task], draws: Mapping[str, int]
) -> dict[int, list[TaskItem]]:
    """Draw -> its questions; one group for a method that does not draw at random."""
    groups: dict[int, list[TaskItem]] = {}
    for task in tasks:
        for item in task.items:
            draw = draws[item.image] if trial.draws else 0
            groups.setdefault(draw, []).append(TaskItem(task, item))
    return groups


def number_draws(tasks: Iterable[Task]) -> dict[str, int]:
    """Image -> number of its draw, the same in every run of these tasks."""
    # by image, so that all questions about a picture share one selection of tokens
    images: dict[str, int] = {}
    for task in tasks:
        for item in task.items:
            images.setdefault(item.image, len(images) % DRAWS)
    return images


def build_record(
    manifest: Manifest, trial: Trial, question: TaskItem, given: ModelAnswer
) -> Record:
    """The record of one answer."""
    task, item = question
    condition = trial.condition
    settings = manifest.settings

    return Record(
        condition=condition.name,
        task=task.name,
        item=item.id,
        image=item.image,
        family=item.family,
        kind=item.kind,
        question=item.question,
        answers=item.answers,
        given=given.text,
        score=task.metric.grade(given.text, item.answers),
        method=condition.method,
        method_repr=given.method_repr,
        recipe=condition.recipe,
        budget=condition.budget,
        # a millionth is far below one token
        exact_share=round(given.exact_share, 6),
        paper_share=round(given.paper_share, 6),
        kept=given.kept,
        visual_tokens=given.visual_tokens,
        kv_bytes=given.kv_bytes,
        positions=given.positions,
        model=settings.model,
        dtype=settings.dtype,
        attention=settings.attention,
        seed=settings.seed,
        versions=dict(manifest.versions),
    )
