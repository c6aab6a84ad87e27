"""Count the work of a pruned run, without running anything.

Two conventions, and every figure carries the name of its own; never compare across them.

`paper`: the convention of nearly every table in the field. Visual tokens only, multiply-adds (MACs,
printed there as "TFLOPs"), decoder only, keys and values as wide as queries:
`4nd^2 + 2n^2 d + 3ndm` per layer. The work of scoring is left out, as it is there. Where a method
drops tokens inside a layer, behind its attention, d^2 of the four and the 3dm count what is left.

`exact`: all tokens, two FLOPs per multiply-add, projections as narrow as grouped-query attention
makes them, the LM head of the one position that is sampled from, and the scoring. Causal attention
counts as the full n x n square: kernels with an explicit mask compute it, and for those that skip
the masked half it is an upper bound.

Of a mixture of experts, `exact` and `paper` count what one token visits: the router, the experts it
is sent to and those that every token passes. Layers with a recurrent state in place of keys count
their linear maps, their convolution and one step of their state per token, in both conventions,
because no published figure says how to count them. A window over the newest tokens counts as the
full square too (`transprune.cost.architecture` has the formulas).

Neither counts norms, RoPE, softmax, embeddings, the projector or the vision tower; none of these
depends on within-LLM pruning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from transprune.core.plan import (
    Eviction,
    Reading,
    Stage,
    cached_per_layer,
    inside_layers,
    per_layer,
)
from transprune.cost.geometry import Geometry
from transprune.cost.layers import Convention as Convention
from transprune.cost.layers import check_convention, decode_cost, kv_bytes, prefill_cost
from transprune.cost.moves import move_boundaries
from transprune.cost.result import Cost as Cost
from transprune.cost.result import sum_costs as sum_costs
from transprune.cost.scoring import eviction_cost, scoring_cost
from transprune.errors import ScheduleError


class Planned(Protocol):
    """The methods of a `Method` that counting needs."""

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The stages: how many visual tokens remain from which boundary on."""

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """The readings that choose them."""

    def frozen(self, num_layers: int) -> tuple[int, ...]:
        """Layers in which the visual tokens only give keys and values."""

    def evicts(self, num_layers: int, visual: Sequence[int]) -> tuple[Eviction, ...]:
        """What caches keep of the visual tokens that enter each layer."""


def count_method(
    geometry: Geometry,
    method: Planned,
    visual_tokens: int | None = None,
    text: int | None = None,
    convention: Convention = "paper",
    *,
    instruction: int | None = None,
    dtype_bytes: int = 2,
) -> Cost:
    """The cost of `method` on a prompt with one pool of visual tokens, by default the nominal one.

    Where the data decide how many tokens stay, this is the upper bound (`Stage.at_most`,
    `Eviction.at_most`).

    Args:
        geometry: sizes of the language model.
        method: what is counted.
        visual_tokens: visual tokens before pruning; None takes those of `geometry`.
        text: all other prompt tokens; None takes those of `geometry`. Ignored by `paper`.
        convention: `"paper"` (MACs) or `"exact"` (FLOPs).
        instruction: text tokens after the image; None takes all of `text`.
        dtype_bytes: bytes of one K/V number, 2 for half precision.

    Raises:
        ScheduleError: the method does not fit the depth of this model.
        MethodError: an unknown convention.
    """
    unpruned = geometry.visual_tokens if visual_tokens is None else visual_tokens
    text = geometry.text_tokens if text is None else text

    # the plan needs no model and no prompt, only the two sizes
    planned = tuple(method.plan(geometry.layers, unpruned))
    stages, readings = move_boundaries(geometry, planned, method.reads_at(geometry.layers))
    visual = per_layer(geometry.layers, unpruned, stages)

    return count_cost(
        geometry,
        visual,
        text,
        unpruned=unpruned,
        convention=convention,
        readings=readings,
        frozen=method.frozen(geometry.layers),
        evictions=method.evicts(geometry.layers, visual),
        instruction=instruction,
        dtype_bytes=dtype_bytes,
    )


def count_cost(
    geometry: Geometry,
    visual: Sequence[int],
    text: int,
    *,
    unpruned: int,
    convention: Convention = "paper",
    readings: Sequence[Reading] = (),
    frozen: Collection[int] = (),
    evictions: Sequence[Eviction] = (),
    instruction: int | None = None,
    dtype_bytes: int = 2,
) -> Cost:
    """The cost of a run in which `visual[i]` visual tokens enter layer i.

    Args:
        geometry: sizes of the language model.
        visual: visual tokens entering each layer, one number per layer.
        text: all other prompt tokens; they are never pruned. Ignored by `paper`.
        unpruned: visual tokens before any pruning.
        convention: `"paper"` or `"exact"`.
        readings: what the method reads to choose, and whether it chooses inside a layer; `paper`
            ignores all but the latter.
        frozen: 0-based layers in which visual tokens only give keys and values.
        evictions: what the cache of some layers keeps, behind a prefill that this does not change.
        instruction: text tokens after the image, whose attention rows a method may read; by default
            all of `text`, an upper bound that needs no knowledge of the chat template.
        dtype_bytes: bytes of one K/V number, 2 for half precision.

    Raises:
        ScheduleError: counts that do not fit the depth, or that grow.
        MethodError: an unknown convention.
    """
    exact = check_convention(convention) == "exact"
    _check_counts(geometry, visual, text, unpruned)

    # `paper` sees neither the text nor the new token, which attends to itself when it is decoded
    others = text if exact else 0
    own = 1 if exact else 0
    lengths = [count + others for count in visual]
    cached = [count + others for count in cached_per_layer(visual, evictions)]
    decode_lengths = [length + own for length in cached]
    full = unpruned + others

    frozen_rows = [count if layer in frozen else 0 for layer, count in enumerate(visual)]
    inside = inside_layers(readings, frozen)

    scoring = 0
    if exact:
        # where there is no instruction, the last token is read
        rows = max(1, text if instruction is None else min(text, instruction))
        scoring = _choosing(geometry, visual, text, unpruned, rows, readings, evictions)

    return Cost(
        convention=convention,
        unit="FLOPs" if exact else "MACs",
        prefill=prefill_cost(geometry, lengths, convention, frozen_rows, inside) + scoring,
        scoring=scoring,
        decode=decode_cost(geometry, decode_lengths, convention),
        kv_bytes=kv_bytes(geometry, cached, dtype_bytes),
        full_prefill=prefill_cost(geometry, [full] * geometry.layers, convention),
        full_decode=decode_cost(geometry, [full + own] * geometry.layers, convention),
        full_kv_bytes=kv_bytes(geometry, [full] * geometry.layers, dtype_bytes),
    )


def _choosing(
    geometry: Geometry,
    visual: Sequence[int],
    text: int,
    unpruned: int,
    rows: int,
    readings: Sequence[Reading],
    evictions: Sequence[Eviction],
) -> int:
    """FLOPs of choosing what stays, in front of layers and in their caches; `rows` are read."""
    scoring = scoring_cost(geometry, visual, text, readings, unpruned=unpruned, instruction=rows)
    lengths = [count + text for count in visual]
    return scoring + eviction_cost(geometry, lengths, evictions, rows)


def unpruned_cost(
    geometry: Geometry,
    visual: int,
    text: int,
    convention: Convention = "paper",
    dtype_bytes: int = 2,
) -> Cost:
    """The cost of a prompt of `visual` and `text` tokens without pruning.

    Args:
        geometry: sizes of the language model.
        visual, text: tokens of each kind.
        convention: `"paper"` (MACs) or `"exact"` (FLOPs).
        dtype_bytes: bytes of one K/V number, 2 for half precision.

    Raises:
        ScheduleError: negative counts.
        MethodError: an unknown convention.
    """
    return count_cost(
        geometry,
        [visual] * geometry.layers,
        text,
        unpruned=visual,
        convention=convention,
        dtype_bytes=dtype_bytes,
    )


def _check_counts(geometry: Geometry, visual: Sequence[int], text: int, unpruned: int) -> None:
    """Raise ScheduleError unless there is one count per layer, and none is negative or grows."""
    if len(visual) != geometry.layers:
        raise ScheduleError(
            f"{geometry.name} has {geometry.layers} decoder layers; got counts for {len(visual)}"
        )

    # the numbers in front of and behind every boundary, in order
    steps = [unpruned, *visual]
    if min(*steps, text) < 0:
        raise ScheduleError(
            f"token counts cannot be negative; got visual {min(steps)}, text {text}"
        )

    grows = any(later > earlier for earlier, later in zip(steps, visual, strict=False))
    if grows:
        raise ScheduleError(
            f"visual tokens cannot come back once pruned; got {unpruned} and then {list(visual)}"
        )
