"""Project the arguments of a decoder layer onto the rows that still run and the keys it stores.

The arguments arrive in coordinates of the unpruned forward. Masks, cos/sin and position ids are
taken from what the model made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transprune.core.library import cache_of
from transprune.errors import CacheError
from transprune.runtime.cache import install
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import History, LayerCall, history_of
from transprune.runtime.layer_inputs.gather import gather_ids
from transprune.runtime.layer_inputs.masks import MaskProjection, is_flash
from transprune.runtime.layer_inputs.recurrent import recurrent_inputs
from transprune.runtime.layer_inputs.shared import shared_inputs
from transprune.runtime.slots import Slots
from transprune.runtime.static.columns import NO_MASK
from transprune.runtime.static.layers import install_static, is_static

PROJECTED = ("attention_mask", "position_embeddings", "position_ids")


@dataclass(frozen=True)
class Projection:
    """What replaces arguments of all layers of one stage.

    Attributes:
        replaced: new values by name.
        slots: what these layers will have stored.
        row_version, given, history: what it depends on: the stage, the arguments that were given,
            and the pruned prefix, length and tail of what was stored before.
    """

    replaced: dict[str, Any]
    slots: Slots
    row_version: int
    given: tuple[Any, Any, Any]
    history: tuple[Slots | None, int, int]

    def fits(self, row_version: int, given: Any, history: Any) -> bool:
        """Whether it may serve such a layer too."""
        # tensors by identity: layers of one kind are given the same objects
        return (
            self.row_version == row_version
            and self.given[0] is given[0]
            and self.given[1] is given[1]
            and self.given[2] is given[2]
            and self.history[0] is history[0]
            and self.history[1:] == history[1:]
        )


def inputs_unchanged(state: Pass, call: LayerCall) -> bool:
    """Whether the given arguments already fit: unpruned rows that meet a history without gaps."""
    if state.pruned:
        return False
    if not call.kind.attends:
        return True  # a state has no columns

    prefix = call.prefix
    if prefix is None:
        return True

    # without fillers and biases, "no mask" is right for the shorter keys too
    return prefix.plain and call.kwargs.get("attention_mask") is None


def project_inputs(state: Pass, call: LayerCall) -> dict[str, Any]:
    """The arguments for the rows that run; announces to the cache what is about to be stored."""
    if not call.kind.attends:
        return {**call.kwargs, **recurrent_inputs(state, call)}
    if not call.kind.stores_keys:
        return {**call.kwargs, **shared_inputs(state, call)}

    projection = projected(state, call)
    if state.pruned and call.cache is not None:
        # as late as this, because a cache grows its list of layers while it is filled
        if is_static(call.cache):
            announce_static(state, call, projection.slots)
            return {**call.kwargs, **projection.replaced}

        stored = install(call.cache, call.index)
        if stored.is_initialized and state.renumbering.moved:
            kind = call.kind
            stored.keys = state.renumbering.moved_keys(stored.keys, kind.rotary, kind.rotation)

        stored.announce(projection.slots, state.length)

    return {**call.kwargs, **projection.replaced}


def announce_static(state: Pass, call: LayerCall, slots: Slots) -> None:
    """Announce to a static cache what it is about to store."""
    if is_flash(call.implementation):
        raise CacheError(NO_MASK)  # now, and not in the first decode step

    stored = install_static(call.cache, call.index, state.length)
    capacities = state.capacities
    if capacities is None:
        stored.announce(slots, state.length)
        return

    stored.announce(slots, state.length, least=capacities.get(call.index, 0))
    capacities[call.index] = stored.capacity


def inputs_of_stage(state: Pass, index: int, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments of a layer as those of the one in front of it; None where that may not fit.

    The way that nearly all layers of a prompt take: nothing was stored before.
    """
    projection = state.projections[0] if state.projections else None
    if projection is None or projection.history[0] is not None:
        return None

    given = tuple(map(kwargs.get, PROJECTED))
    if not projection.fits(state.row_version, given, projection.history):
        return None

    cache = cache_of(kwargs)
    if cache is not None:
        stored = index < len(cache.layers) and cache.layers[index].is_initialized
        if stored or is_static(cache):
            return None
        install(cache, index).announce(projection.slots, state.length)

    return {**kwargs, **projection.replaced}


def projected(state: Pass, call: LayerCall) -> Projection:
    """What changes for a layer; computed once for all layers that share their arguments."""
    kwargs = call.kwargs
    mask, tables, ids = map(kwargs.get, PROJECTED)
    given = (mask, tables, ids)
    # layers without a pruned prefix all store the same
    history: tuple[Slots | None, int, int] = (None, 0, 0)
    stored = call.stored
    if stored is not None and stored.prefix is not None:
        history = (stored.prefix, stored.logical, stored.tail)

    for projection in state.projections:
        if projection.fits(state.row_version, given, history):
            return projection

    replaced, slots = _project(state, call)
    made = Projection(replaced, slots, state.row_version, given, history)
    state.projections.insert(0, made)
    return made


def project_mask(state: Pass, call: LayerCall, history: History) -> MaskProjection:
    """Rows of the mask: the rows that run now. Columns: earlier entries, then their own keys."""
    device = call.hidden.device
    layout = state.layout if state.pruned else None
    if layout is not None:
        rows = layout.origin.to(device)
        real = None if layout.dense else layout.valid.to(device)
    else:
        rows = torch.arange(state.length, device=device).expand(call.hidden.shape[0], -1)
        real = None

    earlier = history.slots
    # slots count over all turns, so this forward begins behind the earlier ones; -1 marks a filler,
    # to which no row attends, now or later
    own = rows + history.length if history.length else rows
    own_bias = None if state.key_bias is None else gather_ids(state.key_bias, rows)
    if real is not None:
        own = torch.where(real, own, -1)

    return MaskProjection(
        rows=rows,
        rows_real=real,
        columns=own if earlier is None else torch.cat([earlier.slots, own], dim=1),
        past=history.length,
        length=state.length,
        dense=real is None and (earlier is None or earlier.dense),
        bias=_join_biases(earlier, own_bias, rows),
    )


def _join_biases(earlier: Slots | None, own: Tensor | None, rows: Tensor) -> Tensor | None:
    """Biases of the earlier entries and of this forward's rows; 0 where there is no bias."""
    first = None if earlier is None else earlier.bias
    if earlier is None or (own is None and first is None):
        return own

    if first is None:
        first = torch.zeros(earlier.slots.shape, dtype=torch.float32, device=earlier.slots.device)
    if own is None:
        own = torch.zeros(rows.shape, dtype=torch.float32, device=rows.device)
    return torch.cat([first, own], dim=1)


def _project(state: Pass, call: LayerCall) -> tuple[dict[str, Any], Slots]:
    """The replaced arguments of all layers of one stage, and the slots they will have stored."""
    mask = project_mask(state, call, history_of(state, call))
    given = call.kwargs
    replaced: dict[str, Any] = {
        "attention_mask": mask.apply(
            given.get("attention_mask"), call.implementation, call.hidden.dtype
        )
    }

    embeddings = given.get("position_embeddings")
    if state.pruned and embeddings is not None:
        assert state.layout is not None
        replaced["position_embeddings"] = state.renumbering.tables(
            embeddings, state.layout, call.hidden, call.kind.rotary, state.positions
        )

    ids = given.get("position_ids")
    if state.pruned and ids is not None:
        # flash attention takes gaps in the ids for packed sequences and separates them in silence;
        # cos and sin carry the true positions
        flash = is_flash(call.implementation)
        replaced["position_ids"] = None if flash else gather_ids(ids, mask.rows)

    return replaced, Slots(mask.columns, mask.dense, mask.bias)
