"""What one layer's keys were scored by, until the prefill is over and keys can go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from transprune.core.cache_view import CacheView, HeadRanking
from transprune.core.layout import Layout
from transprune.core.plan import Rows
from transprune.errors import MethodError
from transprune.methods.common.cache_pruner import CachePruner
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import History, LayerCall, history_of
from transprune.runtime.layer_inputs.project import project_mask
from transprune.runtime.pools import PoolGroup
from transprune.runtime.taps.attention.pool import GroupAttention
from transprune.runtime.taps.attention.ran import Ran
from transprune.runtime.taps.attention.rows import AttentionRows


@dataclass(frozen=True)
class Ranked:
    """Pools of equal size, their ranking, and the numbers of keys their heads may keep."""

    group: PoolGroup
    ranking: HeadRanking
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ScoredLayer:
    """One decoder layer behind its forward.

    Attributes:
        call: the layer, with a stand-in for its rows, and the cache it really stored into.
        layout: the rows that ran.
        history: what it stored in earlier forwards.
        ranked: every pool of the batch, in groups.
    """

    call: LayerCall
    layout: Layout
    history: History
    ranked: list[Ranked]

    @property
    def earlier(self) -> int:
        """Entries in front of those of this forward."""
        slots = self.history.slots
        return 0 if slots is None else slots.slots.shape[1]

    @property
    def heads(self) -> int:
        """Key/value heads."""
        return int(self.call.cache.layers[self.call.index].keys.shape[1])

    def stored(self) -> tuple[Tensor, Tensor]:
        """All keys and values of the layer, [B, Hkv, n, d] each."""
        # a static buffer has room for tokens to come
        entries = self.earlier + self.layout.rows_total
        layer = self.call.cache.layers[self.call.index]
        return layer.keys[:, :, :entries], layer.values[:, :, :entries]


def score_layer(
    state: Pass, call: LayerCall, ran: Ran | None, groups: list[PoolGroup], method: CachePruner
) -> ScoredLayer:
    """Rank the visual keys that a layer has just stored.

    Args:
        state: the forward.
        call: the layer, see `ScoredLayer`.
        ran: what it projected; None where the method reads no attention.
        groups: its pools.
        method: what ranks.

    Raises:
        MethodError: keys are weighed one by one, or the ranking of a third party does not fit.
    """
    layout = state.layout
    assert layout is not None
    history = history_of(state, call, stored_already=True)
    if state.key_bias is not None or (history.slots is not None and history.slots.bias is not None):
        raise MethodError(
            f"{method.name} lets every head keep other keys, and this cache weighs keys by their "
            "place (merged tokens count more than others); compose it with a method that weighs none"
        )

    scored = ScoredLayer(call, layout, history, [])
    source = None if ran is None else _attention(state, scored, ran)
    for group in groups:
        counts = method.counts(call.index, group.pools[0].count)
        ranking = method.rank(_view(scored, source, group, method.reads.rows))
        _check(method, ranking, group, scored.heads)
        scored.ranked.append(Ranked(group, ranking, counts))

    return scored


def _attention(state: Pass, scored: ScoredLayer, ran: Ran) -> AttentionRows:
    """Attention rows of a layer, over the keys that it stored."""
    layout = scored.layout
    history = scored.history
    plain = history.slots is None or history.slots.plain
    keys, _ = scored.stored()

    return AttentionRows(
        scored.call.kind,
        ran.projections,
        ran.embeddings,
        partial(project_mask, state, scored.call, history),
        ran.mask,
        history.keys,
        causal=ran.mask is None and plain and layout.dense,
        rotated=keys,
    )


def _view(
    scored: ScoredLayer, source: AttentionRows | None, group: PoolGroup, rows: Rows | None
) -> CacheView:
    """The view of a group of pools; everything is computed when it is read."""
    earlier = scored.earlier
    read = None if source is None else GroupAttention(group, source)

    def attention(asked: Any) -> Tensor:
        assert read is not None
        return read.to_visual(asked)

    def visual(number: int) -> Tensor:
        stored = scored.stored()[number]
        # [B, Hkv, L, d] -> [B, L, Hkv, d] -> [G, N, Hkv, d]
        return group.of(stored[:, :, earlier:].transpose(1, 2)).transpose(1, 2)

    return CacheView(
        layer=scored.call.index,
        total=group.pools[0].count,
        heads=scored.call.kind.query_groups * scored.heads,
        kv_heads=scored.heads,
        rows=rows,
        _attention=attention,
        _keys=partial(visual, 0),
        _values=partial(visual, 1),
    )


def _check(method: CachePruner, ranking: HeadRanking, group: PoolGroup, heads: int) -> None:
    """Raise MethodError unless a ranking has the shapes of its pools."""
    pools = len(group.pools)
    wanted = (pools, heads, group.pools[0].count)
    if tuple(ranking.scores.shape) != wanted:
        raise MethodError(
            f"{method.name} must score every visual key of every head, {list(wanted)}; it returned "
            f"{list(ranking.scores.shape)}"
        )

    choice = ranking.choice
    if choice is not None and (tuple(choice.shape) != (pools,) or choice.dtype != torch.long):
        raise MethodError(
            f"{method.name} must choose one of its counts for each pool, long [{pools}]; it "
            f"returned {choice.dtype} {list(choice.shape)}"
        )
