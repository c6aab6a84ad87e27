"""One entry of a questions file: its fields, checked, as an `Item`.

Needed: `image` (a path or a list of paths, relative to the file), `question`, and `answer` (a text)
or `answers` (a list of texts). Optional:

    id        default: the number of the line
    family    the task the question belongs to, default `questions`
    kind      for statistics; for a POPE negative its split
    options   a list, or letter -> text; appended to the question as `A red B blue`
    metric    `exact_match`, `vqa`, `pope` or `mc`; default `mc` with options, `vqa` with ten
              answers, else `exact_match`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from transprune.bench.data.metrics import GENERAL_METRICS, SPLITS
from transprune.bench.data.tasks.base import Item
from transprune.core.shown import shown
from transprune.models.images import open_image
from transprune.registry import did_you_mean

FIELDS = ("id", "image", "question", "answer", "answers", "family", "kind", "options", "metric")
DEFAULT_FAMILY = "questions"
VQA_ANSWERS = 10  # people who answered each question of VQA


@dataclass(frozen=True)
class Entry:
    """A usable entry: the question, its task and its metric by name."""

    task: str
    metric: str
    item: Item


def build_entry(data: Any, file: Path, place: str) -> Entry:
    """The entry that `data` describes; `place` ends with its number.

    Raises:
        ValueError: it cannot be used; the message is the reason.
        ImageError: an image that cannot be read.
    """
    _check_fields(data)
    question = _text(data, "question")
    options = _options(data.get("options"))
    answers = _answers(data)
    kind = _name(data, "kind")

    metric = _metric(data, options, answers, kind)
    if metric == "mc":
        answers = (_letter(answers[0], options),)

    # names stay as written: they tell which questions share a picture
    images = _images(data.get("image"))
    files = [file.parent / image for image in images]
    for image in files:
        _check_image(image)

    family = _name(data, "family") or DEFAULT_FAMILY
    option_texts = [f"{letter} {text}" for letter, text in options.items()]
    item = Item(
        id=_name(data, "id") or place.split()[-1],
        image="|".join(images),
        pictures=tuple(partial(open_image, image) for image in files),
        question=" ".join([question, *option_texts]),
        answers=answers,
        family=family,
        kind=kind,
    )
    return Entry(family, metric, item)


def _check_fields(data: Any) -> None:
    if not isinstance(data, Mapping):
        needed = ", ".join(FIELDS[1:5])
        got = type(data).__name__
        raise ValueError(f"a question is an object with {needed}; got {got}")  # noqa: TRY004

    # a misspelt field would otherwise count as missing, without a word
    for name in data:
        if name not in FIELDS:
            hint = did_you_mean(str(name)[:100], FIELDS)
            raise ValueError(f"unknown field {shown(name)}.{hint} Known: {', '.join(FIELDS)}")


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be text; got {shown(value)}")
    return value.strip()


def _name(data: Mapping[str, Any], field: str) -> str:
    """A short text or a whole number as text; empty where the field is missing or null."""
    value = data.get(field)
    if value is None:
        return ""

    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not isinstance(value, str):
        raise ValueError(f"{field} must be text or a whole number; got {shown(value)}")
    return str(value)


def _answers(data: Mapping[str, Any]) -> tuple[str, ...]:
    if ("answer" in data) == ("answers" in data):
        raise ValueError("give either 'answer' (text) or 'answers' (a list of texts)")

    values = data.get("answers", [data.get("answer")])
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list) or not values:
        raise ValueError(f"answers must be a list of texts, at least one; got {shown(values)}")

    texts: list[str] = []
    for value in values:
        # counts are often written as numbers; True is an int too, but not a count
        is_count = isinstance(value, int) and not isinstance(value, bool)
        text = str(value) if is_count else value
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"answers must be texts, none empty; got {shown(values)}")
        texts.append(text.strip())
    return tuple(texts)


def _options(value: Any) -> dict[str, str]:
    """Upper-case letter -> text; empty for a question without options."""
    if value is None:
        return {}

    named = value
    if isinstance(value, list) and len(value) <= len(ascii_uppercase):
        named = dict(zip(ascii_uppercase, value, strict=False))

    usable = isinstance(named, Mapping) and len(named) >= 2
    if not usable or not all(isinstance(text, str) for text in named.values()):
        raise ValueError(
            f"options must be a list of 2 to {len(ascii_uppercase)} texts, or letter -> text; got "
            f"{shown(value)}"
        )

    options = {str(letter).upper(): text for letter, text in named.items()}
    if len(options) < len(named):
        raise ValueError(f"each option needs a letter of its own; got {shown(value)}")
    return options


def _metric(
    data: Mapping[str, Any], options: Mapping[str, str], answers: tuple[str, ...], kind: str
) -> str:
    """The metric that is given, else the usual one."""
    metric = _name(data, "metric") or _usual_metric(options, answers)
    if metric not in GENERAL_METRICS:
        hint = did_you_mean(metric[:100], GENERAL_METRICS)
        raise ValueError(f"no metric {shown(metric)}.{hint} Known: {', '.join(GENERAL_METRICS)}")

    # POPE averages over the splits of its negatives, so each needs one
    if metric == "pope" and answers[0].lower() == "no" and kind not in SPLITS:
        splits = ", ".join(SPLITS)
        raise ValueError(
            f"a POPE question answered 'no' needs a kind, one of {splits}; got {shown(kind)}"
        )
    return metric


def _usual_metric(options: Mapping[str, str], answers: tuple[str, ...]) -> str:
    if options:
        return "mc"
    if len(answers) == VQA_ANSWERS:
        return "vqa"
    return "exact_match"


def _letter(answer: str, options: Mapping[str, str]) -> str:
    """The letter of the right option, which the file gives as its letter or as its text."""
    letter = answer.upper()
    if not options:
        if len(answer) == 1 and letter in ascii_uppercase:
            return letter
        raise ValueError(f"a multiple-choice answer is a letter; got {shown(answer)}")

    if letter in options:
        return letter

    # two options with the same text would make the answer ambiguous
    named = [name for name, text in options.items() if text == answer]
    if len(named) != 1:
        raise ValueError(
            f"the answer must be one of the options {shown(dict(options))}; got {shown(answer)}"
        )
    return named[0]


def _images(value: Any) -> list[str]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"image must be a path or a list of paths; got {shown(value)}")
    return names


@cache
def _check_image(image: Path) -> None:
    """Decode the file once, so that a damaged image is found now and not after an hour of answers.

    Raises:
        ImageError: it cannot be read to its last byte.
    """
    open_image(image)
