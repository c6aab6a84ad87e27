"""Keeps the answers that lmms-eval gets as records of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from transprune.bench.data.manifest import Manifest
from transprune.bench.data.records import RecordLog
from transprune.bench.data.tasks import Item
from transprune.bench.run.answers import ModelAnswer
from transprune.bench.run.runner import TaskItem, build_record
from transprune.bench.run.trials import Trial
from transprune.models.source import first_line
from transprune.reproduce.benchmark import BenchmarkRun


@dataclass
class RecordKeeper:
    """Keeps the answers of a task as records."""

    run: BenchmarkRun
    log: RecordLog
    manifest: Manifest
    trial: Trial
    on_answers: Callable[[int], None]
    left_out: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self._texts: dict[str, str] = {}
        found = self.run.read()
        for record in found.records if found else ():
            if record.condition == self.trial.condition.name:
                self._texts[record.item] = record.given

    def known(self, number: int) -> str | None:
        """The answer to a row of the task; None if there is none yet."""
        return self._texts.get(self._item(number).id)

    def keep(self, answers: Sequence[tuple[int, ModelAnswer]]) -> None:
        """Write the answers of a batch."""
        task = self.run.questions.tasks[0]
        records = []
        for number, answer in answers:
            question = TaskItem(task, self._item(number))
            # indices of kept tokens take four fifths of the space
            bare = replace(answer, kept={})
            records.append(build_record(self.manifest, self.trial, question, bare))

        self.log.append(record for record in records if record.key not in self.log.keys)
        self.on_answers(len(records))

    def leave_out(self, number: int, error: Exception) -> None:
        """Note that a row cannot be asked."""
        self.left_out.append(f"question {self._item(number).id!r}: {first_line(error)}")

    def stop(self, error: Exception) -> None:
        """Note what keeps every further row from being answered."""
        self.failure = error

    def _item(self, number: int) -> Item:
        return self.run.questions.items[number]
