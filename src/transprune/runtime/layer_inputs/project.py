"""Project the arguments of a decoder layer onto the rows that still run and the keys it stores.

The arguments arrive in coordinates of the unpruned forward. Masks, cos/sin and position ids are
taken from what the model made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transprune.errors import CacheError
from transprune.runtime.cache import install
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import History, LayerCall, history_of
from transprune.runtime.layer_inputs.masks import MaskProjection, is_flash
from transprune.runtime.layer_inputs.rotation import rotation_of
from transprune.runtime.slots import Slots
from transprune.runtime.static.columns import NO_MASK
from transprune.runtime.static.layers import install_static, is_static

PROJECTED = ("attention_mask", "position_embeddings", "position_ids")


def inputs_unchanged(state: Pass, call: LayerCall) -> bool:
    """Whether the given arguments already fit: unpruned rows that meet a history without gaps."""
    if state.pruned:
        return False
    prefix = call.prefix
    if prefix is None:
        return True

    # without fillers and biases, "no mask" is right for the shorter keys too
    return prefix.plain and call.kwargs.get("attention_mask") is None


def project_inputs(state: Pass, call: LayerCall, rotary: nn.Module | None) -> dict[str, Any]:
    """The arguments for the rows that run; announces to the cache what is about to be stored."""
    replaced, slots = projected(state, call, rotary)
    if state.pruned and call.cache is not None:
        # as late as this, because a cache grows its list of layers while it is filled
        if is_static(call.cache):
            _announce_static(state, call, slots)
            return {**call.kwargs, **replaced}
        stored = install(call.cache, call.index)
        if state.renumbering.moved and stored.is_initialized:
            rotate = rotation_of(call.layer.self_attn)
            stored.keys = state.renumbering.moved_keys(stored.keys, rotary, rotate)
        stored.announce(slots, state.length)
    return {**call.kwargs, **replaced}


def _announce_static(state: Pass, call: LayerCall, slots: Slots) -> None:
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


def projected(
    state: Pass, call: LayerCall, rotary: nn.Module | None
) -> tuple[dict[str, Any], Slots]:
    """The arguments that change, and the slots that will have been stored."""
    key = memo_key(state, call)
    if key not in state.memo:
        given = [call.kwargs.get(name) for name in PROJECTED]
        # what the ids in the key belong to is kept alive beside the result
        state.memo[key] = (_project(state, call, rotary), call.prefix, given)
    result: tuple[dict[str, Any], Slots] = state.memo[key][0]
    return result


def memo_key(state: Pass, call: LayerCall) -> tuple[Any, ...]:
    """Everything a projection depends on.

    Layers of one stage share these objects, so one projection per stage serves them all. Whoever
    stores a result under this key also stores the objects, because the id of a freed object could
    be reused.
    """
    kwargs = call.kwargs
    stored = call.stored
    # layers without a pruned prefix all store the same
    history = None
    if stored is not None and stored.prefix is not None:
        history = (id(stored.prefix), stored.logical, stored.tail)
    return (
        state.row_version,
        history,
        id(kwargs.get("attention_mask")),
        id(kwargs.get("position_embeddings")),
        id(kwargs.get("position_ids")),
    )


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
    if real is not None:
        own = torch.where(real, own, -1)
    return MaskProjection(
        rows=rows,
        rows_real=real,
        columns=own if earlier is None else torch.cat([earlier.slots, own], dim=1),
        past=history.length,
        length=state.length,
        dense=real is None and (earlier is None or earlier.dense),
        bias=_join_biases(earlier, _gather(state.key_bias, rows), rows),
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


def _project(
    state: Pass, call: LayerCall, rotary: nn.Module | None
) -> tuple[dict[str, Any], Slots]:
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
            embeddings, state.layout, call.hidden, rotary, state.positions
        )

    ids = given.get("position_ids")
    if state.pruned and ids is not None:
        # flash attention takes gaps in the ids for packed sequences and separates them in silence;
        # cos and sin carry the true positions
        flash = is_flash(call.implementation)
        replaced["position_ids"] = None if flash else _gather(ids, mask.rows)

    return replaced, Slots(mask.columns, mask.dense, mask.bias)


def _gather(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """Entries `rows` [B, P] of `values` [1 or B, L]."""
    return None if values is None else values.expand(rows.shape[0], -1).gather(1, rows)
