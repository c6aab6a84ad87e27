"""Evict visual keys from the cache: layers are scored as they run, and keys go when all have run.

The number of keys that stay may depend on the attention of each layer. It is read for all layers
together behind the last one, so that a prefill waits for the device once more and not once per
layer. Until then the cache holds everything, as it does without pruning.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import Layout
from transprune.core.library import CACHE_NAMES, cache_of
from transprune.errors import CacheError, PruneWarning
from transprune.methods.common.cache_pruner import CachePruner
from transprune.runtime.cache import install
from transprune.runtime.eviction.checks import check_drafts, check_kinds, check_mask, listed
from transprune.runtime.eviction.entries import entries_of, slots_of, take_entries
from transprune.runtime.eviction.kept import KeptRows, alike, counts_of, kept_rows
from transprune.runtime.eviction.scored import ScoredLayer, score_layer
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.host import to_host
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.layer_inputs.project import announce_static
from transprune.runtime.pools import Pool, PoolGroup, grouped, pools_of
from transprune.runtime.record import RecordedEviction, RecordedScores
from transprune.runtime.slots import Slots
from transprune.runtime.static.layers import is_static
from transprune.runtime.taps.attention.ran import RanLayer
from transprune.runtime.taps.base import Setup, not_measured

READER = "eviction"
POOLS = "pools"
NO_CACHE = (
    "nothing was evicted: this call stored no keys (use_cache=False), so it ran as the unpruned "
    "model does"
)


class Evictor:
    """Evicts keys behind each prefill with visual tokens.

    Args:
        setup: model and method.
        pool: whether a sample's visual tokens are ranked together or image by image.

    Raises:
        CacheError: keys of this model are not all seen by all later tokens of their own layer only.
    """

    def __init__(self, setup: Setup, pool: Pool) -> None:
        self._pool = pool
        self._records_scores = "scores" in setup.record
        self._layers = setup.layers
        self._kinds = setup.kinds
        self._method = next((s for s in setup.method.steps if isinstance(s, CachePruner)), None)
        self._scored: list[int] = []
        self._ran: dict[int, RanLayer] = {}
        if self._method is None:
            return

        check_kinds(self._method, setup.kinds)
        wanted = self._method.layers(setup.depth)
        # a layer that shares another one's keys has none of its own to evict
        self._scored = [index for index in wanted if setup.kinds[index].stores_keys]
        if not self._scored:
            raise CacheError(
                f"{self._method.name} evicts keys of decoder layers {listed(wanted)}, none of which "
                "stores any in this model"
            )

        if self._method.reads.rows is not None:
            for index in self._scored:
                self._ran[index] = RanLayer(setup.layers, setup.kinds, index, READER)

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks behind each layer."""
        for index in self._scored:
            if index in self._ran:
                self._ran[index].attach(hooks)
            hooks.pruning.after(
                self._layers[index], partial(self._score, hooks, index), with_kwargs=True
            )

    def check_call(self, kwargs: Mapping[str, Any], prompt: Layout | None) -> None:
        """Refuse what eviction would give other answers to, before anything runs.

        Args:
            kwargs: of the call.
            prompt: its layout where it has visual tokens, else None.

        Raises:
            LayoutError: a mask with rows and columns.
            CacheError: drafts that come with the prompt.
        """
        mask = kwargs.get("attention_mask")
        if getattr(mask, "ndim", 2) == 4:
            evicts = prompt is not None and self._method is not None
            check_mask(cache_of(kwargs), evicts)
        if prompt is not None and self._method is not None:
            check_drafts(self._method, prompt.drafts)

    def _score(
        self, hooks: Hooks, index: int, layer: nn.Module, args: Any, kwargs: Any, output: Any
    ) -> None:
        state = hooks.running()
        if state is None or state.layout is None or self._method is None:
            return

        # in a frozen layer something stands in for it
        cache = cache_of(kwargs)
        cache = getattr(cache, "real", cache)
        ran = self._ran[index].take(state) if index in self._ran else None
        state.captured[READER, index] = None

        layout = state.layout
        # only the number of rows and their device are read of what stands for them
        rows = layout.origin.expand(layout.batch, -1)[..., None]
        groups = self._groups(state, layout, rows)
        if not any(self._drops(index, group.pools[0].count) for group in groups):
            return
        if cache is None:
            state.captured[READER, NO_CACHE] = True
            return

        call = LayerCall(index, layer, self._kinds[index], rows, {CACHE_NAMES[-1]: cache})
        scored = score_layer(state, call, ran, groups, self._method)
        state.captured[READER, index] = scored

    def _groups(self, state: Pass, layout: Layout, rows: Tensor) -> list[PoolGroup]:
        """The pools of the rows that run, made once for all layers between two boundaries."""
        known = state.captured.get((READER, POOLS))
        if known is None or known[0] is not layout:
            pools = ((pool, None) for pool in pools_of(layout, rows, self._pool))
            known = (layout, [group for group, _ in grouped(pools)])
            state.captured[READER, POOLS] = known
        groups: list[PoolGroup] = known[1]
        return groups

    def _drops(self, index: int, total: int) -> bool:
        """Whether a head may lose any of `total` visual keys in this layer."""
        assert self._method is not None
        return min(self._method.counts(index, total)) < total

    def end(self, state: Pass) -> None:
        """Let the keys go that no head keeps.

        Raises:
            MissingSignal: a layer ran without having been scored.
            MethodError: a third party's method chose a number of keys that it does not have.
        """
        if self._method is None:
            return

        missing = [index for index in self._scored if (READER, index) not in state.captured]
        if missing:
            raise not_measured(missing[0], "self_attn")

        layers = [state.captured.pop((READER, index)) for index in self._scored]
        scored: list[ScoredLayer] = [layer for layer in layers if layer is not None]
        if state.captured.pop((READER, NO_CACHE), False):
            state.record.note(NO_CACHE)
            warnings.warn(NO_CACHE, PruneWarning, stacklevel=2)
        if not scored:
            return

        choices = [
            ranked.ranking.choice
            for layer in scored
            for ranked in layer.ranked
            if ranked.ranking.choice is not None
        ]

        # read together, and all of it before the first key goes: an error leaves the cache whole
        found = iter(to_host(choices))
        counts = [counts_of(layer, found) for layer in scored]
        for together, of_each in alike(scored, counts):
            self._evict(state, together, kept_rows(together, of_each))

        self._note_scores(state, scored)
        state.record.evictions.sort(key=lambda eviction: eviction.layer)

    def _note_scores(self, state: Pass, scored: Sequence[ScoredLayer]) -> None:
        """Let scores that are not finite be found; one sum per pool tells."""
        assert self._method is not None
        sums = [one.ranking.scores.sum(dim=(1, 2)) for layer in scored for one in layer.ranked]
        where = f"layers {listed([layer.call.index for layer in scored])}"
        device = sums[0].device
        state.record.note_scores(self._method.name, where, torch.cat([s.to(device) for s in sums]))

    def _evict(self, state: Pass, layers: Sequence[ScoredLayer], rows: KeptRows) -> None:
        """Keep these rows of some layers, of each those of its own heads."""
        assert self._method is not None
        shared = slots_of(layers[0], rows)
        first = 0
        for layer in layers:
            own = rows.of_heads(slice(first, first + layer.heads))
            first += layer.heads
            # one object serves all layers, as their masks are made by its identity
            alone = layer.history is not layers[0].history and layer.history.length
            if own.kept != layer.layout.lengths:
                evict(state, layer, own, slots_of(layer, own) if alone else shared)

            scores = recorded_scores(layer) if self._records_scores else ()
            state.record.evictions.append(
                RecordedEviction(
                    layer=layer.call.index,
                    method=self._method.name,
                    layout=layer.layout,
                    rows=own.index,
                    kept=own.kept,
                    visual=own.visual,
                    scores=scores,
                )
            )


def evict(state: Pass, scored: ScoredLayer, rows: KeptRows, slots: Slots) -> None:
    """Keep these rows of a layer in its cache."""
    call = scored.call
    entries = entries_of(scored, rows)
    keys, values = (take_entries(tensor, entries) for tensor in scored.stored())

    if is_static(call.cache):
        announce_static(state, call, slots)
        call.cache.layers[call.index].update(keys, values)
        return

    install(call.cache, call.index).shrink(keys, values, slots)


def recorded_scores(scored: ScoredLayer) -> tuple[RecordedScores, ...]:
    """The scores of a layer for the trace."""
    found = []
    for ranked in scored.ranked:
        pools = ranked.group.pools
        images = tuple(pool.image for pool in pools)
        found.append((ranked.group.samples, images, ranked.ranking.scores.detach().float()))
    return tuple(found)
