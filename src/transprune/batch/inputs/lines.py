"""JSON lines: `{"image": "photos/1.jpg", "question": "what is shown?", "id": "a"}`, one a line.

A picture is a path from the file's own folder on, or an address. Without an id a row is known by the
number of its line. A line that cannot be read is a row with an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from transprune.batch.files import folder_of
from transprune.batch.inputs.base import Table
from transprune.batch.row import FILE, Row
from transprune.batch.settings import Columns
from transprune.core import strict_json
from transprune.core.shown import shown
from transprune.errors import BatchError

SUFFIXES = (".jsonl", ".ndjson")
LONGEST_LINE = 2**20  # bytes; a longer one holds something else than a path and a question


class Lines(Table):
    """The lines of one file.

    Raises:
        BatchError: the file cannot be read.
    """

    noun: ClassVar[str] = "lines"
    _without_id = 0

    def rows(self) -> Iterator[Row]:
        """A row per line that is not empty."""
        folder = folder_of(self.place)
        for number, line in enumerate(self._lines(), start=1):
            if line.strip():
                yield self._row(f"line {number}", line, folder)
        if self._without_id and self.columns.id != Columns.id:
            self.notes.append(
                f"{self._without_id} lines have no {self.columns.id!r} (--id-column) and are known "
                "by their number"
            )

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.opener.open(self.place) as stream:
                # a file of millions of lines is never whole in memory
                rest = b""
                while block := stream.read(LONGEST_LINE):
                    *whole, rest = (rest + bytes(block)).split(b"\n")
                    yield from whole
                    if len(rest) > LONGEST_LINE:
                        raise BatchError(
                            f"{self.place} has a line of more than {LONGEST_LINE:,} bytes; one "
                            "line is one JSON object"
                        )

                yield rest
        except OSError as error:
            raise BatchError(f"{self.place} cannot be read: {error}") from error

    def _row(self, place: str, line: bytes, folder: str) -> Row:
        try:
            data = strict_json.read(line)
        except ValueError as error:
            return Row(place, place, "", "", FILE, f"{place} is no JSON: {error}")

        if not isinstance(data, dict):
            return Row(place, place, "", "", FILE, f"{place} is no object: {shown(data)}")

        id = data.get(self.columns.id)
        if id is None:
            self._without_id += 1
            id = place
        # True is an int in Python, and no id
        elif not isinstance(id, (str, int)) or isinstance(id, bool):
            return Row(place, place, "", "", FILE, f"{place}: an id is a text or a whole number")

        image = data.get(self.columns.image)
        return self.pointing(str(id), image, data.get(self.columns.question), folder)
