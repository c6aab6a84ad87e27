"""Questions from a file: JSON lines (or one JSON list) of image, question and answers.

    {"image": "pictures/1.png", "question": "what color is the cup?", "answers": ["red"]}
    {"image": ["a.png", "b.png"], "question": "same?", "answer": "yes", "id": "q2"}
    {"image": "1.png", "question": "which one?", "options": ["red", "blue"], "answer": "B"}

The fields of a question are described in `entry`. A bad line is reported with file and number and
left out; with `strict` the first one is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transprune.bench.data.metrics import METRICS
from transprune.bench.data.tasks.base import Item, Questions, Task
from transprune.bench.data.tasks.entry import Entry, build_entry
from transprune.core import strict_json
from transprune.core.shown import shown
from transprune.errors import ImageError, TaskError

NAMES = ("questions.jsonl", "questions.json")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HALF_LETTER = re.compile(rb"\\u[dD][89a-fA-F]")  # one of the two escapes that make a letter


def read_questions(source: Path, *, n: int | None = None, strict: bool = False) -> Questions:
    """The questions of a file, or of the file in a folder, at most `n`.

    Raises:
        TaskError: no such file, not UTF-8, no usable line, or with `strict` the first bad line.
    """
    file = _find(source)
    good: list[Entry] = []
    skipped: list[str] = []
    seen: dict[str, str] = {}  # id -> place in the file

    for place, data in _lines(file):
        if n is not None and len(good) == n:
            break
        try:
            good.append(_check(data, file, place, seen))
        except TaskError as error:
            if strict:
                raise
            skipped.append(str(error))

    if not good:
        reasons = "; ".join(skipped[:3]) or "the file is empty"
        raise TaskError(f"{file} has no usable question: {reasons}")

    # only now are all families known
    tasks, mixed = _group(good)
    if mixed and strict:
        raise TaskError(f"{file}: {mixed[0]}")
    return Questions(str(source), tasks, (*skipped, *mixed))


def _find(source: Path) -> Path:
    """The questions file that `source` names."""
    names = " or ".join(NAMES)
    try:
        if source.is_file():
            return source
        is_folder = source.is_dir()
    except OSError as error:  # a name too long, or a folder above it that cannot be entered
        raise TaskError(f"{source} cannot be read: {error.strerror}") from error

    if not is_folder:
        raise TaskError(
            f"no task at {source}: give 'nano', 'smol', a questions file, or a folder with {names}"
        )

    for name in NAMES:
        if (source / name).is_file():
            return source / name
    raise TaskError(f"{source} has no {names}")


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    """The place and the data of each entry; a ValueError instead of data that is not JSON."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TaskError(f"{file} cannot be read: {error.strerror}") from error

    # some editors write this mark, and JSON forbids it
    content = content.removeprefix(_BYTE_ORDER_MARK)

    if file.suffix == ".json":
        yield from _list_entries(file, content)
        return

    # not splitlines(), which also splits at characters that JSON allows inside a text
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield f"line {number}", _parse(line)


def _list_entries(file: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    data = _parse(content)
    if isinstance(data, ValueError):
        raise TaskError(f"{file}: {_reason(data)}")
    if not isinstance(data, list):
        raise TaskError(f"{file} must be a list of questions; got {type(data).__name__}")

    for number, entry in enumerate(data, start=1):
        yield f"entry {number}", entry


def _parse(text: bytes) -> Any:
    """JSON data, or the error: one bad line must not end the loop over the lines."""
    try:
        data = strict_json.read(text)
        # half a letter has no bytes, so no tokenizer and no file could take it
        if _HALF_LETTER.search(text):
            json.dumps(data, ensure_ascii=False).encode("utf-8")
        return data
    except UnicodeEncodeError:
        return ValueError("a text holds half a letter, as \\ud83d without \\ude00; write both")
    except ValueError as error:
        return error


def _reason(error: ValueError) -> str:
    return f"not JSON ({error})"


def _check(data: Any, file: Path, place: str, seen: dict[str, str]) -> Entry:
    """The entry at `place`, checked; its id is added to `seen`.

    Raises:
        TaskError: it cannot be used; file, place and reason are named.
    """
    if isinstance(data, ValueError):
        raise TaskError(f"{file}, {place}: {_reason(data)}") from data

    try:
        entry = build_entry(data, file, place)
    except (ValueError, ImageError) as error:
        raise TaskError(f"{file}, {place}: {error}") from error

    # records are identified by these ids
    first = seen.setdefault(entry.item.id, place)
    if first != place:
        raise TaskError(f"{file}, {place}: id {shown(entry.item.id)} was used on {first} already")
    return entry


def _group(good: list[Entry]) -> tuple[tuple[Task, ...], list[str]]:
    """Tasks by family, and a sentence about each question that was left out.

    The first question of a family decides its metric; questions with another are left out.
    """
    metrics: dict[str, str] = {}
    items: dict[str, list[Item]] = {}
    mixed = []

    for entry in good:
        metric = metrics.setdefault(entry.task, entry.metric)
        if metric == entry.metric:
            items.setdefault(entry.task, []).append(entry.item)
        else:
            mixed.append(
                f"question {shown(entry.item.id)}: metric {entry.metric}, but its family "
                f"{shown(entry.task)} has {metric}"
            )

    tasks = [Task(name, METRICS[metrics[name]], tuple(kept)) for name, kept in items.items()]
    return tuple(tasks), mixed
