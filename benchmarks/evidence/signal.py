"""How well every layer ranks tokens of objects above the background, with intervals.

The AUC of each layer is averaged over the questions about a picture, and pictures are resampled.
`ranking` measures it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transprune.bench.results.statistics import RESAMPLES, draw_weights, interval_of
from transprune.errors import BenchError

from .verdict import Floats, Measured

Values = Mapping[str, Floats]  # curve -> one AUC per layer, NaN where there is none

CHANCE = 0.5
TTV = "TTV, objects"
SUMMED = "TTV summed"
ACCUMULATED = "accumulation layers"


@dataclass(frozen=True)
class Curve:
    """AUC per layer from layer 1 on (IGA: at the boundary behind it), with 95 % intervals."""

    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def layers(self, *, above: bool) -> list[int]:
        """Layers, from 1 on, whose interval is above chance, or below it."""
        bounds = self.low if above else self.high
        found = []
        for layer, bound in enumerate(bounds, start=1):
            if (bound > CHANCE) if above else (bound < CHANCE):
                found.append(layer)
        return found


@dataclass(frozen=True)
class Signal:
    """What the layers of a model rank.

    Attributes:
        layers, tokens: of the model and of a picture.
        pictures, questions: what the curves are means of.
        observed: layers over which TransPrune accumulates, from 1 on.
        thirds: name -> layers of that third.
        curves: name -> AUC per layer.
    """

    layers: int
    tokens: int
    pictures: int
    questions: int
    observed: tuple[int, ...]
    thirds: dict[str, list[int]]
    curves: dict[str, Curve]


def over_chance(part: str) -> str:
    """Key of the comparison of a part of the layers with chance."""
    return f"TTV, {part}: AUC - 0.5"


def thirds_of(layers: int) -> dict[str, list[int]]:
    """Shallow, middle and deep layers, from 1 on; the first thirds get what is left over."""
    parts = np.array_split(np.arange(1, layers + 1), 3)
    return {
        name: part.tolist() for name, part in zip(("shallow", "middle", "deep"), parts, strict=True)
    }


def summarise(
    per_question: Sequence[Values],
    images: Sequence[str],
    observed: Sequence[int],
    tokens: int,
    resamples: int = RESAMPLES,
) -> tuple[Signal, dict[str, Measured]]:
    """Curves with intervals over pictures, and the comparisons with chance.

    Args:
        per_question: AUC of every layer, one mapping per question.
        images: name of each question's picture.
        observed: layers over which TransPrune accumulates, from 1 on.
        tokens: of a picture.
        resamples: of the pictures.
    """
    pictures = len(set(images))
    weights = draw_weights(pictures, resamples)
    resampled = {}
    for name in per_question[0]:
        resampled[name] = _weighted_mean(
            _by_picture([one[name] for one in per_question], images), weights
        )

    curves = {name: _curve(values) for name, values in resampled.items()}
    layers = resampled[TTV].shape[1]
    thirds = thirds_of(layers)
    counts = (pictures, len(images))

    found = {}
    for name, part in thirds.items():
        mean = resampled[TTV][:, [layer - 1 for layer in part]].mean(axis=1)
        found[over_chance(name)] = Measured.of(mean - CHANCE, *counts)
    found[over_chance(ACCUMULATED)] = Measured.of(resampled[SUMMED][:, 0] - CHANCE, *counts)

    signal = Signal(layers, tokens, *counts, tuple(observed), thirds, curves)
    return signal, found


def _by_picture(values: Iterable[Floats], images: Sequence[str]) -> Floats:
    """The mean over the questions of each picture that have a value, NaN if none has. -> [U, L]."""
    grouped: dict[str, list[Floats]] = defaultdict(list)
    for image, value in zip(images, values, strict=True):
        grouped[image].append(value)

    means = []
    for image in sorted(grouped):
        rows = np.stack(grouped[image])
        known = ~np.isnan(rows)
        count = known.sum(axis=0)
        total = np.where(known, rows, 0).sum(axis=0)
        means.append(np.where(count, total / np.maximum(count, 1), np.nan))
    return np.stack(means)


def _weighted_mean(values: Floats, weights: Floats) -> Floats:
    """The mean over pictures that have a value, in every resample. [U, L], [R + 1, U] -> [R + 1, L].

    Raises:
        BenchError: a layer without a value in some resample.
    """
    known = ~np.isnan(values)
    count = weights @ known.astype(float)
    if not count.all():
        raise BenchError(
            f"expected an AUC in every resample; only {known.sum(axis=0).min()} of {len(values)} "
            "pictures have one. Measure more pictures."
        )
    mean: Floats = (weights @ np.where(known, values, 0)) / count
    return mean


def _curve(resampled: Floats) -> Curve:
    intervals = [interval_of(column) for column in resampled.T]
    return Curve(
        tuple(one.value for one in intervals),
        tuple(one.low for one in intervals),
        tuple(one.high for one in intervals),
    )
