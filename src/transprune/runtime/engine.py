"""The hooks, and what each of them does in one forward.

Nothing is written on the model: state lives in the running pass (per thread) and in the cache layers. Leaving removes
every hook, also after an exception, because all of them hang on one ExitStack.

    outer model    pre   which slots are visual
    rotary         pre   note the position ids
    decoder        pre   begin a Pass                      forward  end it, publish the trace
    layer i        pre   stage at boundary i, layer door   forward  (frozen layer) put the rows that asked back
                                                           forward  (last layer) back to the prompt's length
    inside layers        only for methods that ask: transitions (`observe`), attention rows (`reading`)
    vision tower         only for methods that ask (`vision`)
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transprune.core.layout import Layout, gather_rows
from transprune.core.library import (
    cache_of,
    cache_of_output,
    check_checkpointing,
    check_decoder_layer,
    warn_if_untested,
)
from transprune.core.signals import JointSpace, VisionSignals
from transprune.errors import PruneWarning
from transprune.families.base import Family
from transprune.methods.common.method import Method, Positions
from transprune.runtime.cache import check_cache, needs_door
from transprune.runtime.forward_pass import Pass
from transprune.runtime.frozen import Freezer
from transprune.runtime.layer_inputs import LayerCall, nothing_to_do, pass_through
from transprune.runtime.stage import Decision, Part, Pool, Sight, decide
from transprune.runtime.taps.attention.tap import AttentionReader, keep_ready
from transprune.runtime.taps.prompt import ends_with_image, read_prompt
from transprune.runtime.taps.question import QuestionReader
from transprune.runtime.taps.text_tower import TextTower
from transprune.runtime.taps.transitions import Observer
from transprune.runtime.taps.vision import VisionListener

NO_INSTRUCTION = "no instruction after the image; the last token of the prompt stands in for it"


class Engine:
    """Runs a method inside one model.

    Args:
        family, base: the model's family and its inner module.
        method: what to run.
        policies: position policy of each step of the method.
        pool: whether a sample's visual tokens are ranked together or image by image.
        record: names of what the trace should carry besides the kept tokens.
        publish: called with the finished Pass of every prefill, and its cache.
        text_tower: embeds questions, for methods that ask on models whose vision tower is CLIP's.
    """

    def __init__(
        self,
        family: Family,
        base: Any,
        method: Method,
        policies: tuple[Positions, ...],
        pool: Pool,
        record: frozenset[str],
        publish: Callable[[Pass, Any], None],
        text_tower: TextTower | None = None,
    ) -> None:
        self._family, self._base, self._record, self._publish = family, base, record, publish
        self._layers = family.layers(base)
        self._rotary: nn.Module | None = getattr(family.decoder(base), "rotary_emb", None)
        self._local = threading.local()
        depth = len(self._layers)
        readings = {reading.boundary: reading for reading in method.reads_at(depth)}
        self._parts: dict[int, tuple[Part, Positions]] = {
            reading.boundary: (Part(number, step, depth, pool), policy)
            for number, (step, policy) in enumerate(zip(method.steps, policies, strict=True))
            for reading in step.reads_at(depth)
        }
        self._reads_instruction = any(
            reading.rows == "instruction" for reading in readings.values()
        )
        self._frozen = Freezer(self._layers, frozenset(method.frozen(depth)))
        self._reads_embeddings = any(reading.embeddings for reading in readings.values())
        self._reader = AttentionReader(self._layers, readings, self._rotary)
        self._observer = Observer(method, depth, record)
        signals = {name for step in method.steps for name in step.reads.vision}
        self._vision = VisionListener(family, base, signals) if signals else None
        self._question = QuestionReader(base, text_tower) if text_tower is not None else None

    def attach(self, stack: ExitStack) -> None:
        """Register every hook; leaving `stack` removes them."""

        def before(module: nn.Module, hook: Callable[..., Any]) -> None:
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

        def after(module: nn.Module, hook: Callable[..., Any], **options: bool) -> None:
            stack.callback(module.register_forward_hook(hook, **options).remove)

        warn_if_untested()
        for layer in self._layers:
            check_decoder_layer(layer)
        decoder = self._family.decoder(self._base)
        before(self._base, self._read_prompt)
        after(self._base, self._forget_prompt, always_call=True)
        before(decoder, self._begin)
        after(decoder, self._end, always_call=True)
        if self._rotary is not None and not self._family.mrope:
            before(self._rotary, self._note_positions)
        for index, layer in enumerate(self._layers):
            before(layer, partial(self._before_layer, index))
        self._frozen.attach(after, self._running)
        after(self._layers[-1], self._restore_length)
        self._observer.attach(self._layers, self._running, after)
        self._reader.attach(before, after, self._running)
        if self._vision is not None:
            self._vision.attach(stack)
        if self._question is not None:
            self._question.attach(stack)

    def _running(self) -> Pass | None:
        """The pass of the calling thread."""
        return getattr(self._local, "state", None)

    def _joint(self, layout: Layout) -> Callable[[int, VisionSignals], JointSpace | None]:
        """CLIP's joint space for a sample; None where the vision tower is not CLIP's."""
        reader = self._question
        return lambda sample, vision: (
            None if reader is None else reader.joint(layout, sample, vision)
        )

    def _read_prompt(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._local.prompt = None
        ids = kwargs.get("input_ids", args[0] if args else None)
        self._local.prompt = read_prompt(self._family, self._base, ids, kwargs)

    def _forget_prompt(self, module: nn.Module, args: Any, output: Any) -> None:
        self._local.prompt = None

    def _begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._local.state = None
        rows = kwargs.get("inputs_embeds")
        rows = rows if rows is not None else kwargs.get("input_ids", args[0] if args else None)
        if rows is None:
            return
        cache = cache_of(kwargs)
        prompt: Layout | None = getattr(self._local, "prompt", None)
        layout = None if prompt is None or prompt.rows_total != rows.shape[1] else prompt
        first = cache is None or cache.get_seq_length() == 0
        if layout is None and not first and not needs_door(cache):
            return  # decode on an unpruned cache: no hook has anything to do
        state = Pass(
            length=rows.shape[1], batch=rows.shape[0], layout=layout, prompt=layout, first=first
        )
        if layout is not None:
            check_cache(cache)
            check_checkpointing(self._layers[0])
            self._observer.begin(state)
            if self._vision is not None:
                state.taps["vision"] = self._vision.take()
            if self._reads_instruction and ends_with_image(layout):
                state.note(NO_INSTRUCTION)
                warnings.warn(NO_INSTRUCTION, PruneWarning, stacklevel=2)
        self._local.state = state

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        state, self._local.state = self._running(), None
        if (
            output is None or state is None
        ):  # an exception is on its way through, or nothing happened
            return
        if state.layout is not None or state.first:
            self._publish(state, cache_of_output(output))

    def _note_positions(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if (state := self._running()) is not None:
            state.positions = kwargs.get("position_ids", args[1] if len(args) > 1 else None)

    def _before_layer(self, index: int, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        state = self._running()
        if state is None:
            return None
        staged = state.layout is not None and index in self._parts
        hidden = args[0] if args else kwargs["hidden_states"]
        call = LayerCall(index, layer, hidden, kwargs)
        if staged:
            hidden = self._prune(state, call)
            call = LayerCall(index, layer, hidden, kwargs)
        if index == 0 and self._reads_embeddings and state.layout is not None:
            state.embedded = (hidden, state.layout)
        frozen = self._frozen.wants(state, index)
        if not nothing_to_do(state, call):
            kwargs = pass_through(state, call, self._rotary)
        elif not staged and not frozen:
            return None
        if frozen:
            hidden, kwargs = self._frozen.enter(state, call, kwargs)
        if args:
            return (hidden, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    def _prune(self, state: Pass, call: LayerCall) -> Tensor:
        """Run the stage in front of this layer; the hidden states of the rows that stay."""
        part, policy = self._parts[call.index]
        assert state.layout is not None
        before = state.layout
        attention, ahead = self._reader.read(state, call)
        vision = state.taps.get("vision")
        sight = Sight(
            call.index, before, call.hidden, attention, vision, state.embedded, self._joint(before)
        )
        decision = decide(part, state, sight, "scores" in self._record)
        state.stages.append(decision.trace)
        if decision.changes_nothing:
            return call.hidden
        index, state.layout = before.survivors(decision.dropped)
        state.pruned, state.depth = True, state.depth + 1
        state.widths[call.index] = index.shape[1]
        self._observer.prune(state, before, index)
        if policy == "renumber":
            _remove_positions(state, before, decision)
        if decision.weighs:
            _weigh_keys(state, decision)
        if ahead is not None and not decision.merges and not self._frozen.wants(state, call.index):
            keep_ready(state, call, ahead, index)
        hidden = gather_rows(call.hidden, index)
        for sample, features in enumerate(decision.features):
            if features is not None:
                hidden[sample, state.layout.visual_rows(sample)] = features
        return hidden

    def _restore_length(self, layer: nn.Module, args: Any, output: Any) -> Any:
        """Back to the prompt's length: logits, labels and positions keep their meaning; dropped rows are 0."""
        state = self._running()
        if state is None or not state.pruned or state.layout is None:
            return None
        hidden = output[0] if isinstance(output, tuple) else output
        layout = state.layout
        # the origins of fillers are slots nobody kept, so nothing real is overwritten; they become 0 all the same
        values = hidden if layout.dense else hidden.masked_fill(~layout.valid[..., None], 0)
        samples = torch.arange(state.batch, device=hidden.device)[:, None]
        slots = (layout.origin + samples * state.length).flatten()
        full = hidden.new_zeros(state.batch * state.length, hidden.shape[-1])
        full = full.index_copy(0, slots, values.flatten(0, 1)).unflatten(
            0, (state.batch, state.length)
        )
        return (full, *output[1:]) if isinstance(output, tuple) else full


def _weigh_keys(state: Pass, decision: Decision) -> None:
    """Add the bias of the rows that stay to what their slots had."""
    layout = state.layout
    assert layout is not None
    bias = (
        torch.zeros(state.batch, state.length, device=layout.origin.device)
        if state.bias is None
        else state.bias
    )
    state.bias = bias.clone()
    for sample, more in enumerate(decision.biases):
        if more is not None:
            state.bias[sample, layout.origin[sample, layout.visual_rows(sample)]] += more


def _remove_positions(state: Pass, before: Layout, decision: Decision) -> None:
    """Count, in front of every slot, the tokens whose positions renumbering closes."""
    gone = torch.zeros(before.batch, state.length, dtype=torch.long, device=before.origin.device)
    for sample, rows in enumerate(decision.dropped):
        gone[sample, before.origin[sample, rows]] = 1
    ahead, total = gone.cumsum(dim=1) - gone, gone.sum(dim=1)
    state.removed_before = ahead if state.removed_before is None else state.removed_before + ahead
    state.removed_total = total if state.removed_total is None else state.removed_total + total
