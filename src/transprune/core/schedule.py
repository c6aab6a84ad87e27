"""Schedules: which share of the visual tokens remains from which boundary on.

Boundary L is the gap before 0-based decoder layer L, so it equals the number of layers that ran
with the larger set: TransPrune's 7/9/12 and PDrop's 8/16/24 keep the numbers of their papers.

A schedule may be written *for a depth* (`depth=32`): on a model of another depth its boundaries
scale in proportion and round up (16 layers: 4, 5, 6). A schedule written without a depth is
explicit and is used as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

from transprune.core.shown import shown
from transprune.errors import ScheduleError

MOST_LAYERS = 100_000  # far above any model; numbers beyond it are slips

ScheduleLike = Union["Schedule", Mapping[Any, Any], str]


@dataclass(frozen=True, init=False)
class Schedule:
    """Boundary -> share of the original visual tokens kept from there on.

    Args:
        keep: mapping of boundary to keep ratio; boundaries in any order, ratios in (0, 1], not
            increasing.
        depth: the number of decoder layers the boundaries were chosen for; None means "use exactly
            these".

    Raises:
        ScheduleError: a ratio outside (0, 1], ratios that increase, a negative boundary, or nothing
            at all.
    """

    keep: tuple[tuple[int, float], ...]
    depth: int | None

    def __init__(
        self, keep: Mapping[int, float] | Iterable[tuple[int, float]], depth: int | None = None
    ) -> None:
        try:
            pairs = keep.items() if isinstance(keep, Mapping) else keep
            # JSON has text for keys, so a boundary may be its digits
            stages = tuple(sorted((as_boundary(b), _as_ratio(r)) for b, r in pairs))
        except (TypeError, ValueError, OverflowError) as error:
            raise ScheduleError(
                f"a schedule maps boundaries to keep ratios, as {{7: 0.875}}; got {shown(keep)}"
            ) from error

        _check_stages(stages)
        _check_depth(depth)
        object.__setattr__(self, "keep", stages)
        object.__setattr__(self, "depth", depth)

    @classmethod
    def of(cls, value: ScheduleLike) -> Schedule:
        """A Schedule from itself, a mapping, a recipe's `{"keep": {...}, "depth": 32}`, or text."""
        if isinstance(value, Schedule):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        # a recipe; a plain mapping has numbers for keys
        if isinstance(value, Mapping) and set(value) <= {"keep", "depth"} and "keep" in value:
            return cls(value["keep"], depth=value.get("depth"))
        return cls(value)

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """`"7:0.875,9:0.625,12:0.125"` -> Schedule; nothing is evaluated.

        Raises:
            ScheduleError: the text is not `boundary:ratio` pairs separated by commas or slashes.
        """
        pairs = []
        try:
            # with / in place of commas, because commas separate the settings of a recipe
            for part in text.replace("/", ",").split(","):
                if part.strip():
                    boundary, ratio = part.split(":")
                    pairs.append((int(boundary), float(ratio)))
        except ValueError as error:
            raise ScheduleError(
                f"a schedule reads '7:0.875,9:0.625,12:0.125'; got {shown(text)}"
            ) from error

        return cls(pairs)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Boundaries, ascending."""
        return tuple(boundary for boundary, _ in self.keep)

    def scaled(self, num_layers: int, published: tuple[int, ...] = ()) -> Schedule:
        """This schedule for a model of `num_layers`.

        Boundaries x num_layers / depth, rounded up, never two the same. Nothing moves for an
        explicit schedule, nor between the depths in `published`, for which the paper itself used
        the same boundaries.
        """
        alike = (self.depth, *published) if self.depth in published else (self.depth,)
        if self.depth is None or num_layers in alike:
            return Schedule(self.keep)

        # without a depth, so that it cannot scale twice
        moved = scale_layers(self.boundaries, self.depth, num_layers)
        ratios = [ratio for _, ratio in self.keep]
        return Schedule(zip(moved, ratios, strict=True))

    def earlier(self, layers: int, first: int = 1) -> Schedule:
        """The same shares with every boundary `layers` earlier; an explicit schedule.

        Raises:
            ScheduleError: the first boundary would lie before `first`.
        """
        if self.boundaries[0] - layers < first:
            raise ScheduleError(
                f"a schedule that starts at boundary {self.boundaries[0]} cannot move {layers} "
                "earlier"
            )

        return Schedule([(boundary - layers, share) for boundary, share in self.keep])

    def check(self, num_layers: int, first: int = 1) -> Schedule:
        """Itself, if every boundary lies in `first..num_layers - 1`; otherwise a ScheduleError."""
        bad = [boundary for boundary in self.boundaries if not first <= boundary < num_layers]
        if bad:
            raise ScheduleError(
                f"boundaries must lie in {first}..{num_layers - 1} for a model of {num_layers} "
                f"decoder layers; got {', '.join(map(str, bad))}. A boundary is the gap before that "
                "0-based layer, so pruning at or past the last layer has nothing left to save; in "
                "front of layer 0 only a projector-side method prunes."
            )

        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping, read back by `Schedule.of`."""
        keep = {str(boundary): ratio for boundary, ratio in self.keep}
        return {"keep": keep, "depth": self.depth}

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return iter(self.keep)

    def __repr__(self) -> str:
        depth = f", depth={self.depth}" if self.depth is not None else ""
        return f"Schedule({dict(self.keep)}{depth})"

    def __str__(self) -> str:
        return ",".join(f"{boundary}:{ratio:g}" for boundary, ratio in self.keep)


def scale_layers(layers: tuple[int, ...], depth: int, num_layers: int) -> tuple[int, ...]:
    """Ascending `layers` scaled from `depth` to `num_layers`, rounded up, kept distinct."""
    moved: list[int] = []
    for layer in layers:
        target = -(-layer * num_layers // depth)  # rounded up
        if moved:
            target = max(target, moved[-1] + 1)
        moved.append(target)

    return tuple(moved)


def count_kept(total: int, ratio: float) -> int:
    """`int(total * ratio)`, the rounding of the TransPrune and PDrop code."""
    # 100 * 0.29 is 28.999999999999996 in floating point, and means 29
    return math.floor(total * ratio + 1e-9)


def as_boundary(value: Any) -> int:
    """A boundary number from an int or the digits of a JSON key.

    Raises:
        ValueError: a boolean, a fraction, no number, or one that no model has.
    """
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError(f"{value!r} is not a layer number")

    number = int(value)
    if abs(number) > MOST_LAYERS:
        raise ValueError(f"no model has more than {MOST_LAYERS} layers")
    return number


def _as_ratio(value: Any) -> float:
    """A keep ratio as a float; True is no share."""
    if isinstance(value, bool):
        raise TypeError(f"{value!r} is not a share")
    return float(value)


def _check_stages(stages: tuple[tuple[int, float], ...]) -> None:
    """Raise ScheduleError unless boundaries are distinct and ratios do not increase."""
    if not stages:
        raise ScheduleError("a schedule needs at least one boundary, as {7: 0.875}; got none")

    boundaries = [boundary for boundary, _ in stages]
    if boundaries[0] < 0 or len(set(boundaries)) < len(boundaries):
        raise ScheduleError(f"boundaries must be distinct and not negative; got {boundaries}")

    ratios = [ratio for _, ratio in stages]
    outside = [ratio for ratio in ratios if not 0 < ratio <= 1]
    if outside:
        raise ScheduleError(f"keep ratios must lie in (0, 1], the share that stays; got {outside}")

    # a token that was dropped cannot come back
    if ratios != sorted(ratios, reverse=True):
        raise ScheduleError(
            f"keep ratios refer to the original tokens and cannot increase with depth; got {ratios}"
        )


def _check_depth(depth: int | None) -> None:
    """Raise ScheduleError unless `depth` is a positive int or None."""
    if depth is None:
        return

    if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= MOST_LAYERS:
        raise ScheduleError(
            f"depth is the number of decoder layers a schedule was written for; got {shown(depth)}"
        )
