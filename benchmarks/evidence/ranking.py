"""Measure on a test bed how well every layer ranks tokens.

One unpruned pass per question gives TTV and IGA of every layer (`transprune.report.insight`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transprune.bench.results.statistics import RESAMPLES
from transprune.bench.run.prepared import PreparedQuestions
from transprune.methods.transprune import TransPrune
from transprune.report.auc import auc
from transprune.report.insight import Insight, measure

from .bed import Bools, Seen, TestBed
from .signal import SUMMED, TTV, Signal, Values, summarise
from .verdict import Floats, Measured

MODULES = ("attention", "FFN")
TOGETHER = 32  # questions measured at once, which bounds the memory


def measure_signal(bed: TestBed, resamples: int = RESAMPLES) -> tuple[Signal, dict[str, Measured]]:
    """Run the bed's questions unpruned and rank the tokens of every layer.

    Args:
        bed: model and questions.
        resamples: of the pictures.
    """
    seen = bed.seen()
    prepared = PreparedQuestions(bed.checkpoint, [one.item for one in seen])
    observed = TransPrune.high().observed(prepared.geometry.layers)

    per_question: list[Values] = []
    for start in range(0, len(seen), TOGETHER):
        part = seen[start : start + TOGETHER]
        insight = measure(prepared, [one.item for one in part])
        for row, one in enumerate(part):
            per_question.append(rank(insight, row, one, observed))

    images = [one.item.image for one in seen]
    return summarise(per_question, images, observed, len(seen[0].objects), resamples)


def rank(insight: Insight, row: int, one: Seen, observed: Sequence[int]) -> Values:
    """The AUC of every layer for one question."""
    ttv = insight.ttv[row]  # [L, N]
    summed = ttv[[layer - 1 for layer in observed]].sum(axis=0, keepdims=True)  # [1, N]
    values = {
        TTV: _per_layer(ttv, one.objects),
        SUMMED: _per_layer(summed, one.objects),
        "IGA, objects": _per_layer(insight.iga[row], one.objects),
        "IGA, asked": _per_layer(insight.iga[row], one.asked),
    }

    for number, module in enumerate(MODULES):
        magnitude = insight.magnitude[row][:, number]  # [L, N]
        direction = 1 - np.abs(insight.cosine[row][:, number])
        values[f"{module} magnitude"] = _per_layer(magnitude, one.objects)
        values[f"{module} direction"] = _per_layer(direction, one.objects)
    return values


def _per_layer(scores: NDArray[np.float32], positive: Bools) -> Floats:
    """AUC of every layer. [L, N], [N] -> [L]."""
    return np.array([auc(layer, positive) for layer in scores])
