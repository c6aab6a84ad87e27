"""What every kind of input gives: its rows in an order that never changes, and their number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from transprune.batch.files import Opener, join
from transprune.batch.row import FILE, Row
from transprune.batch.settings import Columns
from transprune.core.shown import shorten, shown

NO_QUESTION = "the row has no question; fill its column, or ask one of all rows (--question)"


class Table(ABC):
    """The rows of one input.

    Args:
        place: folder, file or address, absolute.
        question: asked about every row; None takes that of the row.
        columns: names of columns or fields.
        opener: opens files.

    Attributes:
        noun: what its rows are, for messages.
        notes: sentences that the user should read, once the rows have been listed.
    """

    noun: ClassVar[str]

    def __init__(self, place: str, question: str | None, columns: Columns, opener: Opener) -> None:
        self.place = place
        self.question = question
        self.columns = columns
        self.opener = opener
        self.notes: list[str] = []

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """All rows, in the same order each time. Their ids may repeat."""

    def asked(self, value: Any) -> tuple[str, str]:
        """The question of a row with `value` in its column, and what is wrong with it."""
        if self.question is not None:
            return self.question, ""
        if value is None:
            return "", NO_QUESTION
        if not isinstance(value, str):
            return "", f"a question is a text; got {shown(value)}"
        if not value.strip():
            return "", NO_QUESTION
        return value, ""

    def pointing(self, id: str, image: Any, value: Any, folder: str) -> Row:
        """A row that names the file of its picture."""
        question, problem = self.asked(value)
        if not isinstance(image, str) or not image:
            problem = f"the row names no picture: {self.columns.image!r} is {shown(image)}"
            return Row(id, "", question, "", FILE, problem)
        try:
            file = join(folder, image)
        except ValueError as error:
            return Row(id, image, question, "", FILE, f"{shorten(image)}: {error}")

        return Row(id, image, question, file, FILE, problem)
