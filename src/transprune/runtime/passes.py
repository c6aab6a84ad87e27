"""One forward from its first hook to its last: its prompt, its pass, and what is told of it.

module         before                               after
whole model    count drafts to be verified
outer model    note which slots are visual          forget them
decoder        begin a Pass                         end it, evict keys, publish the trace
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from transprune.core.library import cache_length, cache_of, cache_of_output, check_checkpointing
from transprune.errors import SessionError
from transprune.families.wrappers import unwrap
from transprune.runtime.added import AddedRows
from transprune.runtime.cache import forget_announcements, has_pruned_prefix
from transprune.runtime.calls import Calls, count_drafts, count_verified, is_being_called
from transprune.runtime.checks import is_free
from transprune.runtime.compiled import NOTE
from transprune.runtime.eviction.evictor import Evictor
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import HookGroup, Hooks
from transprune.runtime.pools import Pool
from transprune.runtime.static.decode import StaticDecode
from transprune.runtime.taps.base import Setup, Tap
from transprune.runtime.taps.prompt import Prompt, decoder_called_alone, read_prompt
from transprune.runtime.unread import Unread, flags_of


@dataclass(frozen=True)
class Parts:
    """What takes part in the beginning and the end of a pass."""

    taps: Sequence[Tap]
    evictor: Evictor
    added: AddedRows
    static: StaticDecode


class Passes:
    """Begins and ends the pass of each forward; one may run in each thread.

    Args:
        setup: the model, the method, and what is recorded.
        parts: what has work where a pass begins or ends.
        pool: what is ranked together.
        hooked: layers that have work in a prefill.
        first: the first of them that drops rows.
        publish: called with the finished Pass of every prefill, and its cache.
    """

    def __init__(
        self,
        setup: Setup,
        parts: Parts,
        pool: Pool,
        hooked: Sequence[int],
        first: int,
        publish: Callable[[Pass, Any], None],
    ) -> None:
        self.calls = Calls()
        self._setup = setup
        self._family = setup.family
        self._base = setup.base
        self._parts = parts
        self._hooked = hooked
        self._first = first
        self._publish = publish
        self._by_frame = pool == "frame"
        self._reads_tiles = any("tiles" in step.reads.vision for step in setup.method.steps)
        self._unread = Unread()

    def attach(self, hooks: Hooks, *, compiled: bool) -> None:
        """Register the hooks around the models. `compiled`: their compiled code is set aside."""
        self.calls = Calls()  # nothing is left of calls that were interrupted
        self._hooks = hooks
        self._compiled = compiled

        outer = unwrap(self._setup.model)
        if outer is not self._base:
            hooks.before(outer, self._count_drafts)

        hooks.before(self._base, self._read_prompt)
        # always_call: the prompt of a call that failed must not meet the next call
        hooks.after(self._base, self._forget_prompt, always_call=True)

        decoder = self._family.decoder(self._base)
        hooks.before(decoder, self._begin)
        hooks.after(decoder, self._end, always_call=True)

    def running(self) -> Pass | None:
        """The pass of the calling thread."""
        states = self.calls.states
        return states[-1] if states else None

    def runs_here(self) -> bool:
        """Whether the calling thread is inside a forward that is pruned."""
        state = self.running()
        if state is None or state.layout is None:
            return False
        # torch ends no hook after Ctrl-C, so a pass may be left of a forward that is over
        return is_being_called(self._family.decoder(self._base))

    def read_flags(self) -> None:
        """Read what checks of earlier passes left on the device.

        Raises:
            MethodError: a method of a third party returned no valid selection.
        """
        self._unread.read()

    # the prompt: from the call of the outer model to that of the decoder

    def _count_drafts(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.calls.drafts = count_drafts(kwargs)
        self.calls.verified = count_verified(kwargs)

    def _read_prompt(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        # first of all, because the hook behind the model takes away one prompt whatever happens
        self.calls.prompts.append(None)
        if getattr(module, "_is_replica", False):
            raise SessionError(
                "DataParallel runs copies of the model, which are not pruned; run one process per "
                "GPU, or load the model with device_map='auto'"
            )

        ids = kwargs.get("input_ids", args[0] if args else None)
        drafts = self.calls.drafts
        asked = self.calls.asked
        self.calls.drafts = self.calls.asked = 0

        # flags of earlier passes are copied with the ids
        unread = self._unread.now()
        prompt = read_prompt(
            self._family,
            self._base,
            ids,
            kwargs,
            drafts,
            partial(flags_of, unread),
            self._by_frame,
            self._reads_tiles,
        )
        self._parts.evictor.check_call(kwargs, prompt.layout)

        if prompt.layout is not None:
            prompt = prompt.asked_by(asked)
            self._hooks.check_in_place()
            self._unread.read_copied(unread, prompt.extra)

        self.calls.prompts[-1] = prompt

    def _forget_prompt(self, module: nn.Module, args: Any, output: Any) -> None:
        prompt = self.calls.prompts.pop() if self.calls.prompts else None
        # the decoder's hook takes the prompt, so one that is left was not pruned
        if output is not None and prompt is not None and prompt.layout is not None:
            raise SessionError(
                "the language model ran without the hooks of this session, so nothing was pruned; "
                "was it replaced or wrapped? Leave the session and attach it again"
            )

    def _take_prompt(self, rows: Tensor) -> Prompt:
        """The prompt of the decoder's `rows`, which no other call of it gets."""
        prompts = self.calls.prompts
        prompt = prompts[-1] if prompts else None
        # rows in another number are not those of the prompt: somebody called the decoder directly
        if prompt is None or not prompt.fits(rows):
            return decoder_called_alone(rows)

        prompts[-1] = None
        return prompt

    # the pass: the call of the decoder

    def _begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Begin a pass, unless no hook has anything to do in this forward."""
        # first of all, because the hook behind the decoder takes away one pass whatever happens
        states = self.calls.states
        states.append(None)
        rows = _rows(args, kwargs)
        if rows is None:
            return None

        state = self._new_pass(rows, kwargs)
        if state is None:
            return None

        # a text-only call may use any cache and any training setting
        if state.layout is not None:
            self._prepare(state, state.layout.drafts)

        states[-1] = state
        if state.layout is None:
            return None

        switch_on(state, self._hooks.pruning)
        state.hooked = self._hooked
        own = self._parts.added.take(state, kwargs, self._first)
        return None if own is None else (args, own)

    def _new_pass(self, rows: Tensor, kwargs: dict[str, Any]) -> Pass | None:
        """The pass of a call of the decoder; None where nothing is pruned, nor was in its cache."""
        prompt = self._take_prompt(rows)
        layout = prompt.layout
        cache = cache_of(kwargs)
        if layout is None and self._parts.static.continues(cache, rows.shape[1]):
            return None

        is_prefill = cache is None or cache_length(cache) == 0
        follows = not is_prefill and has_pruned_prefix(cache)
        if layout is None and not is_prefill and not follows:
            return None  # decoding on an unpruned cache

        return Pass(
            length=rows.shape[1],
            batch=rows.shape[0],
            layout=layout,
            prompt=layout,
            is_prefill=is_prefill,
            follows=follows,
            unpruned=prompt.reason,
            cache=cache,
            repeats=cache is None and kwargs.get("use_cache") is False,
            positions=_flat_positions(kwargs),
            capacities=self._parts.static.capacities,
        )

    def _prepare(self, state: Pass, drafts: int) -> None:
        """What a prefill with visual tokens needs before its first layer."""
        check_checkpointing(self._setup.layers[0])
        if self._compiled:
            state.record.note(NOTE)
        if drafts:
            state.record.note(
                f"the last {drafts} tokens are drafts (logits_to_keep={drafts + 1} with an empty "
                "cache) and take no part in the choice"
            )

        for tap in self._parts.taps:
            tap.begin(state)

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        """End the pass; `output` is None while an exception passes through."""
        state = self.calls.states.pop() if self.calls.states else None
        if state is None:
            return
        for group in state.hook_groups:
            group.switch_off()
        if output is None:
            forget_announcements(state.cache)  # what was to be stored never came
            return

        state.check_all_layers_ran()
        if state.layout is not None:
            self._parts.evictor.end(state)
            for tap in self._parts.taps:
                tap.end(state)
            self._unread.add(state.record)
            if is_free(state.layout.prompt.device):
                self.read_flags()

        # decode steps leave the trace of their prefill in place
        if state.layout is not None or state.is_prefill:
            self._publish(state, cache_of_output(output))


def switch_on(state: Pass, group: HookGroup) -> None:
    """Put hooks on until the pass ends."""
    group.switch_on()
    state.hook_groups.append(group)


def _rows(args: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """What the decoder is called with: embeddings, or ids if somebody calls it by itself."""
    rows = kwargs.get("inputs_embeds")
    if rows is None:
        rows = kwargs.get("input_ids", args[0] if args else None)
    return rows


def _flat_positions(kwargs: dict[str, Any]) -> Tensor | None:
    """Position ids [1 or B, L] among the decoder's arguments, or None."""
    positions = kwargs.get("position_ids")
    fits = isinstance(positions, Tensor) and positions.ndim == 2
    return positions if fits else None
