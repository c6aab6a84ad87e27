"""How well a score ranks some tokens above all others."""

from __future__ import annotations

import numpy as np

from transprune.report.insight import Bools, Floats, Insight


def auc(scores: Floats, positive: Bools) -> float:
    """Area under the ROC curve: the chance that a positive token scores higher than another one.

    Ties count half (Mann-Whitney). NaN if all tokens are of one class.

    Args:
        scores: [N].
        positive: bool [N].
    """
    positives = scores[positive]
    negatives = np.sort(scores[~positive])
    if not len(positives) or not len(negatives):
        return float("nan")

    # a negative below counts twice, a tie once; hence the 2 in the denominator
    below = np.searchsorted(negatives, positives, side="left")
    up_to = np.searchsorted(negatives, positives, side="right")
    return float((below + up_to).sum() / (2 * len(positives) * len(negatives)))


def layer_aucs(insight: Insight, objects: Bools, target: Bools) -> dict[str, list[float]]:
    """Mean AUC over the questions, per layer, for both criteria and two sets of positive tokens.

    Args:
        insight: the measurements.
        objects: bool [Q, N], tokens that show any object.
        target: bool [Q, N], tokens that show the object the question is about.

    Returns:
        `"TTV, objects"` and `"TTV, asked"` for layers 1..L; `"IGA, objects"` and `"IGA, asked"` for
        boundaries 1..L-1.
    """
    criteria = {"TTV": insight.ttv, "IGA": insight.iga}
    positives = {"objects": objects, "asked": target}

    curves: dict[str, list[float]] = {}
    for criterion, scores in criteria.items():
        for name, positive in positives.items():
            layers = range(scores.shape[1])
            curves[f"{criterion}, {name}"] = [
                _mean_auc(scores[:, layer], positive) for layer in layers
            ]
    return curves


def _mean_auc(scores: Floats, positive: Bools) -> float:
    """Mean over the questions that have an AUC; both [Q, N]."""
    values = np.array([auc(*row) for row in zip(scores, positive, strict=True)])
    # a question about an object that is not there has no target tokens, hence no AUC
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
