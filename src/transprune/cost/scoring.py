"""The cost of choosing the tokens, on top of the layers, in FLOPs: the `exact` convention only."""

from __future__ import annotations

from collections.abc import Sequence

from transprune.core.plan import Eviction, Reading, scorer_width
from transprune.cost.geometry import Geometry
from transprune.errors import ScheduleError


def scoring_cost(
    geometry: Geometry,
    visual: Sequence[int],
    text: int,
    readings: Sequence[Reading],
    *,
    unpruned: int,
    instruction: int,
) -> int:
    """FLOPs of all readings of a method, and of the transitions it observes.

    Args:
        geometry: sizes of the language model.
        visual: visual tokens entering each layer.
        text: all other prompt tokens.
        readings: what the method reads at each boundary.
        unpruned: visual tokens before any pruning.
        instruction: text tokens after the image, whose attention rows a method may read.

    Raises:
        ScheduleError: a boundary that this model does not have.
    """
    total = 0
    for reading in readings:
        if not 0 <= reading.boundary < geometry.layers:
            raise ScheduleError(
                f"boundaries must lie in 0..{geometry.layers - 1}; got {reading.boundary}"
            )

        candidates = visual[reading.boundary - 1] if reading.boundary else unpruned
        dropped = candidates - visual[reading.boundary]
        total += attention_reading_cost(
            geometry, reading, candidates + text, dropped, instruction, candidates
        )
        total += similarity_cost(geometry, reading, candidates)
        if reading.embeddings:
            # every visual token times every instruction token, as they entered layer 0
            total += 2 * visual[0] * instruction * geometry.hidden

        total += scorer_cost(geometry, reading, candidates, instruction)

    # a layer is measured once, however many readings use it
    observed = {layer for reading in readings for layer in reading.observed}
    for layer in observed:
        total += transition_cost(geometry, visual[layer - 1] + text)

    return total


def attention_reading_cost(
    geometry: Geometry,
    reading: Reading,
    tokens: int,
    dropped: int,
    instruction: int,
    candidates: int = 0,
) -> int:
    """FLOPs of the attention rows that are read at one boundary.

    `tokens` stand in front of it, `candidates` of them visual, and `dropped` of them leave there.
    The rows' logits against every token count always. If they are read ahead (`source="next"`), so
    do the queries of the rows and the keys of the dropped tokens; the layer reuses the survivors'
    keys, which cost nothing extra.
    """
    if reading.rows is None:
        return 0

    rows = {"instruction": instruction, "all": candidates + instruction}.get(reading.rows, 1)
    previous = reading.source == "previous"
    layer = geometry.layer(max(reading.boundary - previous, 0))
    logits = 2 * rows * tokens * layer.q_width
    if previous:
        return logits

    projected = rows * layer.q_width + dropped * layer.kv_width
    return logits + 2 * geometry.hidden * projected


def eviction_cost(
    geometry: Geometry, lengths: Sequence[int], evictions: Sequence[Eviction], instruction: int
) -> int:
    """FLOPs of the attention rows by which keys are evicted; the layers projected them anyway.

    Args:
        geometry: sizes of the language model.
        lengths: tokens entering each layer.
        evictions: what is evicted.
        instruction: rows of the instruction.
    """
    total = 0
    for eviction in evictions:
        if eviction.rows is not None:
            rows = instruction if eviction.rows == "instruction" else 1
            layer = geometry.layer(eviction.layer)
            # a recurrent layer has no keys to evict
            total += 2 * rows * lengths[eviction.layer] * layer.q_width

    return total


def transition_cost(geometry: Geometry, tokens: int) -> int:
    """FLOPs of measuring one layer's transitions."""
    # |x|, |y| and x.y over the width, for attention and for the MLP; two per multiply-add
    return 2 * 2 * 3 * tokens * geometry.hidden


def similarity_cost(geometry: Geometry, reading: Reading, candidates: int) -> int:
    """FLOPs of comparing `candidates` visual tokens with each other, all pairs or a share."""
    if reading.similarity is None:
        return 0
    if reading.similarity == "previous_frame":
        return 2 * candidates * geometry.hidden  # one other token each

    widths = {
        "features": geometry.hidden,
        "keys": geometry.vision_head_dim,
        "layer_keys": geometry.kv_width,
    }
    return round(reading.pairs * 2 * candidates * candidates * widths[reading.similarity])


def scorer_cost(geometry: Geometry, reading: Reading, candidates: int, instruction: int) -> int:
    """FLOPs of a trained scorer: `candidates` visual tokens attend to the instruction."""
    if not reading.scorer:
        return 0

    inner = scorer_width(geometry.hidden, reading.scorer)
    # queries of the candidates, keys and values of the instruction
    projected = (candidates + 2 * instruction) * geometry.hidden * inner
    attention = 2 * candidates * instruction * inner
    # the output projection and the wide half of the MLP; its ratings are one or two columns
    behind = 2 * candidates * inner * inner
    return 2 * (projected + attention + behind)
