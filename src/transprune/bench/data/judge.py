"""A language model that judges free answers: right or wrong, and 0 to 5.

The protocol is that of Video-ChatGPT (Maaz et al., ACL 2024): a judge sees question, right answer
and given answer, and says whether they mean the same. The words of the request are ours, so verdicts
may differ from those that the paper's words would get; `PROTOCOL` names them in every result. Any
OpenAI-compatible endpoint can be the judge, `transprune serve` too.
"""

from __future__ import annotations

import ast
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transprune.core.shown import shown
from transprune.errors import BenchError, MissingExtra
from transprune.models.source import first_line

PROTOCOL = "Video-ChatGPT, transprune's words, 1"
BEST = 5  # the highest grade
SECONDS = 60.0  # that one verdict may take
RETRIES = 3  # of a request that failed on its way
NEW_TOKENS = 64
KEY_VARIABLE = "OPENAI_API_KEY"

_TASK = (
    "You compare two answers to a question about a video: the correct one, and one that was given. "
    "They match if they mean the same thing; other words for it and more detail are no error. Reply "
    'with one JSON object and nothing else: {"pred": "yes", "score": 4}. "pred" is "yes" if the '
    'answers match and "no" if they do not; "score" is a whole number from 0 (no match at all) to 5 '
    "(a perfect match)."
)


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one answer.

    Attributes:
        right: whether it means the right answer.
        grade: 0 to 5.
    """

    right: bool
    grade: int


@dataclass(frozen=True)
class Judge:
    """An OpenAI-compatible endpoint.

    Attributes:
        url: its address, which ends with `/v1`.
        model: the model's name there.
    """

    url: str
    model: str

    def ask(self, question: str, right: str, given: str) -> Verdict:
        """The verdict on one answer.

        Raises:
            MissingExtra: openai is not installed.
            BenchError: no reply, or one that is no verdict. It is never taken as wrong.
        """
        try:
            reply = self._client.chat.completions.create(
                model=self.model,
                messages=judge_messages(question, right, given),
                temperature=0,
                max_tokens=NEW_TOKENS,
            )
            text = reply.choices[0].message.content or ""
        # what a client raises differs from release to release
        except Exception as error:
            raise BenchError(
                f"the judge {self.model} at {self.url} gave no reply ({first_line(error)})"
            ) from error
        return parse_verdict(text)

    @cached_property
    def _client(self) -> Any:
        try:
            from openai import OpenAI
        except ImportError as error:
            raise MissingExtra(
                "a judge is asked with openai's client: pip install 'transprune[reproduce]'"
            ) from error
        # an endpoint of one's own takes any key
        key = os.environ.get(KEY_VARIABLE) or "none"
        return OpenAI(base_url=self.url, api_key=key, timeout=SECONDS, max_retries=RETRIES)


def judge_messages(question: str, right: str, given: str) -> list[Any]:
    """The request about one answer."""
    asked = f"Question: {question}\nCorrect answer: {right}\nGiven answer: {given}"
    return [{"role": "system", "content": _TASK}, {"role": "user", "content": asked}]


def parse_verdict(text: str) -> Verdict:
    """The verdict in a judge's reply.

    Raises:
        BenchError: it holds none, or a grade that is not 0 to 5.
    """
    found = re.search(r"\{[^{}]*\}", text)
    data = _read(found.group()) if found else None
    if isinstance(data, dict):
        word = str(data.get("pred", "")).strip().lower()
        grade = _grade(data.get("score"))
        if word in ("yes", "no") and grade is not None:
            return Verdict(word == "yes", grade)

    raise BenchError(
        f'a verdict is {{"pred": "yes" or "no", "score": 0 to {BEST}}}; the judge replied {shown(text)}'
    )


def _read(text: str) -> Any:
    """An object as JSON, or as Python writes it: judges take both for the same."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return None


def _grade(value: Any) -> int | None:
    """A grade from 0 to 5, cut to a whole number; None for anything else."""
    try:
        grade = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None
    return grade if 0 <= grade <= BEST else None
