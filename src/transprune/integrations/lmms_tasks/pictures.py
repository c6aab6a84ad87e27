"""Prompts and metrics of the tasks about pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.base import Asked
from transprune.bench.data.metrics import METRICS

Doc = Mapping[str, Any]


@dataclass(frozen=True)
class Answered:
    """One answer, as a metric reads it."""

    given: str
    answers: tuple[str, ...]
    kind: str
    item: str
    score: float


def picture(doc: Doc) -> list[Any]:
    """The picture of a row, in RGB."""
    return [doc["image"].convert("RGB")]


def textvqa_question(doc: Doc, lmms_eval_specific_kwargs: Any = None) -> str:
    """The question with its OCR tokens."""
    return _asked("textvqa", doc).question


def pope_question(doc: Doc, lmms_eval_specific_kwargs: Any = None) -> str:
    """The question, to be answered in a word."""
    return _asked("pope", doc).question


def textvqa_results(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """VQA accuracy of one answer."""
    return {"exact_match": answered("textvqa", doc, results[0]).score}


def pope_results(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """One answer, for the mean over all."""
    return {"pope_mean_f1": answered("pope", doc, results[0])}


def pope_mean_f1(results: Sequence[Answered]) -> float:
    """Mean F1 of the splits that there are, 0 to 1."""
    metric = METRICS["pope"]
    totals = np.sum([metric.tally(one) for one in results], axis=0)
    return float(metric.score(totals))


def answered(name: str, doc: Doc, given: str) -> Answered:
    """An answer to a row of a benchmark, with its score."""
    asked = _asked(name, doc)
    score = METRICS[BENCHMARKS[name].metric].grade(given, asked.answers)
    return Answered(given, asked.answers, asked.kind, asked.id, score)


def _asked(name: str, doc: Doc) -> Asked:
    asked = BENCHMARKS[name].ask(doc)
    assert asked is not None
    return asked
