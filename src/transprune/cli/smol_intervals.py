"""How sure the figures of `transprune smol evaluate` are: 95 % intervals over scenes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from transprune.bench.data.metrics import Floats
from transprune.bench.results.statistics import (
    Interval,
    difference_of,
    draw_weights,
    holm,
    interval_of,
)
from transprune.nano.evaluate import Tally
from transprune.smol.evaluate import Scores


def with_intervals(scores: Scores, blank: Scores) -> dict[str, Any]:
    """What `Scores.to_dict` has, how sure it is, and how it compares with grey pictures.

    Args:
        scores: with the pictures.
        blank: of the same questions about grey pictures.

    Returns:
        `scores.to_dict()` with `low` and `high` of every category and of the mean
        (`mean_interval`), percent; `blank`, the other's; and `over_blank`, see there.
    """
    found = scores.to_dict()
    resampled = {category: _percent(scores, category) for category in scores.categories}
    for category, values in resampled.items():
        found["categories"][category] |= _ends(interval_of(_asked(values)))

    mean = np.nanmean(np.stack([*resampled.values()]), axis=0)
    found["mean_interval"] = _ends(interval_of(mean))
    return {**found, "blank": blank.to_dict(), "over_blank": over_blank(scores, blank)}


def over_blank(scores: Scores, blank: Scores) -> dict[str, dict[str, Any]]:
    """How much better questions are answered than the same ones about grey pictures.

    Returns:
        Category -> `value`, `low`, `high` in points, and `seen`: whether it is better also after
        Holm's correction over the categories.
    """
    differences = {}
    for category in scores.categories:
        paired = _percent(scores, category) - _percent(blank, category)
        differences[category] = difference_of(_asked(paired), scores.scenes)

    corrected = holm([difference.p for difference in differences.values()])
    found: dict[str, dict[str, Any]] = {}
    for (category, difference), p in zip(differences.items(), corrected, strict=True):
        sure = replace(difference, holm_p=p).sure
        seen = sure and difference.verdict == "better"
        found[category] = {"value": round(difference.value, 2), **_ends(difference), "seen": seen}
    return found


def _percent(scores: Scores, category: str) -> Floats:
    """Percent right in the sample and in every resample of scenes; NaN where none is asked."""
    tallies = [scene.get(category, Tally(0, 0)) for scene in scores.by_scene]
    counts = np.array([(tally.right, tally.asked) for tally in tallies], dtype=float)  # [S, 2]

    # the same resamples for every condition, which pairs them
    right, asked = (draw_weights(scores.scenes) @ counts).T
    with np.errstate(invalid="ignore"):
        return 100 * right / asked


def _asked(values: Floats) -> Floats:
    """Without the resamples that have no question of the category."""
    return values[~np.isnan(values)]


def _ends(interval: Interval) -> dict[str, float]:
    return {"low": round(interval.low, 2), "high": round(interval.high, 2)}
