"""FitPrune: in every layer drop what received least attention, in numbers fitted beforehand."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from transprune.core.schedule import Schedule, ScheduleLike
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.errors import MethodError
from transprune.methods.common.method import Fidelity, Positions
from transprune.methods.common.recipe import register
from transprune.methods.common.scheduled import ScheduledPruner

TOKENS = 576  # of LLaVA-1.5, for which the released tables count

# released code, LLaVA-1.5-7B: how many tokens each of the 32 layers deletes
DELETED_40 = "0 1 21 13 14 11 41 53 29 15 14 5 1 4 5 1 26 1 13 28 6 27 2 1 0 0 1 1 2 0 0 0"
DELETED_60 = "14 33 89 36 36 20 55 21 18 4 7 5 2 5 7 4 26 5 11 24 4 18 2 1 0 0 1 0 1 0 0 0"


def from_deletions(deleted: str, tokens: int = TOKENS) -> Schedule:
    """The shares that are left behind each layer that deletes some of `tokens`."""
    counts = [int(count) for count in deleted.split()]
    keep = {}
    left = tokens
    for layer, count in enumerate(counts):
        left -= count
        if count:
            keep[layer + 1] = left / tokens

    return Schedule(keep, depth=len(counts))


SAVING_40 = from_deletions(DELETED_40)  # 240 tokens left
SAVING_60 = from_deletions(DELETED_60)  # 127 tokens left


@register("fitprune")
@dataclass(frozen=True)
class FitPrune(ScheduledPruner):
    """Drop, in nearly every layer, the visual tokens that receive least attention there.

    Ye et al., "Fit and Prune", AAAI 2025. https://arxiv.org/abs/2409.10197

    A token's score in a layer is the attention it receives from the visual tokens times that from
    the tokens behind the image; of each row the head that looks at it most counts. Tokens go inside
    the layer, behind its attention: its keys are stored for all of them, its output projection and
    MLP run without those that go. How many go in which layer is fitted beforehand, so that the
    attention of a few samples changes least: `transprune fit` does it for any model, and the tables
    released for LLaVA-1.5-7B are presets. Their counts of 576 tokens are shares here; on a model of
    another depth they are interpolated, which is a guess: fit.

    Args:
        keep: share of the visual tokens left behind each layer: boundary -> share, where boundary b
            stands behind 0-based layer b - 1. Default the table that saves 60 %.
        positions: default `"keep"`, as in the released code.

    Raises:
        ScheduleError: boundaries that make no schedule or do not fit the model.
    """

    keep: ScheduleLike = SAVING_60

    title: ClassVar[str] = "FitPrune: fitted numbers, by attention received, inside every layer"
    paper: ClassVar[str] = "Ye et al., AAAI 2025, arXiv 2409.10197"
    fidelity: ClassVar[Fidelity] = "exact"
    differs_from_code: ClassVar[str] = (
        "shares of the tokens in place of counts of 576; of equal scores the first tokens stay; the "
        "last layer drops nothing, since no layer is left behind it; the fit keeps averaged shares "
        "where the code rounds averaged counts down"
    )
    default_positions: ClassVar[Positions] = "keep"
    presets: ClassVar[tuple[str, ...]] = ("saving40", "saving60")
    reads: ClassVar[Reads] = Reads(rows="all", source="previous", inside=True)

    @classmethod
    def saving40(cls, **changes: Any) -> FitPrune:
        """The released table for 40 % (it saves 38.8 % of LLaVA-1.5-7B)."""
        return cls(**{"keep": SAVING_40, **changes})

    @classmethod
    def saving60(cls, **changes: Any) -> FitPrune:
        """The released table for 60 % (it saves 59.7 %)."""
        return cls(**{"keep": SAVING_60, **changes})

    def schedule(self, num_layers: int) -> Schedule:
        """The shares for this depth, interpolated where they were written for another one."""
        return stretch(Schedule.of(self.keep), num_layers)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Attention from the visual tokens times attention from the instruction."""
        of_image, of_words = view.received()
        return {"score": of_image * of_words, "from_image": of_image, "from_words": of_words}

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """That the numbers were fitted for another depth."""
        depth = Schedule.of(self.keep).depth
        if depth in (None, num_layers):
            return ()
        return (
            f"fitprune: shares fitted on {depth} layers were interpolated for {num_layers}; "
            "`transprune fit` fits them on this model",
        )

    def scaled_by(self, factor: float) -> FitPrune:
        """With `factor` times as many tokens left at the end, all shares raised to one power.

        So a layer that deletes nothing still does not.
        """
        written = Schedule.of(self.keep)
        _, last = written.keep[-1]
        if not factor > 0 or last == 1:
            raise MethodError(
                f"a schedule that keeps everything cannot keep {factor!r} times as much; give one "
                "that drops some, and a positive factor"
            )

        aim = min(1.0, factor * last)
        power = math.log(aim) / math.log(last)
        shares = [(boundary, share**power) for boundary, share in written]
        return replace(self, keep=Schedule(shares, depth=written.depth))


def stretch(written: Schedule, num_layers: int) -> Schedule:
    """The shares of a schedule for `num_layers` layers, without a depth.

    Behind a layer stays what stays behind the same part of the depth it was written for, straight
    between two layers. Nothing changes for its own depth, or where it names none.
    """
    depth = written.depth
    if depth in (None, num_layers):
        return Schedule(written.keep)

    assert depth is not None
    moved = {}
    newest = 1.0
    for boundary in range(1, num_layers):
        share = _share_at(written, boundary * depth / num_layers)
        if share < newest - 1e-9:  # not where only the rounding differs
            moved[boundary] = newest = share

    # one that keeps everything stays one that keeps everything
    return Schedule(moved or {1: 1.0})


def _share_at(written: Schedule, place: float) -> float:
    """The share left behind so many layers, which need not be a whole number."""
    lower = math.floor(place)
    part = place - lower
    return (1 - part) * _share_behind(written, lower) + part * _share_behind(written, lower + 1)


def _share_behind(written: Schedule, layers: int) -> float:
    """The share left behind `layers` layers: that of the last boundary up to there."""
    place = bisect_right(written.boundaries, layers)
    return 1.0 if place == 0 else written.keep[place - 1][1]
