"""Answer the rows of a shard: one model, one method, batches of rows of nearly equal length.

A row that cannot be read or answered gets its error, and nothing of it reaches its neighbours: if a
batch fails, its rows run again one by one. If the memory does not suffice, the batch is halved, and
later ones stay as small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from transprune.batch.answer import Answer
from transprune.batch.failure import sentence
from transprune.batch.files import is_address
from transprune.batch.lengths import Lengths
from transprune.batch.pictures import Found, Shelf
from transprune.batch.reader import Reader
from transprune.batch.row import FILE, Row
from transprune.batch.runner import Runner
from transprune.batch.settings import Work
from transprune.models.checkpoint import Checkpoint, load

OnBatch = Callable[[int, int], None]  # rows that are over, and how many of them failed
READERS = 16  # files of an object store that are fetched at once


class Engine:
    """Answers rows with one model.

    Args:
        work: the model, the method, and how they run.
        checkpoint: the model if it is loaded already.

    Attributes:
        runner: what runs on the model.

    Raises:
        CheckpointError, FamilyError, MethodError: the model or the method cannot be used.
    """

    def __init__(self, work: Work, checkpoint: Checkpoint | None = None) -> None:
        loaded = checkpoint or load(work.model, work.loading)
        self.runner = Runner(loaded, work)
        self._bounds = work.bounds
        self._reader = Reader(work)
        self._lengths = Lengths(loaded)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""
        return tuple(self.runner.notes)

    def answer(
        self, rows: Sequence[Row], on_batch: OnBatch = lambda rows, errors: None
    ) -> list[Answer]:
        """Answers in the order of the rows.

        Raises:
            BatchError: the device failed, so that no further row can be answered.
        """
        shelf = Shelf(self._reader, self._bounds)
        answers: dict[str, Answer] = {}
        found: list[Found] = []
        for row, outcome in zip(rows, self._find_all(shelf, rows), strict=True):
            if isinstance(outcome, Found):
                found.append(outcome)
            else:
                answers[row.id] = self.runner.failed(row, outcome)

        if answers:
            on_batch(len(answers), len(answers))

        for batch in self._batches(found):
            given = self.runner.answer(shelf, batch)
            answers |= given
            on_batch(len(given), sum(one.error is not None for one in given.values()))

        return [answers[row.id] for row in rows]

    def _batches(self, found: list[Found]) -> Iterator[list[Found]]:
        """Rows of nearly equal length, as many as may run together by then."""
        # stable, so that equal lengths stay in the order of the input
        left = sorted(found, key=lambda one: (self._length(one), len(one.row.question)))
        while left:
            # parts of nearly equal size, not full batches and a small rest
            size = math.ceil(len(left) / math.ceil(len(left) / self.runner.size))
            yield left[:size]
            left = left[size:]

    def _length(self, found: Found) -> int:
        return self._lengths(found.header.width, found.header.height)

    def _find_all(self, shelf: Shelf, rows: Sequence[Row]) -> Iterator[Found | str]:
        """What each row has to show, or the error of a row that has nothing."""

        def find(row: Row) -> Found | str:
            try:
                return shelf.find(row)
            except Exception as error:
                return sentence(error)

        # one by one the model would wait for every answer of the store
        if any(is_address(row.file) and row.number == FILE for row in rows):
            with ThreadPoolExecutor(READERS) as pool:
                yield from pool.map(find, rows)
            return

        yield from map(find, rows)
