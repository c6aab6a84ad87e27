"""Where a method acts in a model in which not every layer has attention of its own.

A session moves a boundary that reads attention up to the next layer that has some
(`transprune.runtime.snapping`, which knows the modules); here the sizes say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transprune.core.plan import Reading, Stage
from transprune.cost.geometry import Geometry


def move_boundaries(
    geometry: Geometry, stages: Sequence[Stage], readings: Sequence[Reading]
) -> tuple[tuple[Stage, ...], tuple[Reading, ...]]:
    """Stages and readings at the boundaries where a session runs them.

    A boundary stays where nothing behind it can be read: a session refuses such a method.
    """
    moves = {}
    for reading in readings:
        moves[reading.boundary] = _first_readable(geometry, reading)

    moved = [replace(reading, boundary=moves[reading.boundary]) for reading in readings]
    acting = [replace(at, boundary=moves.get(at.boundary, at.boundary)) for at in stages]
    return tuple(acting), tuple(moved)


def _first_readable(geometry: Geometry, reading: Reading) -> int:
    """The first boundary from that of the reading on where it can be read."""
    if reading.rows is None and reading.similarity != "layer_keys":
        return reading.boundary

    back = 1 if reading.source == "previous" else 0
    for boundary in range(max(reading.boundary, back), geometry.layers):
        if geometry.layer(boundary - back).kv_width:
            return boundary

    return reading.boundary
