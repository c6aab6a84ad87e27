"""A key/value cache layer that stores fewer entries than it reports.

`KeptLayer` holds P physical entries per sample and answers every question about length in
*unpruned* coordinates. Mask creation, generate's slicing of a second turn, beams, crops and deep
copies then work by themselves, while the memory really is shorter. It is installed into the user's
own `DynamicCache`, one layer at a time, just before that layer first stores pruned keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from transprune.errors import CacheError
from transprune.runtime.guard import DynamicLayer, Guard
from transprune.runtime.slots import Slots


class KeptLayer(Guard, DynamicLayer):
    """A cache layer with a pruned prefix and a contiguous tail.

    `prefix` describes the pruned entries; `tail` entries follow and end at slot `logical - 1`. With
    `by_head` the entries of every head belong to other visual tokens.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        # masks are made for the kind of layer that was here before
        self.is_sliding = old.is_sliding
        self.logical = 0
        self.tail = 0
        self.by_head = False
        self.prefix: Slots | None = None
        self._announced: tuple[Slots, int] | None = None

        if old.is_initialized and old.get_seq_length() > 0:
            # an entry that was filled by earlier, unpruned turns becomes the tail
            self.lazy_initialization(old.keys, old.values)
            self.keys = old.keys
            self.values = old.values
            self.logical = old.get_seq_length()
            self.tail = old.keys.shape[-2]

    @property
    def plain(self) -> bool:
        """No mask is needed to attend to all that is stored."""
        return self.prefix is None or self.prefix.plain

    def slots(self, batch: int, device: torch.device) -> Slots:
        """Slots of all stored entries, prefix and tail. -> [B, P]."""
        # decoded tokens are never pruned, so the newest `tail` slots have no gaps
        tail = torch.arange(self.logical - self.tail, self.logical, device=device)
        tail = tail.expand(batch, self.tail)
        prefix = self.prefix
        if prefix is None:
            return Slots(tail, True)

        bias = prefix.bias
        if bias is not None:
            bias = nn.functional.pad(bias, (0, self.tail))  # decoded tokens have no bias

        slots = torch.cat([prefix.slots.to(device), tail], dim=1)
        return Slots(slots, prefix.dense, bias)

    def announce(self, prefix: Slots, logical: int) -> None:
        """Announce that the next `update` stores pruned rows.

        Afterwards `prefix` describes everything that is stored, and the length has grown by
        `logical`.
        """
        self._announced = (prefix, logical)

    def shrink(self, keys: Tensor, values: Tensor, prefix: Slots) -> None:
        """Keep `keys` and `values` [B, H, P, d] of what is stored, other tokens for each head.

        `prefix` describes them: a visual slot stands for whichever visual token a head kept.
        """
        self.by_head = True
        self.keys = keys
        self.values = values
        self.prefix = prefix
        self.tail = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values [B, H, n, d]; returns all stored ones.

        Raises:
            CacheError: tokens were pruned here, and no session is attached that knows of it.
        """
        if self.prefix is not None:
            self.check_prepared()

        if self._announced is not None:
            # the announced slots cover the earlier entries too, so nothing is left in the tail
            self.prefix, advance = self._announced
            self.logical += advance
            self.tail = 0
            self._announced = None
        else:
            self.logical += key_states.shape[-2]
            self.tail += key_states.shape[-2]

        stored: tuple[Tensor, Tensor] = super().update(key_states, value_states)
        return stored

    def get_seq_length(self) -> int:
        """Length in unpruned coordinates."""
        return self.logical

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Width and offset of the mask, in unpruned coordinates."""
        # the projection of the mask takes out the columns of pruned keys
        return self.logical + query_length, 0

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.logical = 0
        self.tail = 0
        self.by_head = False
        self.prefix = None
        self.forget_announcement()

    def forget_announcement(self) -> None:
        """Expect nothing: the call that was announced has failed."""
        super().forget_announcement()
        self._announced = None

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the newest `-tokens_to_remove` tokens.

        Assisted decoding removes rejected drafts in this way.

        Raises:
            CacheError: the cut would reach into tokens that were pruned.
        """
        n = self.check_crop(tokens_to_remove)
        if n == 0 or not self.is_initialized:
            return

        beyond = n - self.tail
        if beyond > 0:  # drafts verified inside the prefill forward sit at the end of the prefix
            assert self.prefix is not None
            self.prefix = self.prefix.without_last(beyond)

        # drafts are never pruned, so the newest n entries are the newest n tokens
        self.keys = self.keys[..., :-n, :]
        self.values = self.values[..., :-n, :]
        self.logical -= n
        self.tail = max(0, self.tail - n)

    def check_own_crop(self, n: int) -> None:
        """Check that nothing among the newest `n` tokens of this layer was pruned.

        Raises:
            CacheError: something was.
        """
        beyond = n - self.tail
        if beyond <= 0:
            return

        # beyond what was generated lies the end of the prompt, of which nothing may be missing
        newest = None if self.prefix is None else self.prefix.slots[:, -beyond:]
        expected = torch.arange(self.logical - n, self.logical - self.tail)
        contiguous = (
            newest is not None
            and newest.shape[1] == beyond
            and bool((newest.cpu() == expected).all())
        )

        if not contiguous:
            raise CacheError(
                "crop would cut into pruned tokens; crop at most what was generated after the "
                "prompt"
            )

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder samples for beam search."""
        super().reorder_cache(beam_idx)
        self._map_prefix(beam_idx, lambda t: t.index_select(0, beam_idx.to(t.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sample `repeats` times."""
        super().batch_repeat_interleave(repeats)
        self._map_prefix(repeats, lambda t: t.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only the samples `indices`."""
        super().batch_select_indices(indices)
        self._map_prefix(indices, lambda t: t[indices])

    def _map_prefix(self, key: Any, change: Callable[[Tensor], Tensor]) -> None:
        if self.prefix is not None:
            self.prefix = self.prefix.map_batch(key, change)
