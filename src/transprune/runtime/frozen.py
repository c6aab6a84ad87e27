"""Frozen layers: visual rows keep their state and only give keys and values.

The layer is given the query rows (all others) with their part of the mask. Keys and values of the
frozen rows are projected here, by the layer's own modules, and join those of the query rows where
the layer passes them to its cache. The cache therefore stores what it always does, and decoding
costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transprune.core.layout import Layout, gather_rows
from transprune.core.library import cache_keyword
from transprune.core.rows import upload
from transprune.errors import MethodError, MissingSignal
from transprune.runtime.forward_pass import FrozenInput, Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall, history_of
from transprune.runtime.layer_inputs.gather import gather_ids
from transprune.runtime.layer_inputs.project import project_mask
from transprune.runtime.layer_inputs.rotation import rotate_one
from transprune.runtime.static.layers import is_static

FROZEN = "frozen"  # the query rows of a stage and their arguments


@dataclass(frozen=True)
class QueryRows:
    """Which rows of a layer are computed.

    Attributes:
        index: long [B, T], their row numbers, ascending; samples with fewer are filled up on the
            left with other rows.
        real: bool [B, T], False on those fillers.
        frozen_rows: long [B, L - T], all other rows.
        place: long [B, L], where each row stands in `frozen_rows` followed by `index`.
        dense: there is no filler.
    """

    index: Tensor
    real: Tensor
    frozen_rows: Tensor
    place: Tensor
    dense: bool

    @classmethod
    def of(cls, layout: Layout) -> QueryRows:
        """Every row that is not visual, and the last row of a sample: its logits are the answer."""
        # visual rows give keys and values only
        is_query = layout.valid & ~layout.visual
        counts = []
        for sample, ends in enumerate(layout.prompt.ends_with_image):
            counts.append(layout.lengths[sample] - layout.visual_counts[sample] + int(ends))
            if ends:
                is_query[sample, layout.instruction_rows(sample)] = True

        width = max(counts)
        dense = width == min(counts)

        # sorted to the right: queries; a filler is a visual row before it is padding, which may
        # attend to nothing at all
        rank = is_query.long() + (is_query | layout.visual).long()
        order = torch.argsort(rank, dim=1, stable=True)
        first = layout.rows_total - width
        fillers = width - np.array(counts)[:, None]
        real = upload(np.arange(width) >= fillers, is_query.device)
        return cls(order[:, first:], real, order[:, :first], order.argsort(dim=1), dense)

    def put_back(self, changed: Tensor, before: Tensor) -> Tensor:
        """`before` [B, L, D] with the query rows replaced by `changed` [B, T, D]."""
        if self.dense and len(before) == 1:  # the common case, without a gather
            return before.index_copy(1, self.index[0], changed)

        # a filler is written back as it was
        index = self.index[..., None].expand_as(changed)  # [B, T] -> [B, T, D]
        rows = torch.where(self.real[..., None], changed, before.gather(1, index))
        return before.scatter(1, index, rows)

    def spread(self, change: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Magnitude and cosine [B, T] of the query rows, for all rows [B, L].

        Frozen rows did not change: their magnitude is 0 and their cosine 1.
        """
        magnitude, cosine = change
        nothing = torch.zeros(self.place.shape, dtype=torch.float32, device=magnitude.device)
        real_magnitude = torch.where(self.real, magnitude, 0)
        return (
            nothing.scatter(1, self.index, real_magnitude),
            (nothing + 1).scatter(1, self.index, cosine),
        )


class JointCache:
    """Stands in for a layer's cache and joins the keys and values of frozen and query rows.

    Args:
        cache: the real cache, or None.
        keys, values: of the frozen rows, [B, Hkv, L - T, d].
        place: `QueryRows.place`.
    """

    def __init__(self, cache: Any, keys: Tensor, values: Tensor, place: Tensor) -> None:
        self._cache = cache
        self._keys = keys
        self._values = values
        self._place = place

    @property
    def real(self) -> Any:
        """The cache that it stands for."""
        return self._cache

    def update(
        self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values [B, H, L, d] in the order of the rows, stored by the real cache."""
        # in the order of the rows, because masks are causal by place
        keys = self._in_order(torch.cat([self._keys, keys], dim=2))
        values = self._in_order(torch.cat([self._values, values], dim=2))
        if self._cache is None:
            return keys, values

        stored: tuple[Tensor, Tensor] = self._cache.update(keys, values, *args, **kwargs)
        # the mask covers the rows of the prompt, and a static buffer is longer
        return (keys, values) if is_static(self._cache) else stored

    def _in_order(self, both: Tensor) -> Tensor:
        if len(both) == 1:
            return both.index_select(2, self._place[0])
        index = self._place[:, None, :, None].expand(-1, both.shape[1], -1, both.shape[3])
        return both.gather(2, index)


class Freezer:
    """Freezes the visual rows in the decoder layers `frozen` (0-based)."""

    def __init__(self, layers: Sequence[Any], frozen: frozenset[int]) -> None:
        self._layers = layers
        self._frozen = frozen

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks that put the rows back behind each frozen layer."""

        def leave(layer: nn.Module, args: Any, output: Any) -> Any:
            state = hooks.running()
            return None if state is None else _leave(state, output)

        for index in sorted(self._frozen):
            hooks.layers.after(self._layers[index], leave)

    def has_work(self, state: Pass, index: int) -> bool:
        """Whether there are visual rows to freeze in this layer."""
        if index not in self._frozen or state.layout is None:
            return False
        return sum(state.layout.visual_counts) > 0

    def enter(
        self, state: Pass, call: LayerCall, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """The query rows [B, T, D] and their arguments; `kwargs` are those of all running rows."""
        _check(call)
        # layers of one kind of mask may still have rotary tables of two kinds
        given = (kwargs.get("attention_mask"), kwargs["position_embeddings"], call.prefix)
        key = (state.row_version, *map(id, given))
        known = state.captured.get(FROZEN)
        if known is None or known[0] != key:
            assert state.layout is not None
            queries = QueryRows.of(state.layout)
            kept_alive = (call.prefix, kwargs)  # what the ids in the key belong to
            known = (key, queries, _arguments(state, call, kwargs, queries), kept_alive)
            state.captured[FROZEN] = known

        _, queries, arguments, _ = known

        embeddings = kwargs["position_embeddings"]
        # projected per layer: unlike masks and cos/sin, keys differ between layers
        keys, values = _project_frozen(call, embeddings, queries)
        state.query_rows = queries
        state.frozen_input = FrozenInput(call.index, call.hidden, embeddings)

        joint = JointCache(call.cache, keys, values, queries.place)
        return (
            gather_rows(call.hidden, queries.index),
            {**kwargs, **arguments, cache_keyword(kwargs): joint},
        )


def _arguments(
    state: Pass, call: LayerCall, kwargs: dict[str, Any], queries: QueryRows
) -> dict[str, Any]:
    """The arguments that differ for the query rows: mask, cos/sin and position ids."""
    # queries are some rows, keys are all: only an explicit mask can say so
    projection = project_mask(state, call, history_of(state, call)).of_rows(queries.index)
    given_mask = call.kwargs.get("attention_mask")
    tables = kwargs["position_embeddings"]
    arguments: dict[str, Any] = {
        "attention_mask": projection.apply(given_mask, call.implementation, call.hidden.dtype),
        "position_embeddings": tuple(gather_rows(table, queries.index) for table in tables),
    }

    ids = kwargs.get("position_ids")
    if ids is not None:
        arguments["position_ids"] = gather_ids(ids, queries.index)

    return arguments


def _project_frozen(
    call: LayerCall, embeddings: tuple[Tensor, Tensor], queries: QueryRows
) -> tuple[Tensor, Tensor]:
    """Rotated keys, and values, of the frozen rows. -> two of [B, Hkv, L - T, d]."""
    kind = call.kind
    normalised = kind.norm(gather_rows(call.hidden, queries.frozen_rows))

    keys = kind.keys(kind.mixer.k_proj(normalised))
    cos, sin = (gather_rows(table, queries.frozen_rows) for table in embeddings)
    rotated = rotate_one(kind.rotation, keys, cos, sin)
    return rotated, kind.values(kind.mixer.v_proj(normalised))


def _leave(state: Pass, output: Any) -> Any:
    """All rows behind a frozen layer: query rows as computed, frozen rows as they entered."""
    if state.query_rows is None or state.frozen_input is None:
        return None

    # taps behind this layer must see full rows again
    queries = state.query_rows
    state.query_rows = None
    hidden = output[0] if isinstance(output, tuple) else output
    full = queries.put_back(hidden, state.frozen_input.hidden)
    return (full, *output[1:]) if isinstance(output, tuple) else full


def _check(call: LayerCall) -> None:
    if getattr(call.layer, "gradient_checkpointing", False) and call.layer.training:
        raise MethodError(
            "a frozen layer passes its keys on through the cache, which gradient checkpointing "
            "takes away; call model.gradient_checkpointing_disable() first"
        )

    attention = call.kind.mixer
    missing = [name for name in ("k_proj", "v_proj") if getattr(attention, name, None) is None]
    if missing:
        raise MissingSignal(
            f"freezing needs k_proj and v_proj; {type(attention).__name__} lacks {missing}"
        )
