"""Records: one line of JSON per answer, appended as answers come, read back as typed objects.

A process killed at any moment leaves complete lines and at most one incomplete line at the end.
Continuing drops only that piece, so nothing is answered twice and nothing is overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from transprune.bench.data.manifest import (
    MANIFEST_FILE,
    Manifest,
    cannot_write,
    read_manifest,
)
from transprune.bench.data.record import Key
from transprune.bench.data.record import Record as Record
from transprune.bench.data.record import parse_lines as parse_lines
from transprune.core.lock import hold
from transprune.core.shown import shorten
from transprune.errors import RecordError

RECORDS_FILE = "records.jsonl"
PARTS = "records-*.part.jsonl"  # of processes that work together, until they are merged


@dataclass(frozen=True)
class Run:
    """A run, read from its folder.

    Attributes:
        folder: the folder.
        manifest: settings, conditions and tasks.
        records: the answers so far, oldest first.
        notes: sentences for the reader, such as that an incomplete line was left out.
    """

    folder: Path
    manifest: Manifest
    records: list[Record]
    notes: tuple[str, ...] = ()


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run; its folder is not changed.

    Raises:
        RecordError: no run there, or a damaged line that is not the last one, or one that does not
            belong to this run, named with its file and number.
    """
    place = Path(folder)
    manifest = read_manifest(place)
    file = place / RECORDS_FILE
    # without a file the run was stopped before its first answer
    try:
        content = file.read_bytes() if file.exists() else b""
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror or error}") from error

    lines, incomplete = _split_last_line(content)
    records = list(parse_lines(lines, file))
    _check_belonging(records, manifest, file)

    notes: tuple[str, ...] = ()
    if incomplete:
        notes = (f"{file}: the last record is incomplete and is left out",)
    return Run(place, manifest, records, notes)


def _check_belonging(records: Iterable[Record], manifest: Manifest, file: Path) -> None:
    """Raise RecordError for a record that is not about a question of this run."""
    tasks = {task.name for task in manifest.tasks}
    conditions = {condition.name for condition in manifest.conditions}
    images: dict[tuple[str, str], str] = {}  # question -> its image, the same in every condition

    for number, record in enumerate(records, start=1):
        problem = ""
        if record.task not in tasks:
            problem = f"task {record.task!r} is none of this run"
        elif record.condition not in conditions:
            problem = f"condition {record.condition!r} is none of this run"
        elif images.setdefault((record.task, record.item), record.image) != record.image:
            problem = f"question {record.item!r} had another image before"

        if problem:
            raise RecordError(
                f"{file}, line {number}: {shorten(problem)}; {MANIFEST_FILE} lists what is. "
                "Correct or remove the line by hand."
            )


class RecordLog:
    """`records.jsonl`, open for appending: it knows the keys in the file and adds complete lines.

    Opening drops an incomplete last line, which a killed process left. One process at a time can
    open the file; processes that work together each have a part of their own beside it, until
    `merge_parts`.

    Args:
        folder: of the run.
        part: number of the part; None for `records.jsonl`.

    Attributes:
        file: the path.
        keys: keys of all records in the file, and in `records.jsonl` when a part was opened.
        note: a sentence about the line that was dropped, or empty.

    Raises:
        RecordError: another process is writing this run, a line in the middle is damaged, or the
            file cannot be written.
    """

    def __init__(self, folder: Path, part: int | None = None) -> None:
        name = RECORDS_FILE if part is None else PARTS.replace("*", str(part))
        self.file = folder / name
        self.note = ""
        try:
            self._stream: IO[bytes] = self.file.open("ab+")
        except OSError as error:
            raise RecordError(cannot_write(self.file, error)) from error

        try:
            self.keys: set[Key] = self._lock_and_read()
            if part is not None:
                self.keys |= _read_keys(folder / RECORDS_FILE)
        except RecordError:
            self.close()
            raise

    def _lock_and_read(self) -> set[Key]:
        hold(self._stream, _busy(self.file))
        self._stream.seek(0)
        lines, incomplete = _split_last_line(self._stream.read())

        # parsed before anything is cut off, so that a damaged file stays as it is
        keys = {record.key for record in parse_lines(lines, self.file)}

        if incomplete:
            self._stream.truncate(len(lines))
            self.note = (
                f"{self.file}: the last record was incomplete ({len(incomplete)} bytes) and is "
                "dropped"
            )
        return keys

    def append(self, records: Iterable[Record]) -> None:
        """Write records at once and flush them to the system.

        Raises:
            RecordError: they cannot be written, as on a full disk.
        """
        new = list(records)
        text = "".join(record.to_json() + "\n" for record in new)

        # one write: a kill then leaves at most one incomplete line
        try:
            self._stream.write(text.encode("utf-8"))
            self._stream.flush()
        except OSError as error:
            raise RecordError(cannot_write(self.file, error)) from error
        self.keys.update(record.key for record in new)

    def close(self) -> None:
        """Close the file, which also releases its lock."""
        # every append is flushed, so only what failed to be written, and was said, is left
        with suppress(OSError):
            self._stream.close()

    def __enter__(self) -> RecordLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def merge_parts(folder: Path) -> int:
    """Move the records of all parts into `records.jsonl`; the number of new ones.

    A kill in between leaves parts whose records are there already; the next call knows them.

    Raises:
        RecordError: a file is damaged, cannot be written, or another process writes it.
    """
    parts = sorted(folder.glob(PARTS))
    if not parts:
        return 0

    new = 0
    with RecordLog(folder) as log:
        for file in parts:
            with file.open("rb") as stream:
                hold(stream, _busy(file))
                lines, _ = _split_last_line(stream.read())
            fresh = [one for one in parse_lines(lines, file) if one.key not in log.keys]
            log.append(fresh)
            new += len(fresh)
            file.unlink()
    return new


def _read_keys(file: Path) -> set[Key]:
    """The keys of the complete lines of a file; none where there is no file."""
    if not file.exists():
        return set()
    lines, _ = _split_last_line(file.read_bytes())
    return {record.key for record in parse_lines(lines, file)}


def check_free(folder: Path) -> None:
    """Check that no other process is writing the records of this folder; nothing is changed.

    Raises:
        RecordError: another process is writing them.
    """
    file = folder / RECORDS_FILE
    if file.exists():
        with file.open("rb") as stream:
            hold(stream, _busy(file))


def _busy(file: Path) -> RecordError:
    return RecordError(f"another process is writing {file}; wait for it, or choose another --out")


def _split_last_line(data: bytes) -> tuple[bytes, bytes]:
    """The complete lines, and an incomplete one after them (or nothing)."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]
