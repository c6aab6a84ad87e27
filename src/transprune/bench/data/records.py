"""Records: one line of JSON per answer, appended as answers come, read back as typed objects.

A process killed at any moment leaves complete lines and at most one incomplete line at the end.
Continuing drops only that piece, so nothing is answered twice and nothing is overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from transprune.bench.data.manifest import (
    MANIFEST_FILE,
    SCHEMA,
    Manifest,
    cannot_write,
    check_schema,
    read_manifest,
)
from transprune.bench.data.typed import build
from transprune.core import strict_json
from transprune.core.shown import shorten, shown
from transprune.errors import RecordError

RECORDS_FILE = "records.jsonl"
Key = tuple[str, str, str]  # condition, task, item


@dataclass(frozen=True)
class Record:
    """One answer.

    Attributes:
        condition: name of the condition it was given under.
        task, item: which question; an item's id is unique within its task.
        image: the image of the question; answers about one image are resampled together.
        family, kind: sort of the question, as its task defines them.
        question, answers: the text of the question and the right answers.
        given: the model's answer.
        score: 1 right, 0 wrong; in between for VQA-style scoring.
        method, method_repr, recipe: as in the condition; `method_repr` with the seed really used.
        budget: requested share of the unpruned prefill, or None.
        exact_share, paper_share: measured on this prompt, from the tokens that were really kept.
        kept: boundary -> indices of the visual tokens that stayed, ascending.
        visual_tokens: before pruning.
        kv_bytes: keys and values of this prompt, padding not counted.
        positions: policy for the position ids of the kept tokens.
        model, dtype, attention, seed, versions: where the answer comes from.
        schema: version of this format.
    """

    # the question and its condition
    condition: str
    task: str
    item: str
    image: str
    family: str
    kind: str
    question: str
    answers: tuple[str, ...]

    # the answer
    given: str
    score: float

    # the method, as planned and as it ran
    method: str
    method_repr: str
    recipe: dict[str, Any] | None
    budget: float | None
    exact_share: float
    paper_share: float
    kept: dict[int, list[int]]
    visual_tokens: int
    kv_bytes: int
    positions: str

    # provenance
    model: str
    dtype: str
    attention: str
    seed: int
    versions: dict[str, str]
    schema: int = field(default=SCHEMA, kw_only=True)

    @property
    def key(self) -> Key:
        """Condition, task and item, which together are unique in a run."""
        return self.condition, self.task, self.item

    def to_json(self) -> str:
        """The record as one line, without the line end."""
        # no spaces after separators: `kept` is a long list of indices
        return strict_json.write(asdict(self), compact=True)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """The record of a line; ValueError, KeyError or TypeError if the line is not a record."""
        data = strict_json.read(line)
        if check_schema(data["schema"]) > SCHEMA:
            raise ValueError(f"schema {data['schema']}, but this release reads up to {SCHEMA}")

        # JSON has text keys only
        data["kept"] = {int(boundary): tokens for boundary, tokens in data["kept"].items()}
        return build(cls, data)


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


def parse_lines(data: bytes, file: Path) -> Iterator[Record]:
    """Records of complete lines; `file` is named in errors.

    Raises:
        RecordError: a line that is not a record, or a second record with the same key.
    """
    seen: dict[Key, int] = {}

    for number, line in enumerate(data.splitlines(), start=1):
        try:
            record = Record.from_json(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(
                f"{file}, line {number} is not a record ({error!r}). A killed run can damage the "
                "last line only; correct or remove this one by hand."
            ) from error

        # two answers to one question would count twice in every mean
        first = seen.setdefault(record.key, number)
        if first != number:
            raise RecordError(
                f"{file}, line {number} answers {shown(record.key)} again; line {first} did before"
            )
        yield record


class RecordLog:
    """`records.jsonl`, open for appending: it knows the keys in the file and adds complete lines.

    Opening drops an incomplete last line, which a killed process left. One process at a time can
    open the file.

    Attributes:
        file: the path.
        keys: keys of all records in the file.
        note: a sentence about the line that was dropped, or empty.

    Raises:
        RecordError: another process is writing this run, a line in the middle is damaged, or the
            file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / RECORDS_FILE
        self.note = ""
        try:
            self._stream: IO[bytes] = self.file.open("ab+")
        except OSError as error:
            raise RecordError(cannot_write(self.file, error)) from error

        try:
            self.keys: set[Key] = self._lock_and_read()
        except RecordError:
            self.close()
            raise

    def _lock_and_read(self) -> set[Key]:
        _lock(self._stream, self.file)
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


def check_free(folder: Path) -> None:
    """Check that no other process is writing the records of this folder; nothing is changed.

    Raises:
        RecordError: another process is writing them.
    """
    file = folder / RECORDS_FILE
    if file.exists():
        with file.open("rb") as stream:
            _lock(stream, file)


def _split_last_line(data: bytes) -> tuple[bytes, bytes]:
    """The complete lines, and an incomplete one after them (or nothing)."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _lock(stream: IO[bytes], file: Path) -> None:
    """Lock the file for this process, where the system can (POSIX)."""
    try:
        import fcntl
    except ImportError:  # Windows: two writers are not noticed
        return

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise RecordError(
            f"another process is writing {file}; wait for it, or choose another --out"
        ) from error
