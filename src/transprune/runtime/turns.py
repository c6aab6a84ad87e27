"""Later turns of a conversation: go on with what was kept, or prefill it again for the new question.

What a method kept was chosen for the first instruction, and `turns="keep"` goes on with it. With
`turns="refresh"` a later instruction is answered as if the whole conversation were one prompt that
ends with it: the tokens of all turns run again into an emptied cache. The features of the pictures
do not depend on any text and are reused where `generate` encoded them. Keys behind the first
boundary depend on what was kept, so none is reused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from transprune.core.library import CACHE_NAMES, cache_of, cache_of_output, past_length
from transprune.errors import CacheError, LayoutError
from transprune.runtime.cache import guard_of, renewed
from transprune.runtime.calls import Calls
from transprune.runtime.conversation import LOST, Conversation
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.taps.base import Setup, Tap

Turns = Literal["keep", "refresh"]
TURNS: tuple[str, ...] = get_args(Turns)

REFRESHED = (
    "turns='refresh': the whole conversation was prefilled again, and tokens were chosen for its "
    "newest instruction"
)
NEW_PICTURE = (
    "this turn brings another picture, and turns='refresh' runs those of the first prompt again; use "
    "turns='keep' for it, or one prompt with all pictures"
)

# arguments that belong to one call alone
OF_ONE_CALL = {"input_ids", "inputs_embeds", "attention_mask", "position_ids", *CACHE_NAMES}

MIXED = (
    "the first turn came with position ids and a later one without, so those of the whole "
    "conversation are not known; call the model in one way, with model.generate or without, or use "
    "turns='keep'"
)


@dataclass
class Refresh:
    """A later turn that is being prefilled again.

    Attributes:
        kwargs: arguments of the call for the whole conversation.
        asked: tokens of the new turn.
        cache, layers: the cache, and the layers it had.
    """

    kwargs: dict[str, Any]
    asked: int
    cache: Any
    layers: list[Any]

    def undo(self) -> None:
        """Put the cache back as it was."""
        self.cache.layers[:] = self.layers

    def last_rows(self, output: Any) -> Any:
        """The output of the model for the rows of the new turn only, as the caller expects."""
        output.last_hidden_state = output.last_hidden_state[:, -self.asked :]
        return output


@dataclass
class Turn:
    """One call of the model.

    Attributes:
        ids: its tokens, [B, n], or None.
        kwargs: its other arguments.
        past: tokens that were in its cache.
        refresh: the whole conversation in its place, where it is a new turn of one.
        conversation: the one that it begins or refreshes; None where it does neither.
    """

    ids: Tensor | None
    kwargs: dict[str, Any]
    past: int = 0
    refresh: Refresh | None = None
    conversation: Conversation | None = None


class Refresher(Tap):
    """Prefills a conversation again in each of its later turns.

    Args:
        setup: the model.
        calls: returns the calls that run now.
        taps: what they captured of the pictures is kept for later turns.
    """

    def __init__(self, setup: Setup, calls: Callable[[], Calls], taps: Sequence[Tap]) -> None:
        self._setup = setup
        self._calls = calls
        self._taps = tuple(taps)
        self._local = threading.local()

    def attach(self, hooks: Hooks) -> None:
        """Register the hooks around the outer model."""
        # first of all, so that the prompt is read of the arguments that replace the given ones
        hooks.before(self._setup.base, self._begin, prepend=True)
        hooks.after(self._setup.base, self._end, always_call=True)

    def end(self, state: Pass) -> None:
        """Keep what later turns need of a pruned prefill."""
        turns = self._turns()
        if not turns or turns[-1].ids is None:
            return

        turn = turns[-1]
        if turn.conversation is None and turn.past:
            return  # tokens in front of this prompt are in the cache, and nobody knows them
        if turn.conversation is None:
            assert turn.ids is not None
            inputs = {name: v for name, v in turn.kwargs.items() if name not in OF_ONE_CALL}
            piece = (turn.ids, turn.kwargs.get("position_ids"))
            turn.conversation = Conversation([piece], inputs, turn.ids.shape[1])

        if turn.refresh is not None:
            state.record.note(REFRESHED)

        turn.conversation.memory = [tap.memory(state) for tap in self._taps]

    def _turns(self) -> list[Turn]:
        """The calls of this thread."""
        if not hasattr(self._local, "turns"):
            self._local.turns = []
        turns: list[Turn] = self._local.turns
        return turns

    def _begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Begin a call; a new turn gets the arguments of its conversation."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        cache = cache_of(kwargs)
        turn = Turn(ids, kwargs, past_length(kwargs))
        # first of all, because the hook behind the model takes away one turn whatever happens
        self._turns().append(turn)

        calls = self._calls()
        drafts = calls.verified
        calls.verified = 0
        guard = guard_of(cache)
        # one token, or one and its drafts, is a step of decoding
        if guard is None or ids is None or ids.shape[1] - drafts < 2:
            return None
        if self._setup.family.has_image_inputs(kwargs):
            raise LayoutError(NEW_PICTURE)
        if guard.conversation is None:
            raise CacheError(LOST)

        turn.conversation = guard.conversation.with_turn(ids, kwargs.get("position_ids"))
        turn.refresh = self._refresh(turn.conversation, kwargs, ids.shape[1])
        calls.drafts = drafts
        calls.asked = ids.shape[1] - drafts
        return (), turn.refresh.kwargs

    def _refresh(
        self, conversation: Conversation, kwargs: Mapping[str, Any], asked: int
    ) -> Refresh:
        """The call with all tokens of a conversation, into the emptied cache."""
        positions = self._positions(conversation)
        ids = conversation.ids
        own = {**kwargs, **conversation.inputs_for(ids.shape[1])}
        own |= {"input_ids": ids, "position_ids": positions}
        # pixels are encoded again, and features were captured when they were encoded
        if not self._setup.family.has_pixels(conversation.inputs):
            for tap, memory in zip(self._taps, conversation.memory, strict=True):
                tap.recall(memory)

        cache = cache_of(kwargs)
        decoder = self._setup.family.decoder(self._setup.base)
        return Refresh(own, asked, cache, renewed(cache, decoder))

    def _positions(self, conversation: Conversation) -> Tensor | None:
        """Those of all turns; None where the model makes them."""
        given = conversation.pieces[0][1] is not None
        positions = conversation.positions
        if positions is None and given and self._setup.family.mrope:
            raise CacheError(MIXED)
        return positions

    def _end(self, module: nn.Module, args: Any, output: Any) -> Any:
        """End a call; `output` is None where it failed."""
        turns = self._turns()
        turn = turns.pop() if turns else None
        if turn is None:
            return None
        if output is None:
            # the caller may try again with the cache it had
            if turn.refresh is not None:
                turn.refresh.undo()
            return None

        guard = guard_of(cache_of_output(output))
        if guard is not None and turn.conversation is not None:
            guard.conversation = turn.conversation
        elif guard is not None and guard.conversation is not None:
            guard.conversation.follow(turn.ids, turn.kwargs.get("position_ids"))

        return None if turn.refresh is None else turn.refresh.last_rows(output)
