"""Run rows together on the model, and keep what goes wrong in the row that it belongs to."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transprune.batch.answer import Answer
from transprune.batch.failure import Kind, kind_of, sentence
from transprune.batch.pictures import Found, Shelf
from transprune.batch.row import Row
from transprune.batch.settings import Work, recipe_hash
from transprune.core.plan import UNPRUNED
from transprune.errors import BatchError, LayoutError
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import Checkpoint
from transprune.models.context import context_of
from transprune.models.memory import release_memory
from transprune.models.prompt import prepare
from transprune.models.together import Answers, Generation, generate_together
from transprune.session import Session, prune

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A row that can run.

    Attributes:
        row: the row.
        inputs: of the model, one sample.
        note: about its picture.
        seconds: that it took to prepare.
    """

    row: Row
    inputs: dict[str, Any]
    note: str | None
    seconds: float


@dataclass(frozen=True)
class Problem:
    """Why a row cannot run: the kind of error, and its text."""

    kind: Kind
    text: str


class Runner:
    """Answers batches with one method on one model.

    Args:
        checkpoint: the model.
        work: the method and the length of answers.

    Attributes:
        size: rows that run together at most; halved when the memory does not suffice.
        notes: sentences of the traces that the user should read.

    Raises:
        FamilyError, MethodError: the method cannot be used on this model.
    """

    def __init__(self, checkpoint: Checkpoint, work: Work) -> None:
        self.size = work.batch_size
        self.notes: dict[str, None] = {}  # a set that keeps its order

        self._checkpoint = checkpoint
        self._session = _open_session(checkpoint, work.method)
        self._generation = Generation(work.max_new_tokens)
        self._context = context_of(checkpoint.model)
        self._same: dict[str, Any] = {
            "method": work.method,
            "recipe": recipe_hash(work.method),
            "model": work.model,
            "weights": work.weights,
            "dtype": str(checkpoint.model.dtype).removeprefix("torch."),
            "versions": work.versions,
        }

    def answer(self, shelf: Shelf, batch: Sequence[Found]) -> dict[str, Answer]:
        """Answers of rows that run together, by their ids.

        Raises:
            BatchError: the device failed, so that no further row can be answered.
        """
        answers: dict[str, Answer] = {}
        prepared: list[Prepared] = []
        for one in batch:
            made = self._prepare(shelf, one)
            # inputs wait on the device: those of the rows before may leave no room for this one
            if isinstance(made, Problem) and made.kind == "memory" and prepared:
                self.size = max(1, len(prepared) // 2)
                answers |= self._run(prepared)
                prepared = []
                release_memory()
                made = self._prepare(shelf, one)

            if isinstance(made, Prepared):
                prepared.append(made)
            else:
                answers[one.row.id] = self.failed(one.row, made.text)

        return answers | self._run(prepared)

    def failed(self, row: Row, text: str) -> Answer:
        """A row that has an error in the place of an answer."""
        return Answer(id=row.id, source=row.source, question=row.question, error=text, **self._same)

    def _prepare(self, shelf: Shelf, found: Found) -> Prepared | Problem:
        """A row that can run, or why it cannot."""
        start = time.perf_counter()
        try:
            picture, note = shelf.decode(found)
            inputs = dict(prepare(self._checkpoint, [picture], found.row.question))
            self._check_length(int(inputs["input_ids"].shape[1]))
        # a poisoned row is an error of its own
        except Exception as error:
            _check_device(error)
            return Problem(kind_of(error), sentence(error))

        return Prepared(found.row, inputs, note, time.perf_counter() - start)

    def _check_length(self, length: int) -> None:
        """Refuse a prompt that leaves no room for an answer; the model would answer it with noise.

        Raises:
            LayoutError: it does.
        """
        if self._context is not None and length >= self._context:
            raise LayoutError(
                f"the prompt has {length:,} tokens, pictures included, and the model was made for "
                f"{self._context:,} with the answer; ask a shorter question"
            )

    def _note(self, row: Prepared, tokens: int) -> str | None:
        """The note of a row whose prompt and answer have so many tokens."""
        if self._context is None or tokens <= self._context:
            return row.note
        beyond = (
            f"prompt and answer have {tokens:,} tokens, and the model was made for "
            f"{self._context:,}: the end of the answer may make no sense"
        )
        return f"{row.note}; {beyond}" if row.note else beyond

    def _run(self, rows: Sequence[Prepared]) -> dict[str, Answer]:
        """Generate for a batch; if it fails, for halves of it or for single rows."""
        if not rows:
            return {}
        try:
            inputs = [row.inputs for row in rows]
            given = generate_together(self._checkpoint, inputs, self._session, self._generation)
            return self._answered(rows, given)
        except Exception as error:
            _check_device(error)
            kind, text = kind_of(error), sentence(error)

        # outside of `except`, where the error would still hold the tensors of the batch
        if kind == "memory":
            release_memory()
        if len(rows) == 1:
            return {rows[0].row.id: self.failed(rows[0].row, text)}

        log.warning("a batch of %d failed (%s)", len(rows), text)
        step = 1
        if kind == "memory":
            step = self.size = max(1, len(rows) // 2)

        answers: dict[str, Answer] = {}
        for first in range(0, len(rows), step):
            answers |= self._run(rows[first : first + step])

        return answers

    def _answered(self, rows: Sequence[Prepared], given: Answers) -> dict[str, Answer]:
        trace = given.trace
        if trace is not None:
            self.notes |= dict.fromkeys(trace.notes)

        answers = {}
        for number, row in enumerate(rows):
            visual = given.visual_tokens[number]
            # without a picture nothing was pruned
            after, share = visual, 1.0
            if trace is not None:
                after = trace.tokens_per_layer(number)[-1]
                share = trace.sample_cost(number, "exact").prefill_share

            tokens = given.prompt_tokens[number] + given.new_tokens[number]
            answers[row.row.id] = Answer(
                id=row.row.id,
                source=row.row.source,
                question=row.row.question,
                answer=given.texts[number],
                note=self._note(row, tokens),
                cut=given.cut[number],
                visual_tokens_before=visual,
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


def _check_device(error: Exception) -> None:
    """Stop the job if the device failed: every later row would be written as an error."""
    if kind_of(error) == "device":
        raise BatchError(
            f"the device failed ({sentence(error)}). Answers that are written stay: start the "
            "same command again to go on"
        ) from error


def _open_session(checkpoint: Checkpoint, method: str) -> Session | None:
    """The session of a method, tried on the model without running anything."""
    if method == UNPRUNED:
        return None
    session = prune(checkpoint.model, resolve(method), text_tower=checkpoint.text_tower)
    # a model that no family lists is checked when a session attaches, not in the first batch
    with session:
        pass
    return session
