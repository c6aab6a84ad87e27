"""Sets of 1-based decoder layers as settings: read them, and move them to another depth."""

from __future__ import annotations

from collections.abc import Iterable

from transprune.core.schedule import Schedule, as_boundary, scale_layers
from transprune.errors import ScheduleError

Layers = range | tuple[int, ...]


def read_layers(name: str, value: Iterable[int] | int | str) -> Layers:
    """1-based layers as a range where they are contiguous, else as an ascending tuple.

    Args:
        name: of the setting, for the error.
        value: layers in any order, one layer, or text as `7-12` or `7,9,12`.

    Raises:
        ScheduleError: not 1-based layers.
    """
    try:
        layers = sorted({as_boundary(layer) for layer in _items(value)})
    except (TypeError, ValueError, OverflowError) as error:
        raise ScheduleError(
            f"{name} takes 1-based layers, as range(7, 13) or '7-12'; got {value!r}"
        ) from error

    if not layers or layers[0] < 1:
        raise ScheduleError(f"{name} takes 1-based layers, so 1 is the first; got {layers}")

    # a range reads better in a `repr`, and stays without holes when it moves
    contiguous = range(layers[0], layers[-1] + 1)
    return contiguous if len(contiguous) == len(layers) else tuple(layers)


def move_layers(layers: Layers, written: Schedule, here: Schedule, num_layers: int) -> Layers:
    """Layers chosen beside the schedule `written`, for a model where that schedule became `here`.

    A layer that is a boundary moves with its boundary, any other in proportion to the depth. A
    range stays a range: on a deeper model it has no holes.
    """
    if written.depth is None or written.boundaries == here.boundaries:
        return layers

    moved = dict(zip(written.boundaries, here.boundaries, strict=True))
    for layer in layers:
        if layer not in moved:
            moved[layer] = scale_layers((layer,), written.depth, num_layers)[0]

    scaled = sorted({moved[layer] for layer in layers})
    if isinstance(layers, range):
        return range(scaled[0], scaled[-1] + 1)
    return tuple(scaled)


def list_layers(layers: Iterable[int]) -> str:
    """`7, 8, 9` for messages."""
    return ", ".join(map(str, layers))


def _items(value: Iterable[int] | int | str) -> Iterable[int]:
    """The parts of a setting, not yet checked to be layers."""
    if isinstance(value, int):
        return (value,)
    if not isinstance(value, str):
        return value

    layers: list[int] = []
    for part in value.split(","):
        # `7-12` has two ends, `7` is both of its own
        ends = part.split("-")
        layers += range(as_boundary(int(ends[0])), as_boundary(int(ends[-1])) + 1)

    return layers
