"""The runner: every question under every trial, appended as records; what is there already is not asked again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import (
    FILE,
    Certificate,
    check_same,
    read_certificate,
    write_certificate,
)
from transprune.bench.data.records import Record, RecordLog, check_free
from transprune.bench.data.tasks import Item, Task
from transprune.bench.run.answers import Given, answer
from transprune.bench.run.prompts import Prompts
from transprune.bench.run.trials import DRAWS, Trial
from transprune.errors import RecordError

BATCH = 32


@dataclass(frozen=True)
class Progress:
    """What has been done: answers so far and in all, of the whole run, and the condition at work."""

    condition: str
    done: int
    total: int


Report = Callable[[Progress], None]


def open_run(folder: Path, certificate: Certificate) -> Certificate:
    """Make the run's folder, or take up the one that is there.

    Returns:
        The certificate in force: the one there, with new conditions behind its own.

    Raises:
        RecordError: the folder holds a run with other settings, or something that is no run, or another process is
            writing this run.
    """
    if (folder / FILE).exists():
        known = read_certificate(folder)
        check_same(folder, known.settings, certificate.settings)
        certificate = known.extended(certificate.conditions)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecordError(
            f"{folder} exists and holds no run; choose an empty or new folder for --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    check_free(folder)
    write_certificate(folder, certificate)
    return certificate


def run_trials(
    folder: Path,
    certificate: Certificate,
    prompts: Prompts,
    tasks: Sequence[Task],
    trials: Sequence[Trial],
    *,
    batch_size: int = BATCH,
    report: Report = lambda progress: None,
) -> str:
    """Answer whatever is not answered yet; returns a note about a half-written record that was dropped, or nothing.

    Raises:
        RecordError: another process is at it, or the records are damaged.
    """
    draws = _draws(tasks)
    total = len(trials) * sum(len(task.items) for task in tasks)
    with RecordLog(folder) as log:
        asked = {trial.condition.name for trial in trials}
        done = sum(condition in asked for condition, _, _ in log.keys)
        for trial in trials:
            name = trial.condition.name
            report(Progress(name, done, total))
            for batch, draw in _batches(trial, tasks, prompts, log, draws, batch_size):
                items = [item for _, item in batch]
                method = trial.bind(items, draw)
                given = answer(prompts, items, method, certificate.settings.max_new_tokens)
                log.append(
                    _record(certificate, trial, *pair) for pair in zip(batch, given, strict=True)
                )
                done += len(batch)
                report(Progress(name, done, total))
        return log.note


Asked = tuple[Task, Item]


def _batches(
    trial: Trial,
    tasks: Sequence[Task],
    prompts: Prompts,
    log: RecordLog,
    draws: dict[str, int],
    size: int,
) -> Iterator[tuple[list[Asked], int]]:
    """Open questions in batches of prompts as long as each other, with the draw of chance they share.

    Batches are made of all questions and then lose the answered ones, so a continued run has those of an undisturbed
    one: padding and rounding are the same.
    """
    groups: dict[int, list[Asked]] = {}
    for task in tasks:
        for item in task.items:
            groups.setdefault(draws[item.image] if trial.draws else 0, []).append((task, item))
    for draw, group in sorted(groups.items()):
        group.sort(key=lambda pair: prompts.count(pair[1]).length)  # stable
        parts = math.ceil(len(group) / size)
        for part in range(parts):
            batch = group[part * len(group) // parts : (part + 1) * len(group) // parts]
            keys = [(trial.condition.name, task.name, item.id) for task, item in batch]
            if pending := [
                pair for pair, key in zip(batch, keys, strict=True) if key not in log.keys
            ]:
                yield pending, draw


def _draws(tasks: Sequence[Task]) -> dict[str, int]:
    """Number of the draw of chance for each image, the same in every run of these tasks."""
    images = dict.fromkeys(item.image for task in tasks for item in task.items)
    return {image: number % DRAWS for number, image in enumerate(images)}


def _record(certificate: Certificate, trial: Trial, asked: Asked, given: Given) -> Record:
    (task, item), condition, settings = asked, trial.condition, certificate.settings
    recipe: dict[str, Any] | None = condition.recipe
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
        recipe=recipe,
        budget=condition.budget,
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
        versions=dict(certificate.versions),
    )
