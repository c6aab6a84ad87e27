"""What is known of how right a method is: published on which model, measured where, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transprune.cli.suggest_measured import measured_table
from transprune.cli.suggest_published import LLAVA, PUBLISHED, Published
from transprune.nano import NANO

if TYPE_CHECKING:
    from transprune.cost.geometry import Geometry

# kinds of evidence, the strongest first
MEASURED_HERE = "measured on this model"
PUBLISHED_HERE = "published on this model"
PUBLISHED_ELSEWHERE = "published on another model"
BUNDLED_ONLY = "measured on the bundled model only"
NOTHING = "none"
KINDS = (MEASURED_HERE, PUBLISHED_HERE, PUBLISHED_ELSEWHERE, BUNDLED_ONLY, NOTHING)

# a figure at a cost so many times larger or smaller is no evidence for a budget, because answers
# fall steeply where little is left
NEAR = 1.3

SIZES = ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim")


@dataclass(frozen=True)
class Evidence:
    """The figures nearest to a budget, near enough to it (`NEAR`); nothing is interpolated.

    Attributes:
        kind: one of `KINDS`.
        published: the printed row, or None if none is near.
        budget: percent of the unpruned prefill (exact) at which it was measured here, or None.
        accuracy: what was measured there on the bundled model, relative to unpruned, or None.
    """

    kind: str
    published: Published | None
    budget: int | None
    accuracy: float | None

    @property
    def best(self) -> float:
        """The accuracy that orders methods with evidence of one kind; 0 without any."""
        if self.kind in (PUBLISHED_HERE, PUBLISHED_ELSEWHERE) and self.published is not None:
            return self.published.accuracy
        return self.accuracy or 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        measured = None
        if self.budget is not None:
            measured = {"model": NANO, "budget": self.budget, "accuracy": self.accuracy}
        published = None if self.published is None else self.published.to_dict()
        return {"kind": self.kind, "published": published, "measured": measured}


def find_evidence(
    method: str, model: str | None, budget: float, paper_share: float, *, bundled: bool
) -> Evidence:
    """The evidence for a method at a budget.

    Args:
        method: its name in `transprune suggest`.
        model: the published model it is asked for, None if it is none of these.
        budget: share of the unpruned prefill, `exact` convention.
        paper_share: what the method takes there in the `paper` convention, in which papers print.
        bundled: it is asked for the bundled model.
    """
    published = _nearest_published(method, model, paper_share)
    measured = _nearest_measured(method, budget)

    kind = NOTHING
    if bundled and measured is not None:
        kind = MEASURED_HERE
    elif published is not None:
        kind = PUBLISHED_HERE if published.model == model else PUBLISHED_ELSEWHERE
    elif measured is not None:
        kind = BUNDLED_ONLY

    at, accuracy = measured or (None, None)
    return Evidence(kind, published, at, accuracy)


def published_model(geometry: Geometry) -> str | None:
    """The model of the published tables with the sizes of this one, or None.

    A checkpoint that was fine-tuned from LLaVA-1.5-7B has its sizes.
    """
    from transprune.cost.geometry import GEOMETRIES

    same = []
    for known in GEOMETRIES.values():
        if all(getattr(known, size) == getattr(geometry, size) for size in SIZES):
            same.append(known)

    # three of the known models have one language model and differ in the picture alone
    if len(same) > 1:
        same = [known for known in same if known.visual_tokens == geometry.visual_tokens]
    return same[0].name if len(same) == 1 else None


def _nearest_published(method: str, model: str | None, share: float) -> Published | None:
    """The row with the nearest cost: on this model, else on LLaVA-1.5-7B, which has most rows."""
    for wanted in (model, LLAVA):
        rows = []
        for row in PUBLISHED:
            is_near = _times(row.share, 100 * share) <= NEAR
            if is_near and (row.method, row.model) == (method, wanted):
                rows.append(row)

        if rows:
            return min(rows, key=lambda row: _times(row.share, 100 * share))

    return None


def _nearest_measured(method: str, budget: float) -> tuple[int, float] | None:
    """The measured budget that is nearest, and the accuracy there."""
    figures = measured_table().get(method)
    if not figures:
        return None
    nearest = min(figures, key=lambda percent: _times(percent, 100 * budget))
    if _times(nearest, 100 * budget) > NEAR:
        return None
    return nearest, figures[nearest]


def _times(one: float, other: float) -> float:
    """How many times the larger of two costs is the smaller."""
    return max(one / other, other / one)
