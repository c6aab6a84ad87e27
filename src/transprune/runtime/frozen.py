"""Frozen layers: visual rows keep their state and still give keys and values; only the other rows ask and change.

The layer is handed the rows that ask, with their part of the mask. Keys and values of the rest are projected here, by
the layer's own modules, and join those of the asking rows where the layer hands them to its cache. The cache therefore
stores what it always does, and decoding costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import Layout, gather_rows
from transprune.core.library import cache_keyword
from transprune.errors import MethodError, MissingSignal
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs import LayerCall, history_of, memo_key, project_rows
from transprune.runtime.taps.attention.rows import rotary_of, split_heads


@dataclass(frozen=True)
class Asking:
    """Which rows of a layer ask.

    Attributes:
        index: long [B, T], their row numbers, ascending; samples with fewer are filled up on the left with others.
        real: bool [B, T], False on those fillers.
        rest: long [B, L - T], all other rows.
        place: long [B, L], where each row stands in `rest` followed by `index`.
        dense: there is no filler.
    """

    index: Tensor
    real: Tensor
    rest: Tensor
    place: Tensor
    dense: bool

    @classmethod
    def of(cls, layout: Layout) -> Asking:
        """Every row that is not visual asks; so does the last one of a sample, because its logits are the answer."""
        asks = layout.valid & ~layout.visual
        for sample in range(layout.batch):
            asks[sample, layout.rows(sample)[-1:]] = True
        counts = asks.sum(dim=1)
        width, least = int(counts.max()), int(counts.min())
        # a filler is a visual row before it is padding, which may see nothing at all
        order = torch.argsort(asks.long() + (asks | layout.visual).long(), dim=1, stable=True)
        first = layout.rows_total - width
        real = torch.arange(width, device=asks.device) >= width - counts[:, None]
        return cls(order[:, first:], real, order[:, :first], order.argsort(dim=1), width == least)

    def put_back(self, changed: Tensor, before: Tensor) -> Tensor:
        """`before` [B, L, D] with the rows that asked replaced by `changed` [B, T, D]."""
        if self.dense and len(before) == 1:
            return before.index_copy(1, self.index[0], changed)
        index = self.index[..., None].expand_as(changed)
        return before.scatter(
            1, index, torch.where(self.real[..., None], changed, before.gather(1, index))
        )

    def spread(self, change: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Magnitude and cosine [B, T] of the rows that asked, for all rows [B, L]: the others did not change."""
        magnitude, cosine = change
        still = torch.zeros(self.place.shape, device=magnitude.device)
        moved = torch.where(self.real, magnitude, 0)
        return still.scatter(1, self.index, moved), (still + 1).scatter(1, self.index, cosine)


class JointCache:
    """Stands in for a layer's cache: joins the keys and values of the rest with those of the rows that ask."""

    def __init__(self, cache: Any, keys: Tensor, values: Tensor, place: Tensor) -> None:
        self._cache, self._rest, self._place = cache, (keys, values), place

    def update(
        self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values [B, H, L, d] in the order of the rows, stored by the real cache if there is one."""
        keys, values = (
            self._in_order(torch.cat(pair, dim=2))
            for pair in zip(self._rest, (keys, values), strict=True)
        )
        return (
            (keys, values)
            if self._cache is None
            else self._cache.update(keys, values, *args, **kwargs)
        )

    def _in_order(self, both: Tensor) -> Tensor:
        if len(both) == 1:
            return both.index_select(2, self._place[0])
        return both.gather(
            2, self._place[:, None, :, None].expand(-1, both.shape[1], -1, both.shape[3])
        )


class Freezer:
    """Freezes the visual rows in the decoder layers `frozen` (0-based)."""

    def __init__(self, layers: Sequence[Any], frozen: frozenset[int]) -> None:
        self._layers, self._frozen = layers, frozen

    def attach(self, after: Callable[..., None], running: Callable[[], Pass | None]) -> None:
        """Register what puts the rows back behind each frozen layer; `running` gives the pass of the thread."""

        def leave(layer: nn.Module, args: Any, output: Any) -> Any:
            return None if (state := running()) is None else _leave(state, output)

        for index in sorted(self._frozen):
            after(self._layers[index], leave)

    def wants(self, state: Pass, index: int) -> bool:
        """Is there something to freeze in this layer?"""
        return (
            index in self._frozen
            and state.layout is not None
            and sum(state.layout.visual_counts) > 0
        )

    def enter(
        self, state: Pass, call: LayerCall, kwargs: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Any]]:
        """The rows that ask and their keywords; `kwargs` are those of all rows of this depth."""
        _check(call)
        key = ("frozen", *memo_key(state, call))
        if key not in state.memo:
            assert state.layout is not None
            asking = Asking.of(state.layout)
            stored = call.stored
            held = (
                None if stored is None else stored.prefix,
                call.kwargs,
            )  # what the key's ids name
            state.memo[key] = (asking, _keywords(state, call, kwargs, asking), held)
        asking, keywords, _ = state.memo[key]
        keys, values = _project_rest(call, kwargs["position_embeddings"], asking)
        state.asking, state.entered = (
            asking,
            (call.index, call.hidden, kwargs["position_embeddings"]),
        )
        joint = JointCache(call.cache, keys, values, asking.place)
        return gather_rows(call.hidden, asking.index), {
            **kwargs,
            **keywords,
            cache_keyword(kwargs): joint,
        }


def _keywords(
    state: Pass, call: LayerCall, kwargs: dict[str, Any], asking: Asking
) -> dict[str, Any]:
    projection = project_rows(state, call, history_of(state, call)).of_rows(asking.index)
    mask = projection.apply(
        call.kwargs.get("attention_mask"), call.implementation, call.hidden.dtype
    )
    embeddings = tuple(gather_rows(table, asking.index) for table in kwargs["position_embeddings"])
    keywords: dict[str, Any] = {"attention_mask": mask, "position_embeddings": embeddings}
    if (ids := kwargs.get("position_ids")) is not None:
        keywords["position_ids"] = ids.expand(len(asking.index), -1).gather(1, asking.index)
    return keywords


def _project_rest(
    call: LayerCall, embeddings: tuple[Tensor, Tensor], asking: Asking
) -> tuple[Tensor, Tensor]:
    """Rotated keys and values of the rows that do not ask. -> two of [B, Hkv, L - T, d]."""
    attention = call.layer.self_attn
    normalised = call.layer.input_layernorm(gather_rows(call.hidden, asking.rest))
    keys = split_heads(attention, attention.k_proj(normalised), "k_norm")
    cos, sin = (gather_rows(table, asking.rest) for table in embeddings)
    return rotary_of(attention)(keys[:, :1], keys, cos, sin)[1], split_heads(
        attention, attention.v_proj(normalised)
    )


def _leave(state: Pass, output: Any) -> Any:
    if state.asking is None or state.entered is None:
        return None
    asking, state.asking = state.asking, None
    hidden = output[0] if isinstance(output, tuple) else output
    full = asking.put_back(hidden, state.entered[1])
    return (full, *output[1:]) if isinstance(output, tuple) else full


def _check(call: LayerCall) -> None:
    if getattr(call.layer, "gradient_checkpointing", False) and call.layer.training:
        raise MethodError(
            "a frozen layer hands its keys over through the cache, which gradient checkpointing takes away; call "
            "model.gradient_checkpointing_disable() first"
        )
    missing = [name for name in ("k_proj", "v_proj") if not hasattr(call.layer.self_attn, name)]
    if missing:
        raise MissingSignal(
            f"freezing needs k_proj and v_proj; {type(call.layer.self_attn).__name__} lacks {missing}"
        )
