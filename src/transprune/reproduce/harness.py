"""A benchmark asked and scored by lmms-eval: its tasks, its prompts, its figure.

Answers are kept as records batch by batch, like those of our own route, so a killed run goes on and
the same table, with the same intervals, is made of them. The figure of a cell is computed from the
records; where lmms-eval's own figure of the same answers differs, a note says so.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from math import isclose
from pathlib import Path
from typing import Any

from PIL import Image

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.base import Asked
from transprune.bench.data.manifest import Manifest
from transprune.bench.data.metrics import METRICS
from transprune.bench.data.records import RecordLog
from transprune.bench.data.tasks import Item, Questions, Task
from transprune.bench.run.trials import Trial
from transprune.errors import ImageError
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.models.clips import open_clip
from transprune.models.source import first_line
from transprune.reproduce.asked import check_askable, frames_of
from transprune.reproduce.benchmark import BenchmarkRun, OnAnswers
from transprune.reproduce.harness_keeper import RecordKeeper
from transprune.reproduce.harness_tasks import TASKS, load_task
from transprune.reproduce.plan import ReproducePlan
from transprune.reproduce.ranks import ALONE, Ranks
from transprune.reproduce.scores import BenchmarkScores

CLOSE = 1e-6  # of two figures of the same answers


@dataclass
class HarnessRun(BenchmarkRun):
    """The answers of one model to one task of lmms-eval.

    Attributes:
        task: the task object, with its rows.
    """

    task: Any = None

    @classmethod
    def open(
        cls, name: str, plan: ReproducePlan, checkpoint: Checkpoint, ranks: Ranks = ALONE
    ) -> HarnessRun:
        """Load the task of a benchmark.

        Raises:
            TaskError: no data, no usable row, or a benchmark that cannot be asked here.
        """
        source = check_askable(name, plan)
        place = plan.out.absolute() / "lmms-eval"
        # one process fetches and writes the data; the others find it
        with ranks.first_alone():
            task, asked = load_task(source.name, plan.data, plan.limit, place)

        items = []
        for number, one in enumerate(asked):
            items.append(_item(source.name, task, number, one, frames_of(plan)))

        questions = Questions(
            f"lmms-eval:{TASKS[source.name].name}",
            (Task(source.name, METRICS[source.metric], tuple(items)),),
        )
        run = cls(BENCHMARKS[name], plan, checkpoint, questions, ranks=ranks, task=task)
        run.check_stills()
        run.merge()
        return run

    @property
    def parent(self) -> Path:
        """Of all runs: their prompts are not those of our own route."""
        return self.plan.out / "runs-lmms-eval"

    def _answer(
        self,
        log: RecordLog,
        manifest: Manifest,
        trial: Trial,
        method: Method | None,
        on_answers: OnAnswers,
    ) -> None:
        from lmms_eval.evaluator import evaluate

        from transprune.integrations.lmms_eval import TransPruneChat

        keeper = RecordKeeper(self, log, manifest, trial, on_answers)
        model = TransPruneChat.around(
            self.checkpoint, method, self.plan.batch_size, self.frames, keeper
        )
        name = TASKS[self.source.name].name
        model.task_dict[name] = self.task.dataset
        # files that a task writes beside its figure
        options = Namespace(
            process_with_media=False,
            output_path=str(self.plan.out.absolute() / "lmms-eval" / "files"),
        )
        results = None
        try:
            with _aside(self.plan.out.absolute() / "lmms-eval" / "log.txt"):
                results = evaluate(
                    lm=model,
                    task_dict={name: self.task},
                    log_samples=False,
                    bootstrap_iters=0,
                    cli_args=options,
                    process_docs_parallel=1,
                )
        # a task may refuse to score a part of its rows; the answers are kept
        except Exception as error:
            self._note(f"{key_of(trial)}: lmms-eval gives no figure ({first_line(error)})")
            if self.ranks.size > 1:
                model.accelerator.wait_for_everyone()

        for line in keeper.left_out:
            self._note(f"left out: {line}")
        if keeper.failure is not None:
            raise keeper.failure
        if results is not None and not keeper.left_out:
            self._compare(results["results"][name], key_of(trial))

    def _compare(self, figures: dict[str, Any], key: str) -> None:
        """Note where lmms-eval's figure is not ours of the same answers."""
        found = self.read()
        task = TASKS[self.source.name]
        if found is None or self.ranks.size > 1:
            return
        try:
            theirs = task.scale * float(figures[f"{task.metric},none"])
        # a task may have no figure, or a sentence in place of it
        except (KeyError, TypeError, ValueError):
            self._note(f"{key}: lmms-eval gives no figure of its answers")
            return

        score = BenchmarkScores(found, self.source).score(key)
        ours = float("nan") if score is None else self.source.scale * float(score[0])
        # a figure that is not a number is close to none
        if not isclose(ours, theirs, rel_tol=CLOSE, abs_tol=CLOSE):
            self._note(f"{key}: lmms-eval's figure is {theirs:.4f}, ours of its answers {ours:.4f}")


@contextmanager
def _aside(file: Path) -> Iterator[None]:
    """What lmms-eval prints goes to a file: stdout is for the table, or for a program."""
    from loguru import logger

    file.parent.mkdir(parents=True, exist_ok=True)
    logger.remove()
    with file.open("a", encoding="utf-8") as log, redirect_stdout(log):
        sink = logger.add(log)
        try:
            yield
        finally:
            logger.remove(sink)


def key_of(trial: Trial) -> str:
    """The name of a trial's condition."""
    return trial.condition.name


def _item(name: str, task: Any, number: int, asked: Asked, frames: int) -> Item:
    """A row as lmms-eval asks it."""
    row = task.eval_docs_no_media[number]
    video = row.get("video")

    return Item(
        id=asked.id,
        image=asked.image,
        pictures=() if video else (partial(_picture, task, number),),
        question=str(task.doc_to_text(row)),
        answers=asked.answers,
        family=name,
        kind=asked.kind,
        clips=(partial(open_clip, video, frames),) if video else (),
    )


def _picture(task: Any, number: int) -> Image.Image:
    """The picture of a row, as the task shows it."""
    try:
        shown = task.doc_to_visual(task.eval_docs[number])
    # what a reader raises on a damaged picture differs from format to format
    except Exception as error:
        raise ImageError(f"row {number}: damaged picture ({first_line(error)})") from error

    if not shown or not isinstance(shown[0], Image.Image):
        raise ImageError(f"row {number} has no picture")
    return shown[0]
