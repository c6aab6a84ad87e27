"""Records: one line of JSON per answer, appended as they come, read back as typed objects.

A run killed at any moment leaves whole lines and at most one piece of a line at the end. Continuing drops that piece
and nothing else, so nothing is answered twice and nothing is overwritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from transprune.bench.data.manifest import SCHEMA, Certificate, build, read_certificate
from transprune.errors import RecordError

FILE = "records.jsonl"
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Record:
    """One answer.

    Attributes:
        condition: name of the condition it was given under.
        task, item: which question; an item's id is unique within its task.
        image: what the question is about; answers about one image are resampled together.
        family, kind: of the question, as the task tells them apart.
        question, answers: the text asked and the right answers.
        given: what the model said.
        score: 1 right, 0 wrong; in between for VQA-style scoring.
        method, method_repr, recipe: as in the condition; `method_repr` with the seed really used.
        budget: wanted share of the unpruned prefill, or None.
        exact_share, paper_share: measured on this prompt, from the tokens that were really kept.
        kept: boundary -> numbers of the visual tokens that stayed, ascending.
        visual_tokens: before pruning.
        kv_bytes: keys and values of this prompt, padding not counted.
        positions: what happened to the position ids of the survivors.
        model, dtype, attention, seed, versions: where the answer comes from.
        schema: version of this format.
    """

    condition: str
    task: str
    item: str
    image: str
    family: str
    kind: str
    question: str
    answers: tuple[str, ...]
    given: str
    score: float
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
    model: str
    dtype: str
    attention: str
    seed: int
    versions: dict[str, str]
    schema: int = field(default=SCHEMA, kw_only=True)

    @property
    def key(self) -> Key:
        """What makes it one of a kind in its run."""
        return self.condition, self.task, self.item

    def to_json(self) -> str:
        """One line, without its end."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Record:
        """The record of a line; ValueError, KeyError or TypeError if it is none."""
        data = json.loads(line)
        if data["schema"] > SCHEMA:
            raise ValueError(f"schema {data['schema']}, but this release reads up to {SCHEMA}")
        data["kept"] = {int(boundary): tokens for boundary, tokens in data["kept"].items()}
        return build(cls, data)


@dataclass(frozen=True)
class Run:
    """A run as it lies in its folder.

    Attributes:
        folder: where.
        certificate: what was asked.
        records: the answers so far, in the order they were given.
        notes: what a reader should know, such as a dropped piece of a line.
    """

    folder: Path
    certificate: Certificate
    records: list[Record]
    notes: tuple[str, ...] = ()


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run; its folder is not changed.

    Raises:
        RecordError: no run there, or a damaged line that is not the last one, named with its file and number.
    """
    place = Path(folder)
    certificate = read_certificate(place)
    file = place / FILE
    whole, piece = _split_tail(file.read_bytes() if file.exists() else b"")
    notes = (f"{file}: the last record was written half and is left out",) if piece else ()
    return Run(place, certificate, list(parse_lines(whole, file)), notes)


def parse_lines(data: bytes, file: Path) -> Iterator[Record]:
    """Records of whole lines.

    Raises:
        RecordError: a line that is no record, or a second record of one key.
    """
    seen: dict[Key, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            record = Record.from_json(line.decode("utf-8"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordError(
                f"{file}, line {number} is no record ({error!r}). Only a last line may be damaged, by a kill; mend or "
                "remove this one by hand."
            ) from error
        first = seen.setdefault(record.key, number)
        if first != number:
            raise RecordError(
                f"{file}, line {number} answers {record.key} again; line {first} did before"
            )
        yield record


class RecordLog:
    """The open end of `records.jsonl`: knows what is there, and appends whole lines.

    Opening drops a piece of a line that a kill left behind. One process at a time holds it.

    Raises:
        RecordError: another process is writing this run, or a damaged line in the middle.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE
        self.note = ""
        self._stream: IO[bytes] = self.file.open("ab+")
        try:
            self.keys: set[Key] = self._take_up()
        except RecordError:
            self.close()
            raise

    def _take_up(self) -> set[Key]:
        """Hold the file and read it; a piece at its end is dropped once all before it is known to be whole."""
        _lock(self._stream, self.file)
        self._stream.seek(0)
        whole, piece = _split_tail(self._stream.read())
        keys = {record.key for record in parse_lines(whole, self.file)}
        if piece:
            self._stream.truncate(len(whole))
            self.note = (
                f"{self.file}: the last record was written half ({len(piece)} bytes) and is dropped"
            )
        return keys

    def append(self, records: Iterable[Record]) -> None:
        """Write records in one go."""
        new = list(records)
        self._stream.write("".join(record.to_json() + "\n" for record in new).encode("utf-8"))
        self._stream.flush()
        self.keys.update(record.key for record in new)

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def __enter__(self) -> RecordLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def check_free(folder: Path) -> None:
    """Raise RecordError if another process is writing the records of this folder; nothing is changed."""
    file = folder / FILE
    if file.exists():
        with file.open("rb") as stream:
            _lock(stream, file)


def _split_tail(data: bytes) -> tuple[bytes, bytes]:
    """Whole lines, and what stands behind the last of them."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _lock(stream: IO[bytes], file: Path) -> None:
    """Hold the file for this process, where the system can (POSIX)."""
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
