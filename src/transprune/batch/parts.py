"""The output of a job: a Parquet file for each shard, visible only when it is whole.

A file is written under a hidden name, flushed to the disk, and renamed. A process that is killed at
any moment leaves whole files and perhaps a hidden one, which the next start removes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.batch.answer import Answer, schema, to_record
from transprune.batch.row import digest
from transprune.core import strict_json
from transprune.errors import BatchError
from transprune.models.source import first_line

PARTS = "parts"  # the folder that other programs read
HIDDEN = ".writing-"


@dataclass(frozen=True)
class Written:
    """What a file of the output has.

    Attributes:
        name: of the file.
        rows, errors: answers, and those of them that failed.
        notes: sentences that the user should read.
        seconds: that it took; 0 if it was there already.
    """

    name: str
    rows: int
    errors: int
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> str:
        """As text, to be sent between processes."""
        return strict_json.write([self.name, self.rows, self.errors, self.notes, self.seconds])

    @classmethod
    def from_json(cls, text: str) -> Written:
        """From the text of `to_json`."""
        name, rows, errors, notes, seconds = strict_json.read(text)
        return cls(name, rows, errors, tuple(notes), seconds)


def write_part(folder: Path, name: str, answers: Sequence[Answer]) -> None:
    """Write the answers of a shard; the file appears whole or not at all.

    Raises:
        BatchError: it cannot be written, as on a full disk.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([to_record(answer) for answer in answers], schema())
    # of this process alone: a worker that was thought dead may still write the same shard
    hidden = folder / PARTS / f"{HIDDEN}{socket.gethostname()}-{os.getpid()}-{name}"
    try:
        with hidden.open("wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            # without it a power failure could leave the renamed file empty
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(hidden, folder / PARTS / name)
    except OSError as error:
        raise BatchError(
            f"cannot write {folder / PARTS / name}: {error.strerror or error}. Nothing that was "
            "written before is lost: make room, and run the same command again"
        ) from error


def find_part(folder: Path, name: str) -> Written | None:
    """What a file has that was written before; None if there is none."""
    file = folder / PARTS / name
    if not file.exists():
        return None
    errors = read_columns(file, ["error"]).column("error")
    return Written(name, len(errors), len(errors) - errors.null_count)


def remove_unfinished(folder: Path) -> None:
    """Remove the hidden files of processes that were killed. The folder's lock must be held."""
    for file in (folder / PARTS).glob(f"{HIDDEN}*"):
        file.unlink(missing_ok=True)


def part_files(folder: Path) -> list[Path]:
    """All whole files, sorted."""
    return sorted((folder / PARTS).glob("part-*.parquet"))


def read_done(folder: Path) -> dict[bytes, bytes]:
    """Digest of the id -> digest of what was asked, of every row that has an answer.

    Raises:
        BatchError: a damaged file, or a row that was answered twice.
    """
    done: dict[bytes, bytes] = {}
    for file in part_files(folder):
        for id, asked in _asked(file):
            key = digest(id)
            if key in done:
                raise BatchError(
                    f"{file} answers {id!r}, and another file does, too. Remove one of the two; "
                    "its other rows are answered again at the next start"
                )
            done[key] = digest(asked)

    return done


def _asked(file: Path) -> Iterator[tuple[str, str]]:
    """The id of every row of a file, and what it asked, as `Row.digest` puts it together."""
    table = read_columns(file, ["id", "source", "question"])
    columns = [table.column(name).to_pylist() for name in table.column_names]
    for id, source, question in zip(*columns, strict=True):
        yield id, f"{source}\0{question}"


def read_columns(file: Path, columns: list[str]) -> Any:
    """Some columns of a file.

    Raises:
        BatchError: it is damaged.
    """
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file).read(columns=columns)
    except Exception as error:
        raise BatchError(
            f"{file} is damaged ({first_line(error)}). Remove it: its rows are answered again"
        ) from error
