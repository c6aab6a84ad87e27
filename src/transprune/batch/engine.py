"""Answer the rows of a shard: one model, one method, batches of rows of nearly equal length.

A row that cannot be read or answered gets its error, and nothing of it reaches its neighbours: if a
batch fails, its rows run again one by one. If the memory does not suffice, the batch is halved, and
later ones stay as small.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transprune.batch.answer import Answer
from transprune.batch.failure import free_memory, kind_of, sentence
from transprune.batch.lengths import Lengths
from transprune.batch.pictures import Found, Shelf
from transprune.batch.reader import Reader
from transprune.batch.row import Row
from transprune.batch.settings import Work, recipe_hash
from transprune.core.plan import UNPRUNED
from transprune.errors import BatchError
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import Checkpoint, load
from transprune.models.prompt import count_visual, prepare
from transprune.models.together import Answers, Generation, generate_together
from transprune.session import Session, prune

log = logging.getLogger(__name__)

OnBatch = Callable[[int, int], None]  # rows that are over, and how many of them failed


@dataclass(frozen=True)
class Prepared:
    """A row that can run.

    Attributes:
        row: the row.
        inputs: of the model, one sample.
        visual: visual tokens.
        note: about its picture.
        seconds: that it took to prepare.
    """

    row: Row
    inputs: dict[str, Any]
    visual: int
    note: str | None
    seconds: float


class Engine:
    """Answers rows with one model.

    Args:
        work: the model, the method, and how they run.
        checkpoint: the model if it is loaded already.

    Attributes:
        size: rows that run together at most; halved when the memory does not suffice.
        notes: sentences of the traces that the user should read.

    Raises:
        CheckpointError, FamilyError, MethodError: the model or the method cannot be used.
    """

    def __init__(self, work: Work, checkpoint: Checkpoint | None = None) -> None:
        self.work = work
        self.checkpoint = checkpoint or load(work.model, work.loading)
        self.size = work.batch_size
        self.notes: dict[str, None] = {}  # a set that keeps its order

        self._session = _open_session(self.checkpoint, work.method)
        self._generation = Generation(work.max_new_tokens)
        self._reader = Reader(work)
        self._lengths = Lengths(self.checkpoint)
        self._same: dict[str, Any] = {
            "method": work.method,
            "recipe": recipe_hash(work.method),
            "model": work.model,
            "weights": work.weights,
            "dtype": str(self.checkpoint.model.dtype).removeprefix("torch."),
            "versions": work.versions,
        }

    def answer(
        self, rows: Sequence[Row], on_batch: OnBatch = lambda rows, errors: None
    ) -> list[Answer]:
        """Answers in the order of the rows.

        Raises:
            BatchError: the device failed, so that no further row can be answered.
        """
        shelf = Shelf(self._reader, self.work.bounds)
        answers: dict[str, Answer] = {}
        found = self._find(shelf, rows, answers)
        if answers:
            on_batch(len(answers), len(answers))

        # stable, so that equal lengths stay in the order of the input
        found.sort(key=lambda one: (self._length(one), len(one.row.question)))
        while found:
            # parts of nearly equal size, not full batches and a small rest
            size = math.ceil(len(found) / math.ceil(len(found) / self.size))
            batch, found = found[:size], found[size:]
            given = self._answer_batch(shelf, batch)
            answers |= given
            on_batch(len(given), sum(one.error is not None for one in given.values()))
        return [answers[row.id] for row in rows]

    def _length(self, found: Found) -> int:
        return self._lengths(found.header.width, found.header.height)

    def _find(self, shelf: Shelf, rows: Sequence[Row], answers: dict[str, Answer]) -> list[Found]:
        """The rows whose pictures can be opened; the others get their errors."""
        found = []
        for row in rows:
            try:
                found.append(shelf.find(row))
            except Exception as error:
                answers[row.id] = self._failed(row, sentence(error))
        return found

    def _answer_batch(self, shelf: Shelf, batch: Sequence[Found]) -> dict[str, Answer]:
        """Answers of rows that run together, by their ids."""
        answers: dict[str, Answer] = {}
        prepared = []
        for one in batch:
            try:
                prepared.append(self._prepare(shelf, one))
            # a poisoned row is an error of its own
            except Exception as error:
                self._check_device(error)
                answers[one.row.id] = self._failed(one.row, sentence(error))
        return answers | self._run(prepared)

    def _prepare(self, shelf: Shelf, found: Found) -> Prepared:
        start = time.perf_counter()
        picture, note = shelf.decode(found)
        inputs = dict(prepare(self.checkpoint, [picture], found.row.question))
        visual = count_visual(self.checkpoint, inputs)
        return Prepared(found.row, inputs, visual, note, time.perf_counter() - start)

    def _run(self, rows: Sequence[Prepared]) -> dict[str, Answer]:
        """Generate for a batch; if it fails, for halves of it or for single rows."""
        if not rows:
            return {}
        try:
            inputs = [row.inputs for row in rows]
            given = generate_together(self.checkpoint, inputs, self._session, self._generation)
            return self._answered(rows, given)
        except Exception as error:
            self._check_device(error)
            kind, text = kind_of(error), sentence(error)

        # outside of `except`, where the error would still hold the tensors of the batch
        if kind == "memory":
            free_memory()
        if len(rows) == 1:
            return {rows[0].row.id: self._failed(rows[0].row, text)}

        log.warning("a batch of %d failed (%s)", len(rows), text)
        step = 1
        if kind == "memory":
            step = self.size = max(1, len(rows) // 2)
        answers: dict[str, Answer] = {}
        for first in range(0, len(rows), step):
            answers |= self._run(rows[first : first + step])
        return answers

    def _check_device(self, error: Exception) -> None:
        """Stop the job if the device failed: every later row would be written as an error."""
        if kind_of(error) == "device":
            raise BatchError(
                f"the device failed ({sentence(error)}). Answers that are written stay: start the "
                "same command again to go on"
            ) from error

    def _answered(self, rows: Sequence[Prepared], given: Answers) -> dict[str, Answer]:
        trace = given.trace
        if trace is not None:
            self.notes |= dict.fromkeys(trace.notes)

        answers = {}
        for number, row in enumerate(rows):
            after, share = row.visual, 1.0
            if trace is not None:
                after = trace.tokens_per_layer(number)[-1]
                share = trace.sample_cost(number, "exact").prefill_share
            answers[row.row.id] = Answer(
                id=row.row.id,
                source=row.row.source,
                question=row.row.question,
                answer=given.texts[number],
                note=row.note,
                cut=given.cut[number],
                visual_tokens_before=row.visual,
                visual_tokens_after=after,
                prefill_flops_share=share,
                prompt_tokens=given.prompt_tokens[number],
                new_tokens=given.new_tokens[number],
                prepare_seconds=row.seconds,
                first_token_seconds=given.first_token,
                batch_seconds=given.total,
                batch_size=len(rows),
                **self._same,
            )
        return answers

    def _failed(self, row: Row, text: str) -> Answer:
        return Answer(id=row.id, source=row.source, question=row.question, error=text, **self._same)


def _open_session(checkpoint: Checkpoint, method: str) -> Session | None:
    """The session of a method, tried on the model without running anything."""
    if method == UNPRUNED:
        return None
    session = prune(checkpoint.model, resolve(method), text_tower=checkpoint.text_tower)
    # a model that no family lists is checked when a session attaches, not in the first batch
    with session:
        pass
    return session
