"""One benchmark under one model: its run folder, and answers row by row.

Questions are prepared in parts, so that a benchmark of 200,000 needs the memory of one part. A part
without an open question is skipped, so a continued run begins where the last one ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from transprune.bench.data.benchmarks import BENCHMARKS, Benchmark
from transprune.bench.data.benchmarks.read import read_benchmark
from transprune.bench.data.manifest import Manifest
from transprune.bench.data.records import RecordLog, Run, read_run
from transprune.bench.data.tasks import Item, Questions, Task
from transprune.bench.describe import build_manifest
from transprune.bench.plan import Plan
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.runner import answer_trial, number_draws, open_run
from transprune.bench.run.trials import Trial, own_trials
from transprune.errors import ImageError, TaskError
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.reproduce.plan import ReproducePlan

PART = 256  # questions prepared at once

OnAnswers = Callable[[int], None]


@dataclass
class BenchmarkRun:
    """The answers of one model to one benchmark.

    Attributes:
        benchmark: which one.
        plan: of the call.
        checkpoint: the model.
        questions: of the benchmark.
        notes: sentences about rows that were left out.
    """

    benchmark: Benchmark
    plan: ReproducePlan
    checkpoint: Checkpoint
    questions: Questions
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, name: str, plan: ReproducePlan, checkpoint: Checkpoint) -> BenchmarkRun:
        """Read the questions of a benchmark.

        Raises:
            MissingExtra: pyarrow is not installed.
            TaskError: no data, no usable row, or a benchmark that cannot be asked here.
        """
        if name not in BENCHMARKS:
            raise TaskError(
                "cannot be asked in this release: it is about videos, and a judge scores it"
            )
        benchmark = BENCHMARKS[name]
        questions = read_benchmark(benchmark, plan.data, plan.limit)
        run = cls(benchmark, plan, checkpoint, questions)
        for line in questions.skipped:
            run._note(f"left out: {line}")
        return run

    @property
    def folder(self) -> Path:
        """Of the run: one for each model, benchmark and limit."""
        model = self.checkpoint.source.strip("/").replace("/", "--")
        limit = "" if self.plan.limit is None else f"-{self.plan.limit}"
        return self.plan.out / "runs" / model / f"{self.benchmark.name}{limit}"

    @property
    def total(self) -> int:
        """How many questions there are."""
        return len(self.questions.items)

    def read(self) -> Run | None:
        """The answers so far; None before the first."""
        return read_run(self.folder) if self.folder.exists() else None

    def count_open(self, *keys: str) -> int:
        """How many questions have no answer under these conditions, over all of them."""
        run = self.read()
        done = Counter(record.condition for record in run.records) if run else Counter[str]()
        return sum(self.total - done[key] for key in keys)

    def answer(self, key: str, method: Method | None, on_answers: OnAnswers) -> None:
        """Answer what has no answer under the condition `key` yet.

        Args:
            key: name of the condition, the recipe as text.
            method: what runs; None is the unpruned model.
            on_answers: called with the number of new answers after every batch.

        Raises:
            BenchError: the method cannot run on this model.
            RecordError: the folder holds another run, or cannot be written.
            TaskError: a question or picture that the processor refuses.
        """
        trial = self._trial(key, method)
        fresh = replace(self._manifest, conditions=(trial.condition,))
        manifest = open_run(self.folder, fresh)

        with RecordLog(self.folder) as log:
            for task in self._open_parts(key, log):
                prepared = PreparedQuestions(self.checkpoint, task.items)
                new_answers = answer_trial(
                    log,
                    manifest,
                    prepared,
                    [task],
                    trial,
                    draws=self._draws,
                    batch_size=self.plan.batch_size,
                    indices=False,
                )
                for count in new_answers:
                    on_answers(count)

    def sample(self, count: int) -> tuple[Item, ...]:
        """The first questions whose pictures can be read."""
        return _readable(self.questions.items[: 2 * count])[0][:count]

    def first_questions(self, count: int) -> Questions:
        """The first questions whose pictures can be read, as a task of their own."""
        task = replace(self.questions.tasks[0], items=self.sample(count))
        return replace(self.questions, tasks=(task,))

    @cached_property
    def _draws(self) -> Mapping[str, int]:
        """Image -> number of its draw, over the whole benchmark."""
        return number_draws(self.questions.tasks)

    @cached_property
    def _first(self) -> PreparedQuestions:
        """Some questions, for the nominal prompt of the manifest."""
        return PreparedQuestions(self.checkpoint, self.sample(16))

    def _trial(self, key: str, method: Method | None) -> Trial:
        methods = {} if method is None else {key: method}
        return own_trials(methods, self._first.nominal())[-1]

    @cached_property
    def _manifest(self) -> Manifest:
        """What identifies the run, without its conditions."""
        plan = Plan(
            self.folder,
            model=self.checkpoint.source,
            tasks=self.questions.source,
            n=self.plan.limit,
            max_new_tokens=self.benchmark.new_tokens,
            command=self.plan.command,
        )
        return build_manifest(plan, self.questions, self._first, [])

    def _open_parts(self, key: str, log: RecordLog) -> Iterator[Task]:
        """Parts of the task that have an open question, without damaged pictures."""
        task = self.questions.tasks[0]
        for first in range(0, self.total, PART):
            items = task.items[first : first + PART]
            if all((key, task.name, item.id) in log.keys for item in items):
                continue

            usable, damaged = _readable(items)
            for line in damaged:
                self._note(f"left out: {line}")
            if usable:
                yield replace(task, items=usable)

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes = (*self.notes, line)


def _readable(items: Iterable[Item]) -> tuple[tuple[Item, ...], list[str]]:
    """Items whose pictures can be decoded, and a sentence about each of the others."""
    usable = []
    damaged = []
    for item in items:
        try:
            for picture in item.pictures:
                picture()
        except ImageError as error:
            damaged.append(str(error))
        else:
            usable.append(item)
    return tuple(usable), damaged
