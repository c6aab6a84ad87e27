"""One row of a batch job, and the shard it is answered in."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import NamedTuple

FILE = -1  # the number of a row whose picture is a file of its own


class Row(NamedTuple):
    """A picture and its question.

    Attributes:
        id: unique in the job, the same whenever the job is started again.
        source: where the picture is, as the output shows it.
        question: what is asked; empty if there is a `problem`.
        file: address of the picture, or of the parquet file that holds it.
        number: of the row in that parquet file, or `FILE`.
        problem: why the row cannot be answered; empty if it can be tried.
    """

    id: str
    source: str
    question: str
    file: str
    number: int = FILE
    problem: str = ""

    @property
    def digest(self) -> bytes:
        """16 bytes for what the row asks, apart from its id."""
        return digest(f"{clean(self.source)}\0{clean(self.question)}")


def clean(text: str) -> str:
    """A text as Parquet can hold it: what is no Unicode (names of files) is written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def digest(text: str) -> bytes:
    """16 bytes that stand for a text, so that millions of them fit the memory."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


@dataclass(frozen=True)
class Shard:
    """Rows that are answered and written together.

    Attributes:
        number: which window of the input they come from.
        rows: those that have no answer yet.
    """

    number: int
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Name of its file, which says what is in it: the same rows are never written twice."""
        ids = "\0".join(row.id for row in self.rows)
        return f"part-{self.number:06d}-{digest(ids).hex()[:12]}.parquet"

    def pack(self) -> bytes:
        """The shard in few bytes; addresses of neighbours are nearly equal."""
        text = json.dumps([self.number, *self.rows])
        return zlib.compress(text.encode("ascii"))

    @classmethod
    def unpack(cls, data: bytes) -> Shard:
        """The shard of `pack`."""
        number, *rows = json.loads(zlib.decompress(data))
        return cls(number, tuple(Row(*row) for row in rows))
