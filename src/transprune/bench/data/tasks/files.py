"""Questions from a file: JSON lines (or one JSON list) of image, question and answers.

    {"image": "pictures/1.png", "question": "what color is the cup?", "answers": ["red"]}
    {"image": ["a.png", "b.png"], "question": "same?", "answer": "yes", "id": "q2", "family": "pairs"}
    {"image": "1.png", "question": "which one?", "options": ["red", "blue"], "answer": "B"}

Optional: `id` (else the line's number), `family` (the task it belongs to, else `questions`), `kind`, `options`
(a list, or letter -> text; put behind the question as `A red B blue`), `metric` (`exact_match`, `vqa`, `pope`, `mc`; by
itself `mc` with options, `vqa` with ten answers, else `exact_match`). Image paths are relative to the file.

A bad line is reported with file and number and left out, the rest carries on; strictly, the first one is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from transprune.bench.data.metrics import METRICS, SPLITS
from transprune.bench.data.tasks.base import Item, Questions, Task
from transprune.errors import ImageError, TaskError
from transprune.models.images import open_image
from transprune.registry import did_you_mean

NAMES = ("questions.jsonl", "questions.json")
FIELDS = ("id", "image", "question", "answer", "answers", "family", "kind", "options", "metric")
VQA_ANSWERS = 10


@dataclass(frozen=True)
class _Read:
    """A good line."""

    task: str
    metric: str
    item: Item


def read_questions(source: Path, *, n: int | None = None, strict: bool = False) -> Questions:
    """The questions of a file, or of the folder it lies in, at most `n`.

    Raises:
        TaskError: no such file, not UTF-8, no usable line, or (strictly) the first bad one.
    """
    file = _find(source)
    good: list[_Read] = []
    skipped: list[str] = []
    seen: dict[str, str] = {}
    for place, data in _lines(file):
        if n is not None and len(good) == n:
            break
        try:
            good.append(_read(data, file, place, seen))
        except TaskError as error:
            if strict:
                raise
            skipped.append(str(error))
    if not good:
        reasons = "; ".join(skipped[:3]) or "the file is empty"
        raise TaskError(f"{file} has no usable question: {reasons}")
    tasks, mixed = _group(good)
    if mixed and strict:
        raise TaskError(f"{file}: {mixed[0]}")
    return Questions(str(source), tasks, (*skipped, *mixed))


def _find(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise TaskError(
            f"no task at {source}: give 'nano', a questions file, or a folder with {' or '.join(NAMES)}"
        )
    found = [source / name for name in NAMES if (source / name).is_file()]
    if not found:
        raise TaskError(f"{source} has no {' or '.join(NAMES)}")
    return found[0]


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    """Each entry with the place it stands at; what is no JSON comes as the error itself."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TaskError(f"{file} cannot be read: {error.strerror}") from error
    content = content.removeprefix(b"\xef\xbb\xbf")  # the mark some editors put in front
    if file.suffix == ".json":
        yield from _entries(file, content)
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield f"line {number}", _parse(line)


def _entries(file: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    data = _parse(content)
    if isinstance(data, ValueError):
        raise TaskError(f"{file}: {_why(data)}")
    if not isinstance(data, list):
        raise TaskError(f"{file} must be a list of questions; got {type(data).__name__}")
    for number, entry in enumerate(data, start=1):
        yield f"entry {number}", entry


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError both are
        return error


def _why(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return (
            f"not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}); save it as UTF-8"
        )
    return f"not JSON ({error})"


def _read(data: Any, file: Path, place: str, seen: dict[str, str]) -> _Read:
    """A checked line. Raises TaskError with file and place."""

    def bad(reason: str) -> TaskError:
        return TaskError(f"{file}, {place}: {reason}")

    if isinstance(data, ValueError):
        raise bad(_why(data))
    if not isinstance(data, Mapping):
        raise bad(
            f"a question is an object with {', '.join(FIELDS[1:5])}; got {type(data).__name__}"
        )
    for name in data:
        if name not in FIELDS:
            raise bad(
                f"unknown field {name!r}.{did_you_mean(str(name), FIELDS)} Known: {', '.join(FIELDS)}"
            )
    try:
        read = _build(data, file, place)
    except (ValueError, ImageError) as error:
        raise bad(str(error)) from error
    first = seen.setdefault(read.item.id, place)
    if first != place:
        raise bad(f"id {read.item.id!r} was used on {first} already")
    return read


def _build(data: Mapping[str, Any], file: Path, place: str) -> _Read:
    """Raises ValueError or ImageError with the reason."""
    question, options = _text(data, "question"), _options(data.get("options"))
    answers = _answers(data)
    metric = str(data.get("metric") or _usual_metric(options, answers))
    if metric not in METRICS:
        raise ValueError(
            f"no metric {metric!r}.{did_you_mean(metric, METRICS)} Known: {', '.join(METRICS)}"
        )
    if metric == "mc":
        answers = (_letter(answers[0], options),)
    kind = str(data.get("kind", ""))
    if metric == "pope" and answers[0].lower() == "no" and kind not in SPLITS:
        raise ValueError(
            f"a POPE question answered 'no' needs a kind, one of {', '.join(SPLITS)}; got {kind!r}"
        )
    images = _images(data.get("image"))
    files = [file.parent / image for image in images]
    for image in files:
        _check_image(image)
    family = str(data.get("family") or "questions")
    asked = " ".join([question, *(f"{letter} {text}" for letter, text in options.items())])
    item = Item(
        id=str(data.get("id", place.split()[-1])),
        image="|".join(images),
        pictures=tuple(partial(open_image, image) for image in files),
        question=asked,
        answers=answers,
        family=family,
        kind=kind,
    )
    return _Read(family, metric, item)


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be text; got {value!r}")
    return value.strip()


def _answers(data: Mapping[str, Any]) -> tuple[str, ...]:
    if ("answer" in data) == ("answers" in data):
        raise ValueError("give either 'answer' (text) or 'answers' (a list of texts)")
    value = data.get("answers", [data.get("answer")])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values:
        raise ValueError(f"answers must be a list of texts, at least one; got {values!r}")
    texts = [
        str(answer) if isinstance(answer, int) and not isinstance(answer, bool) else answer
        for answer in values
    ]
    if not all(isinstance(answer, str) and answer.strip() for answer in texts):
        raise ValueError(f"answers must be texts, none empty; got {values!r}")
    return tuple(answer.strip() for answer in texts)


def _options(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    named = dict(zip(ascii_uppercase, value, strict=False)) if isinstance(value, list) else value
    if (
        not isinstance(named, Mapping)
        or len(named) < 2
        or not all(isinstance(text, str) for text in named.values())
    ):
        raise ValueError(
            f"options must be a list of at least two texts, or letter -> text; got {value!r}"
        )
    return {str(letter).upper(): text for letter, text in named.items()}


def _letter(answer: str, options: Mapping[str, str]) -> str:
    """The right option's letter, given as the letter or as its text."""
    if not options:
        if len(answer) == 1 and answer.upper() in ascii_uppercase:
            return answer.upper()
        raise ValueError(f"a multiple-choice answer is a letter; got {answer!r}")
    if answer.upper() in options:
        return answer.upper()
    named = [letter for letter, text in options.items() if text == answer]
    if len(named) != 1:
        raise ValueError(f"the answer must be one of the options {dict(options)}; got {answer!r}")
    return named[0]


def _usual_metric(options: Mapping[str, str], answers: tuple[str, ...]) -> str:
    if options:
        return "mc"
    return "vqa" if len(answers) == VQA_ANSWERS else "exact_match"


def _images(value: Any) -> list[str]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"image must be a path or a list of paths; got {value!r}")
    return names


@cache
def _check_image(image: Path) -> None:
    """Raises ImageError unless the file is a picture to its last byte; better now than after an hour of answers."""
    open_image(image)


def _group(good: list[_Read]) -> tuple[tuple[Task, ...], list[str]]:
    """Tasks by family; a question whose metric is not that of its family is left out, with the reason."""
    metrics: dict[str, str] = {}
    items: dict[str, list[Item]] = {}
    mixed = []
    for read in good:
        metric = metrics.setdefault(read.task, read.metric)
        if metric == read.metric:
            items.setdefault(read.task, []).append(read.item)
        else:
            mixed.append(
                f"question {read.item.id!r}: metric {read.metric}, but its family {read.task!r} has {metric}"
            )
    return tuple(
        Task(name, METRICS[metrics[name]], tuple(kept)) for name, kept in items.items()
    ), mixed
