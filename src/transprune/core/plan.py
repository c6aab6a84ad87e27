"""What a method will do to a model, in numbers, before any model exists.

A `Stage` says how many visual tokens remain from a boundary on; a `Reading` says what the method
reads to decide it. The runtime and the cost model both work from these, so a published FLOPs figure
and a real run come from one source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Rows = Literal["instruction", "last", "mean", "all"]
Source = Literal["next", "previous"]
Similarity = Literal["features", "keys", "layer_keys", "previous_frame"]

UNPRUNED = "unpruned"  # the name of a run without a method, in every list and record


@dataclass(frozen=True)
class Stage:
    """`count` visual tokens of one pool remain from decoder layer `boundary` (0-based) on.

    Attributes:
        boundary: 0-based decoder layer in front of which tokens are dropped.
        count: visual tokens that remain.
        rounded_up: the share came to less than one token, and one is kept all the same.
        at_most: the number depends on the data, and `count` is only its upper bound.
        merged: how many of `count` are made of dropped tokens.
    """

    boundary: int
    count: int
    rounded_up: bool = False
    at_most: bool = False
    merged: int = 0


@dataclass(frozen=True)
class Reading:
    """What a method reads at one boundary to choose tokens.

    Attributes:
        boundary: 0-based decoder layer in front of which the choice is made.
        rows: whose attention rows are read, `"instruction"` (every token after the image),
            `"last"`, `"mean"` (one query, the mean of those up to the last visual token), `"all"`
            (the visual tokens themselves and the instruction), or None.
        source: `"next"` projects the keys of `layers[boundary]` ahead of time (the survivors' keys
            are then reused by that layer); `"previous"` reads the projections that
            `layers[boundary - 1]` made anyway.
        observed: 1-based layers whose attention and MLP transitions (input, output) are measured
            before this boundary.
        similarity: visual tokens are compared with each other, by `"features"` (width of the
            language model), by `"keys"` (head width of the vision tower) or by `"layer_keys"` (all
            key heads of the layer together); `"previous_frame"`: each with the one at the same
            place a frame earlier, by features.
        pairs: which share of all pairs of visual tokens is compared.
        embeddings: the visual tokens that entered layer 0 are multiplied with the instruction
            tokens there.
        inside: the choice is made inside `layers[boundary - 1]`, behind its attention, and its
            output projection and MLP run on the survivors only.
        scorer: widest inner width of a trained scorer, in which visual tokens attend to the
            instruction (see `scorer_width`); 0 for none.
    """

    boundary: int
    rows: Rows | None = None
    source: Source = "next"
    observed: tuple[int, ...] = ()
    similarity: Similarity | None = None
    pairs: float = 1.0
    embeddings: bool = False
    inside: bool = False
    scorer: int = 0


def inside_layers(readings: Iterable[Reading], frozen: Collection[int] = ()) -> tuple[int, ...]:
    """0-based layers whose second half runs on the survivors of a choice made inside them.

    Frozen layers run on other rows than the survivors, and layers whose transitions are observed
    show all of their rows: both drop their tokens behind the layer.
    """
    readings = tuple(readings)
    observed = {layer - 1 for reading in readings for layer in reading.observed}
    cut = [reading.boundary - 1 for reading in readings if reading.inside]
    return tuple(layer for layer in cut if layer not in observed and layer not in frozen)


@dataclass(frozen=True)
class Eviction:
    """Each key/value head keeps some visual keys of one pool in the cache of a decoder layer.

    The layer itself has run on all of them, so this costs and saves nothing in the prefill.

    Attributes:
        layer: 0-based decoder layer.
        counts: visual keys that a head keeps; several where the data decide which of these it is.
        rows: whose attention rows in this layer are read to choose them, or None.
    """

    layer: int
    counts: tuple[int, ...]
    rows: Rows | None = None

    @property
    def count(self) -> int:
        """The most that a head keeps."""
        return max(self.counts)

    @property
    def at_most(self) -> bool:
        """The number depends on the data, and `count` is only its upper bound."""
        return len(set(self.counts)) > 1


def cached_per_layer(visual: Sequence[int], evictions: Sequence[Eviction]) -> tuple[int, ...]:
    """Visual tokens in the cache of each layer, of the `visual[i]` that enter layer i."""
    counts = list(visual)
    for eviction in evictions:
        counts[eviction.layer] = min(counts[eviction.layer], eviction.count)
    return tuple(counts)


def scorer_width(width: int, widest: int) -> int:
    """Inner width of a trained scorer: a quarter of the model's, at least 64, at most `widest`.

    A multiple of 8.
    """
    return min(widest, max(64, width // 4 // 8 * 8))


def per_layer(num_layers: int, visual_tokens: int, stages: tuple[Stage, ...]) -> tuple[int, ...]:
    """Visual tokens that enter each of `num_layers` decoder layers."""
    count_at = {stage.boundary: stage.count for stage in stages}
    counts = []
    current = visual_tokens

    for layer in range(num_layers):
        # a stage planned for more tokens than there are drops none
        current = min(current, count_at.get(layer, current))
        counts.append(current)

    return tuple(counts)


def per_layer_widths(num_layers: int, rows: int, widths: Mapping[int, int]) -> tuple[int, ...]:
    """Rows that enter each layer: `rows` at first, `widths[boundary]` from a boundary on."""
    stages = tuple(Stage(boundary, width) for boundary, width in widths.items())
    return per_layer(num_layers, rows, stages)
