"""Layers of a pruned cache that take new keys from prepared calls only.

Masks and positions are made for unpruned keys, and hooks of a session fit them to what is stored.
So a layer with a pruned prefix needs a call that a session has prepared, and so does the first
layer of such a cache: a call without hooks fails before it has stored anything.
"""

from __future__ import annotations

from typing import Any

from transprune.core.library import private
from transprune.errors import CacheError

DynamicLayer: Any = private("transformers.cache_utils", "DynamicLayer")
DynamicSlidingWindowLayer: Any = private("transformers.cache_utils", "DynamicSlidingWindowLayer")


class Guard:
    """Of a cache that lacks pruned tokens: takes new keys from prepared calls only."""

    guards = True  # quicker to look up than the class, in every step of decoding
    conversation: Any = None  # tokens of all turns, where later ones prefill them again
    _prepared = False
    _siblings: list[Any] | None = None

    def watch(self, layers: list[Any]) -> None:
        """Be asked first: `layers` are those of the whole cache, of which this is the first."""
        # the list and not the cache: a deep copy of the cache shares its copied list again
        self._siblings = layers

    def check_crop(self, tokens_to_remove: int) -> int:
        """Check that the newest tokens of every layer can be removed, before any is.

        Args:
            tokens_to_remove: their number, negative as `DynamicCache.crop` passes it on.

        Returns:
            Their number, positive.

        Raises:
            CacheError: the cut would reach into tokens that were pruned.
        """
        if tokens_to_remove > 0:
            raise CacheError(
                f"crop takes a negative number of tokens to remove; got {tokens_to_remove}"
            )

        for layer in self._siblings or (self,):
            if isinstance(layer, Guard):
                layer.check_own_crop(-tokens_to_remove)
        if self.conversation is not None:
            self.conversation.crop(-tokens_to_remove)
        return -tokens_to_remove

    # samples that are exchanged, repeated or left out no longer fit the tokens that were noted

    def reorder_cache(self, beam_idx: Any) -> None:
        """Reorder samples for beam search."""
        self.conversation = None
        super().reorder_cache(beam_idx)  # type: ignore[misc]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sample `repeats` times."""
        self.conversation = None
        super().batch_repeat_interleave(repeats)  # type: ignore[misc]

    def batch_select_indices(self, indices: Any) -> None:
        """Keep only the samples `indices`."""
        self.conversation = None
        super().batch_select_indices(indices)  # type: ignore[misc]

    def check_own_crop(self, n: int) -> None:
        """Check that nothing among the newest `n` tokens of this layer was pruned.

        Raises:
            CacheError: something was.
        """

    @property
    def plain(self) -> bool:
        """No mask is needed to attend to all that is stored."""
        return True

    def prepare(self) -> None:
        """Note that a session's hooks run in the call whose keys come next."""
        self._prepared = True

    def forget_announcement(self) -> None:
        """Expect nothing: the call that was announced has failed."""
        self._prepared = False

    def check_prepared(self) -> None:
        """Use up what was prepared.

        Raises:
            CacheError: nothing was.
        """
        if not self._prepared:
            raise CacheError(
                "this cache was filled inside a session and lacks the pruned tokens, so its masks "
                "and positions are right only with the hooks of a session; attach the session "
                "again and continue inside it"
            )
        self._prepared = False


class GuardedLayer(Guard, DynamicLayer):
    """An unpruned first layer of a pruned cache."""

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Store new keys and values; returns all stored ones.

        Raises:
            CacheError: no session is attached that knows of the pruned tokens.
        """
        if self.is_initialized and self.get_seq_length() > 0:
            self.check_prepared()
        return super().update(*args, **kwargs)

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the newest `-tokens_to_remove` tokens.

        Raises:
            CacheError: a pruned layer of the cache cannot.
        """
        self.check_crop(tokens_to_remove)
        super().crop(tokens_to_remove)


class GuardedSlidingLayer(GuardedLayer, DynamicSlidingWindowLayer):
    """The same with a sliding window."""
