"""Move boundaries to where a method can read what it reads.

A method that reads attention at a boundary needs a layer that has attention there. In hybrid models
most layers carry a recurrent state instead, so the boundary moves up to the next one that has: later,
because the evidence of all layers in front of it has been gathered by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transprune.core.plan import Reading
from transprune.errors import MissingSignal, ScheduleError
from transprune.families.layers import LayerKind
from transprune.methods.common.method import Method


def moves_of(method: Method, kinds: Sequence[LayerKind]) -> dict[int, int]:
    """Boundary of the method -> boundary where it acts, for those that move.

    Raises:
        ScheduleError: no layer behind a boundary has attention, two would meet at one, or the
            decoder has nothing left to prune there.
        MissingSignal: a recurrent layer is to be frozen.
    """
    _check_frozen(method, kinds)
    moves: dict[int, int] = {}
    newest = -1
    before: Reading | None = None
    for reading in method.reads_at(len(kinds)):
        boundary = _next_readable(reading, kinds)
        if boundary is None:
            raise ScheduleError(
                f"boundary {reading.boundary} reads attention, which not every layer of this model "
                f"has; boundaries at which it can be read are {_readable(reading, kinds)}"
            )

        # stages act in their order, so none may move to or behind the next one
        if boundary <= newest:
            assert before is not None
            raise ScheduleError(
                f"boundary {before.boundary} moved up to {newest}, because it reads attention, and "
                f"the stage of boundary {reading.boundary} comes behind it; boundaries at which "
                f"attention can be read are {_readable(before, kinds)}"
            )

        if boundary != reading.boundary:
            moves[reading.boundary] = boundary

        newest = boundary
        before = reading

    _check_shared(newest, kinds)
    return moves


def notes_of(moves: Mapping[int, int], kinds: Sequence[LayerKind]) -> tuple[str, ...]:
    """A sentence for each boundary that moved."""
    layers = ", ".join(str(index) for index, kind in enumerate(kinds) if kind.stores_keys)
    return tuple(
        f"boundary {asked} moved to {moved}, where attention can be read: decoder layers with "
        f"attention of their own are {layers}"
        for asked, moved in moves.items()
    )


def _next_readable(reading: Reading, kinds: Sequence[LayerKind]) -> int | None:
    """The first boundary from that of the reading on where it can be read."""
    for boundary in range(reading.boundary, len(kinds)):
        if _can_read(reading, boundary, kinds):
            return boundary
    return None


def _can_read(reading: Reading, boundary: int, kinds: Sequence[LayerKind]) -> bool:
    if reading.rows is None and reading.similarity != "layer_keys":
        return True
    index = boundary - 1 if reading.source == "previous" else boundary
    return index >= 0 and kinds[index].stores_keys


def _readable(reading: Reading, kinds: Sequence[LayerKind]) -> str:
    """All boundaries where the reading fits, for people."""
    fits = [str(at) for at in range(1, len(kinds)) if _can_read(reading, at, kinds)]
    return ", ".join(fits) or "none"


def _check_frozen(method: Method, kinds: Sequence[LayerKind]) -> None:
    frozen = [index for index in method.frozen(len(kinds)) if not kinds[index].stores_keys]
    if frozen:
        fit = ", ".join(str(index) for index, kind in enumerate(kinds) if kind.stores_keys)
        raise MissingSignal(
            f"{method.name} freezes decoder layers {', '.join(map(str, frozen))}, which have no "
            f"keys of their own; freeze some of {fit}"
        )


def _check_shared(last: int, kinds: Sequence[LayerKind]) -> None:
    shared = [index for index, kind in enumerate(kinds) if kind.keys_of is not None]
    if shared and last >= shared[0]:
        raise ScheduleError(
            f"decoder layers {shared[0]} to {shared[-1]} read the keys of layers in front of them, "
            f"and `generate` runs them for the last token only, so nothing is left to prune at "
            f"boundary {last}; use boundaries up to {shared[0] - 1}"
        )
