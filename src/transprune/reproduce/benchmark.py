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
from transprune.bench.data.manifest import MANIFEST_FILE, Manifest, read_manifest
from transprune.bench.data.records import RecordLog, Run, merge_parts, read_run
from transprune.bench.data.tasks import Item, Questions, Task
from transprune.bench.describe import build_manifest
from transprune.bench.plan import Plan
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.runner import answer_trial, number_draws, open_run
from transprune.bench.run.trials import Trial, own_trials
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.models.prompt import takes_videos
from transprune.reproduce.asked import check_askable, frames_of, readable
from transprune.reproduce.plan import ReproducePlan
from transprune.reproduce.ranks import ALONE, Ranks

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
        ranks: this process among those that answer together.
    """

    benchmark: Benchmark
    plan: ReproducePlan
    checkpoint: Checkpoint
    questions: Questions
    notes: tuple[str, ...] = ()
    ranks: Ranks = ALONE

    @classmethod
    def open(
        cls, name: str, plan: ReproducePlan, checkpoint: Checkpoint, ranks: Ranks = ALONE
    ) -> BenchmarkRun:
        """Read the questions of a benchmark.

        Raises:
            MissingExtra: pyarrow is not installed.
            TaskError: no data, no usable row, or a benchmark that cannot be asked here.
        """
        source = check_askable(name, plan)
        with ranks.first_alone():
            questions = read_benchmark(source, plan.data, plan.limit, frames_of(plan))
        run = cls(BENCHMARKS[name], plan, checkpoint, questions, ranks=ranks)
        for line in questions.skipped:
            run._note(f"left out: {line}")
        run.check_stills()
        run.merge()
        return run

    def check_stills(self) -> None:
        """Note where a model sees the frames of a video as pictures."""
        if self.source.videos and not takes_videos(self.checkpoint):
            self._note(
                f"{self.source.title}: {self.checkpoint.source} takes no videos, so it is shown "
                f"{self.frames} frames of each as pictures"
            )

    @property
    def source(self) -> Benchmark:
        """The benchmark whose questions these are."""
        return BENCHMARKS[self.benchmark.answers_of or self.benchmark.name]

    @property
    def frames(self) -> int:
        """Frames of each video."""
        return frames_of(self.plan)

    @property
    def parent(self) -> Path:
        """Of all runs."""
        return self.plan.out / "runs"

    @property
    def folder(self) -> Path:
        """Of the run: one for each model, benchmark and limit."""
        model = self.checkpoint.source.strip("/").replace("/", "--")
        limit = "" if self.plan.limit is None else f"-{self.plan.limit}"
        return self.parent / model / f"{self.source.name}{limit}"

    @property
    def total(self) -> int:
        """How many questions there are."""
        return len(self.questions.items)

    @property
    def shortage(self) -> str:
        """How many questions the data have, where that is not what the benchmark has; else empty.

        Files of which a part was not fetched would give a figure that looks like any other.
        """
        known = self.source.questions
        if self.plan.smoke or self.plan.limit is not None or self.total == known:
            return ""
        return f"the data have {self.total} usable questions, the benchmark has {known}"

    def read(self) -> Run | None:
        """The answers so far; None before the first."""
        return read_run(self.folder) if (self.folder / MANIFEST_FILE).exists() else None

    def merge(self) -> None:
        """Put the answers of processes that worked together into one file."""
        if self.ranks.first and self.folder.exists():
            merge_parts(self.folder)

    def count_open(self, *keys: str) -> int:
        """How many questions have no answer under these conditions, over all of them."""
        run = self.read()
        done = Counter(record.condition for record in run.records) if run else Counter[str]()
        return sum(self.total - done[key] for key in keys)

    def begin(self, key: str, method: Method | None) -> None:
        """Write what identifies the run, before several processes answer.

        Raises:
            BenchError, RecordError: as `answer`.
        """
        self._open_run(self._trial(key, method))

    def answer(self, key: str, method: Method | None, on_answers: OnAnswers) -> None:
        """Answer what has no answer under the condition `key` yet: the share of this process.

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
        alone = self.ranks.size == 1
        manifest = self._open_run(trial) if alone else read_manifest(self.folder)
        with RecordLog(self.folder, None if alone else self.ranks.rank) as log:
            self._answer(log, manifest, trial, method, on_answers)

    def _answer(
        self,
        log: RecordLog,
        manifest: Manifest,
        trial: Trial,
        method: Method | None,
        on_answers: OnAnswers,
    ) -> None:
        """Answer part by part."""
        for task in self._open_parts(trial.condition.name, log):
            prepared = PreparedQuestions(self.checkpoint, task.items)
            new_answers = answer_trial(
                log,
                manifest,
                prepared,
                [task],
                trial,
                draws=self._draws,
                # videos differ in number and size of their frames
                batch_size=1 if self.source.videos else self.plan.batch_size,
                indices=False,
            )

            for count in new_answers:
                on_answers(count)

    def sample(self, count: int) -> tuple[Item, ...]:
        """The first questions whose pictures can be read."""
        return readable(self.questions.items[: 2 * count])[0][:count]

    def first_questions(self, count: int) -> Questions:
        """The first questions whose pictures can be read, as a task of their own."""
        task = replace(self.questions.tasks[0], items=self.sample(count))
        return replace(self.questions, tasks=(task,))

    @cached_property
    def _draws(self) -> Mapping[str, int]:
        """Image -> number of its draw, over the whole benchmark."""
        return number_draws(self.questions.tasks)

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        """Image -> its number; questions about one picture belong to one process."""
        names = dict.fromkeys(item.image for item in self.questions.items)
        return {name: number for number, name in enumerate(names)}

    def _is_own(self, item: Item) -> bool:
        """Whether this process answers a question."""
        return self._numbers[item.image] % self.ranks.size == self.ranks.rank

    @cached_property
    def _first(self) -> PreparedQuestions:
        """Some questions, for the nominal prompt of the manifest."""
        return PreparedQuestions(self.checkpoint, self.sample(16))

    def _trial(self, key: str, method: Method | None) -> Trial:
        methods = {} if method is None else {key: method}
        return own_trials(methods, self._first.nominal())[-1]

    def _open_run(self, trial: Trial) -> Manifest:
        return open_run(self.folder, replace(self._manifest, conditions=(trial.condition,)))

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
        """Parts of this process's share that have an open question, without damaged pictures."""
        task = self.questions.tasks[0]
        own = [item for item in task.items if self._is_own(item)]
        for first in range(0, len(own), PART):
            items = own[first : first + PART]
            if all((key, task.name, item.id) in log.keys for item in items):
                continue

            usable, damaged = readable(items)
            for line in damaged:
                self._note(f"left out: {line}")
            if usable:
                yield replace(task, items=usable)

    def add_notes(self, lines: Iterable[str]) -> None:
        """Add sentences that are not there yet."""
        for line in lines:
            self._note(line)

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes = (*self.notes, line)
