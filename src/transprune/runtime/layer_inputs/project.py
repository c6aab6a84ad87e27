"""Project the arguments of a decoder layer onto the rows that still run and the keys it stores.

The arguments arrive in coordinates of the unpruned forward. Masks, cos/sin and position ids are
taken from what the model made; only renumbered positions are computed anew, by the model's own
rotary module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import gather_rows
from transprune.errors import SessionError
from transprune.runtime.cache import install
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import History, LayerCall, history_of
from transprune.runtime.layer_inputs.masks import MaskProjection, is_flash
from transprune.runtime.slots import Slots

PROJECTED = ("attention_mask", "position_embeddings", "position_ids")


def inputs_unchanged(state: Pass, call: LayerCall) -> bool:
    """Whether the given arguments already fit: unpruned rows that meet a history without gaps."""
    if state.pruned:
        return False
    prefix = call.prefix
    if prefix is None:
        return True

    # fillers need a mask, a shift needs other positions, a bias needs an additive mask
    plain = prefix.dense and prefix.shift is None and prefix.bias is None
    # the fast path of decoding: without fillers, "no mask" is right for the shorter keys too
    return call.kwargs.get("attention_mask") is None and plain


def project_inputs(state: Pass, call: LayerCall, rotary: nn.Module | None) -> dict[str, Any]:
    """The arguments for the rows that run; announces to the cache what is about to be stored."""
    # as late as this, because a cache grows its list of layers while it is filled
    if state.pruned and call.cache is not None:
        install(call.cache, call.index)

    key = memo_key(state, call)
    if key not in state.memo:
        given = [call.kwargs.get(name) for name in PROJECTED]
        # what the ids in the key belong to is kept alive beside the result
        state.memo[key] = (_project(state, call, rotary), call.prefix, given)
    (replaced, slots), *_ = state.memo[key]

    stored = call.stored
    if state.pruned and stored is not None:
        stored.announce(slots, state.length)
    return {**call.kwargs, **replaced}


def memo_key(state: Pass, call: LayerCall) -> tuple[Any, ...]:
    """Everything a projection depends on.

    Layers of one stage share these objects, so one projection per stage serves them all. Whoever
    stores a result under this key also stores the objects, because the id of a freed object could
    be reused.
    """
    stored = call.stored
    lengths = None if stored is None else (stored.logical, stored.tail)
    given = [id(call.kwargs.get(name)) for name in PROJECTED]
    return (state.row_version, id(call.prefix), lengths, *given)


def project_mask(state: Pass, call: LayerCall, history: History) -> MaskProjection:
    """Rows of the mask: the rows that run now. Columns: earlier entries, then their own keys."""
    device = call.hidden.device
    if state.pruned:
        assert state.layout is not None
        rows = state.layout.origin.to(device)
        real = state.layout.valid.to(device)
        dense = state.layout.dense
    else:
        rows = torch.arange(state.length, device=device).expand(call.hidden.shape[0], -1)
        real = torch.ones_like(rows, dtype=torch.bool)
        dense = True

    earlier = history.slots
    # slots count over all turns, so this forward begins behind the earlier ones; -1 marks a filler,
    # to which no row attends, now or later
    own = torch.where(real, rows + history.length, -1)
    return MaskProjection(
        rows=rows,
        rows_real=real,
        columns=torch.cat([earlier.slots, own], dim=1),
        past=history.length,
        length=state.length,
        dense=dense and earlier.dense,
        bias=_join_biases(earlier, _gather(state.key_bias, rows), rows),
    )


def _join_biases(earlier: Slots, own: Tensor | None, rows: Tensor) -> Tensor | None:
    """Biases of the earlier entries and of this forward's rows; 0 where there is no bias."""
    if own is None and earlier.bias is None:
        return None

    first = earlier.bias
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

    # positions removed by an earlier forward shift all of this one; those removed now shift only
    # what follows them
    renumbering = state.renumbering
    before = None if call.prefix is None else call.prefix.shift
    per_sample = None if before is None else before[:, None]  # [B] -> [B, 1]
    shift = _add(per_sample, _gather(renumbering.before_slot, mask.rows))  # [B, P]

    embeddings = given.get("position_embeddings")
    if shift is not None and rotary is not None:
        replaced["position_embeddings"] = _renumber(state, call, rotary, shift)
    elif state.pruned and embeddings is not None:
        replaced["position_embeddings"] = tuple(
            gather_rows(table, mask.rows) for table in embeddings
        )

    ids = given.get("position_ids")
    if state.pruned and ids is not None:
        # flash attention takes gaps in the ids for packed sequences and separates them in silence;
        # cos and sin carry the true positions
        flash = is_flash(call.implementation)
        replaced["position_ids"] = None if flash else _gather(ids, mask.rows)

    slots = Slots(mask.columns, _add(before, renumbering.total), mask.dense, mask.bias)
    return replaced, slots


def _renumber(state: Pass, call: LayerCall, rotary: nn.Module, shift: Tensor) -> tuple[Tensor, ...]:
    """cos and sin at the model's positions minus `shift` [B, P], the number removed before each."""
    positions = state.renumbering.positions
    if state.pruned and state.layout is not None:
        positions = _gather(positions, state.layout.origin)

    if positions is None:
        raise SessionError(
            "the model did not call its rotary module, so its positions cannot be closed up; use "
            "positions='keep'"
        )
    # the module's forward, not the module: our own hook on it must see the model's positions only
    return rotary.forward(call.hidden, positions - shift)


def _gather(values: Tensor | None, rows: Tensor) -> Tensor | None:
    """Entries `rows` [B, P] of `values` [1 or B, L]."""
    return None if values is None else values.expand(rows.shape[0], -1).gather(1, rows)


def _add(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """The sum, where None counts as 0."""
    if first is None:
        return second
    return first if second is None else first + second
