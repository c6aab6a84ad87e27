"""The turns of a conversation so far, which hang on their key/value cache.

A refresh runs all tokens of them again, so their ids and position ids are kept as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from transprune.errors import CacheError

LOST = (
    "this cache does not know the tokens of its earlier turns, which turns='refresh' prefills again: "
    "it was filled in another session, by beams, from embeddings, or with text in front of the first "
    "picture's turn, or its samples were exchanged. Begin the conversation with its picture, in this "
    "session and with one beam, or use turns='keep'"
)

# ids [B, n] of some tokens, and their position ids
Piece = tuple[Tensor, Tensor | None]


@dataclass
class Conversation:
    """What a refresh needs of the turns so far; it hangs on their cache.

    Attributes:
        pieces: ids of the tokens in the cache, long [B, n] each, in order, and the position ids
            [1 or B, n] or [A, B, n] that came with them, or None.
        inputs: arguments of the prefill besides its ids, such as pixels or encoded features.
        length: slots of that prefill.
        memory: what each tap captured for it.
        known: the ids of all its tokens are.
    """

    pieces: list[Piece]
    inputs: dict[str, Any]
    length: int
    memory: list[Any] = field(default_factory=list)
    known: bool = True

    @property
    def ids(self) -> Tensor:
        """All of them, [B, L]."""
        return self._joined()[0]

    @property
    def positions(self) -> Tensor | None:
        """Position ids of all of them; None where the model made some itself."""
        return self._joined()[1]

    def _joined(self) -> Piece:
        """All pieces as one."""
        if len(self.pieces) > 1:
            ids = torch.cat([ids for ids, _ in self.pieces], dim=1)
            self.pieces = [(ids, _join_positions([positions for _, positions in self.pieces]))]
        return self.pieces[0]

    def follow(self, ids: Tensor | None, positions: Tensor | None) -> None:
        """Note tokens [B, n] that entered the cache; None for tokens that nobody knows."""
        if ids is None:
            self.known = False
        else:
            self.pieces.append((ids, positions))

    def with_turn(self, ids: Tensor, positions: Tensor | None) -> Conversation:
        """The conversation with the tokens [B, n] of a new turn.

        Raises:
            CacheError: earlier tokens are not known, or there were other samples.
        """
        if not self.known or len(ids) != len(self.pieces[0][0]):
            raise CacheError(LOST)
        return replace(self, pieces=[*self.pieces, (ids, positions)])

    def crop(self, n: int) -> None:
        """Forget the newest `n` tokens."""
        ids, positions = self._joined()
        left = ids.shape[1] - n
        self.pieces = [(ids[:, :left], None if positions is None else positions[..., :left])]

    def inputs_for(self, length: int) -> dict[str, Any]:
        """The arguments for a prompt of `length` slots, which goes on with text."""
        grown = dict(self.inputs)
        for name, value in self.inputs.items():
            # one number per slot, such as token types; text is 0
            if isinstance(value, Tensor) and value.shape[1:] == (self.length,):
                grown[name] = nn.functional.pad(value, (0, length - self.length))
        return grown

    def __deepcopy__(self, memo: Any) -> Conversation:
        # a copied cache goes on by itself, with the same pictures
        return replace(self, pieces=list(self.pieces))


def _join_positions(given: Sequence[Tensor | None]) -> Tensor | None:
    """Position ids of several calls as those of one; None where some call came without."""
    known = [positions for positions in given if positions is not None]
    if len(known) < len(given):
        return None
    if len({positions.shape[:-1] for positions in known}) == 1:
        return torch.cat(known, dim=-1)

    # under M-RoPE a prefill has planes for time, height and width, and perhaps one for the text in
    # front of them, where a later turn has a single plane for all
    planes = [p[-3:] if len(p) > 1 else p.expand(3, -1, -1) for p in known]
    return torch.cat(planes, dim=-1)
