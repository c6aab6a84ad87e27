"""A static cache layer whose buffer holds a pruned prompt and the tokens still to come.

`StaticKeptLayer` takes the place of a layer of the `StaticCache` that `generate` or the user made,
before that layer has allocated anything. Its buffer has as many entries as the pruned prompt needs,
plus room for all new tokens, and no decode step changes its shape or its address. About lengths it
answers in *unpruned* coordinates, so that the model's masks and positions stay as they are; which
columns of such a mask are its own is known to its `Columns`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transprune.core.library import private
from transprune.errors import CacheError
from transprune.runtime.guard import Guard
from transprune.runtime.slots import Slots
from transprune.runtime.static.columns import Columns

StaticLayer: Any = private("transformers.cache_utils", "StaticLayer")
StaticCache: Any = private("transformers.cache_utils", "StaticCache")


class StaticKeptLayer(Guard, StaticLayer):
    """A layer with a pruned prompt, or the unpruned first layer of a cache with such layers.

    Attributes:
        columns: which columns of the model's mask belong to the buffer; None where nothing was
            pruned.
        capacity: entries of the buffer.
        announced: the next `update` stores the rows of a prompt.
        host_length: of the first layer, slots that are filled in unpruned coordinates, known
            without asking the device; None in other layers.
    """

    def __init__(self, old: Any) -> None:
        super().__init__(old.max_cache_len)
        self.columns: Columns | None = None
        self.capacity: int = old.max_cache_len
        self.host_length: int | None = None
        self._missing: Tensor | None = None
        self.announced = False

    def announce(self, prefix: Slots, length: int, least: int = 0) -> None:
        """Announce that the next `update` stores the pruned rows of a prompt.

        Args:
            prefix: slots of these rows, [B, P].
            length: slots of the prompt.
            least: entries that the buffer has in any case.
        """
        rows = prefix.slots.shape[1]
        self.capacity = max(least, rows + self.max_cache_len - length)
        self.columns = Columns.of(prefix, length, self.capacity, self.max_cache_len)
        # what a graph that is replayed on a GPU need not copy in every step
        for table in (self.columns.slots, self.columns.real, self.columns.bias):
            if table is not None:
                torch._dynamo.mark_static_address(table)

        self._missing = torch.full((), length - rows, dtype=torch.long, device=prefix.slots.device)
        self.announced = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the buffer."""
        # made on the device, so that nothing is copied to it
        self.cumulative_length = torch.zeros((), dtype=torch.long, device=key_states.device)
        logical: int = self.max_cache_len
        self.max_cache_len: int = self.capacity
        super().lazy_initialization(key_states, value_states)
        self.max_cache_len = logical

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values [B, H, n, d].

        Returns:
            The whole buffer, [B, H, K, d]; for a pruned prompt only its own rows, which its
            (projected) mask covers.

        Raises:
            CacheError: no session is attached that knows of the pruned tokens.
        """
        if self.announced:
            return self._store_prompt(key_states, value_states)

        # a compiled step is called by the session itself
        watches = self._siblings is not None and self.is_initialized
        if watches and not torch.compiler.is_compiling():
            self.check_prepared()
        stored: tuple[Tensor, Tensor] = super().update(key_states, value_states)
        return stored

    def _store_prompt(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.announced = False
        self.lazy_initialization(keys, values)
        rows = keys.shape[-2]
        self.keys[:, :, :rows].copy_(keys)
        self.values[:, :, :rows].copy_(values)
        self.cumulative_length.add_(rows)
        return keys, values

    def get_seq_length(self) -> Any:
        """Length in unpruned coordinates: a tensor, as that of any static layer."""
        length = super().get_seq_length()
        return length if self._missing is None else length + self._missing

    def take(self, rows: int) -> None:
        """Note that a session's hooks run in a call with so many new rows.

        Raises:
            CacheError: there is no room for them.
        """
        assert self.host_length is not None
        if self.host_length + rows > self.max_cache_len:
            raise CacheError(
                f"this static cache has room for {self.max_cache_len} tokens, of which "
                f"{self.host_length} are taken and {rows} more came. Make it as long as the "
                "(unpruned) prompt and all new tokens together: StaticCache(config, max_cache_len)"
            )

        self.host_length += rows
        self.prepare()

    def forget_announcement(self) -> None:
        """Expect nothing: the call that was announced has failed."""
        super().forget_announcement()
        if self.announced:
            self.reset()

    def reset(self) -> None:
        """Forget everything; the layer is then as a new static layer."""
        self.__dict__.update(vars(type(self)(self)))
        self._siblings = None
        self._prepared = False

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder samples for beam search; the buffers stay where they are."""
        if not self.is_initialized:
            return
        index = beam_idx.to(self.keys.device)
        self.keys.copy_(self.keys.index_select(0, index))
        self.values.copy_(self.values.index_select(0, index))
        if self.columns is not None:
            self.columns = self.columns.reorder(beam_idx)

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: a static cache does not get shorter.

        Raises:
            CacheError: always.
        """
        raise CacheError(
            "a static cache cannot be cut, as assisted decoding and a second answer to the same "
            "prompt need; leave cache_implementation unset (and decode='dynamic')"
        )

    batch_repeat_interleave = batch_select_indices = crop  # type: ignore[assignment]


def is_static(cache: Any) -> bool:
    """Whether this is a static cache."""
    return isinstance(cache, StaticCache)


def pruned_static_cache(cache: Any) -> StaticKeptLayer | None:
    """The first layer of a static cache that lacks pruned tokens; None for any other cache."""
    if not is_static(cache) or not cache.layers:
        return None
    first = cache.layers[0]
    # set when a layer of the cache was pruned, until it is reset
    known = isinstance(first, StaticKeptLayer) and first.host_length is not None
    return first if known else None


def install_static(cache: Any, index: int, length: int) -> StaticKeptLayer:
    """The layer for the pruned prompt of decoder layer `index`, in place of the empty one there.

    The first layer of the cache gets one too, with its contents: it is asked first in every call.
    """
    kept = StaticKeptLayer(cache.layers[index])
    cache.layers[index] = kept

    first = cache.layers[0]
    if not isinstance(first, StaticKeptLayer):
        watching = StaticKeptLayer(first)
        watching.__dict__.update(vars(first))
        cache.layers[0] = first = watching

    first.host_length = length
    first.watch(cache.layers)
    return kept
