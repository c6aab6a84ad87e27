"""The hooks, and what each of them does in one forward.

Nothing is written on the model: state lives in the running pass (per thread) and in the cache layers. Leaving removes
every hook, also after an exception, because all of them hang on one ExitStack.

    outer model    pre   which slots are visual                             Prompt
    rotary         pre   note the position ids
    decoder        pre   begin a Pass                      forward  end it, publish the trace
    layer i        pre   stage at boundary i, layer door   forward  (last layer) back to the prompt's length
    self_attn, mlp       transitions of the layers a method observes
    q_proj, k_proj       projections a method reads in passing
    input_layernorm, k_proj   of a boundary layer: what its stage computed already is not computed again
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

from transprune.errors import LayoutError, PruneWarning
from transprune.families.base import Family
from transprune.layout import Layout, gather_rows
from transprune.methods.base import Method, Positions
from transprune.runtime.attention import AttentionRows, NextLayer, PreviousLayer
from transprune.runtime.cache import check_cache
from transprune.runtime.door import LayerCall, history_of, nothing_to_do, pass_through, project_rows
from transprune.runtime.observe import Observer
from transprune.runtime.stage import Decision, Part, Pool, decide
from transprune.runtime.state import Pass, Prompt
from transprune.runtime.vision import VisionListener

NO_INSTRUCTION = "no instruction after the image; the last token of the prompt stands in for it"


class Engine:
    """Runs a method inside one model.

    Args:
        family, base: the model's family and its inner module.
        method: what to run.
        policies: position policy of each part of the method.
        pool: whether a sample's visual tokens are ranked together or image by image.
        record: names of what the trace should carry besides the kept tokens.
        publish: called with the finished Pass of every prefill.
    """

    def __init__(
        self,
        family: Family,
        base: nn.Module,
        method: Method,
        policies: tuple[Positions, ...],
        pool: Pool,
        record: frozenset[str],
        publish: Callable[[Pass, Any], None],
    ) -> None:
        self._family, self._base, self._record, self._publish = family, base, record, publish
        self._layers = family.layers(base)
        self._rotary: nn.Module | None = getattr(family.decoder(base), "rotary_emb", None)
        self._local = threading.local()
        self._reads_instruction = False
        depth = len(self._layers)
        self._parts: dict[int, tuple[Part, Any, Positions]] = {}
        for number, (one, policy) in enumerate(zip(method.steps, policies, strict=True)):
            for reading in one.readings(depth):
                self._parts[reading.boundary] = (Part(number, one, depth, pool), reading, policy)
                self._reads_instruction |= reading.rows == "instruction"
        self._observer = Observer(method, depth, "transitions" in record)
        self._vision = VisionListener(family, base) if any(m.reads_vision for m in method.steps) else None

    # ------------------------------------------------------------------------------------------------ life

    def attach(self, stack: ExitStack) -> None:
        """Register every hook; leaving `stack` removes them."""

        def before(module: nn.Module, hook: Callable[..., Any]) -> None:
            stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

        def after(module: nn.Module, hook: Callable[..., Any], **options: bool) -> None:
            stack.callback(module.register_forward_hook(hook, **options).remove)

        decoder = self._family.decoder(self._base)
        before(self._base, self._read_prompt)
        after(self._base, self._forget_prompt, always_call=True)
        before(decoder, self._begin)
        after(decoder, self._end, with_kwargs=True, always_call=True)
        if self._rotary is not None and not self._family.mrope:
            before(self._rotary, self._note_positions)
        for index, layer in enumerate(self._layers):
            before(layer, partial(self._before_layer, index))
        after(self._layers[-1], self._restore_length)
        self._observer.attach(self._layers, lambda: self._state, after)
        for boundary, (_, reading, _) in self._parts.items():
            if reading.rows and reading.source == "previous":
                before(self._attention(boundary - 1), partial(self._tap_embeddings, boundary - 1))
                for name in ("q_proj", "k_proj"):
                    module: Any = getattr(self._attention(boundary - 1), name, None)
                    if module is not None:
                        after(module, partial(self._tap_projection, boundary - 1, name))
            elif reading.rows:
                for owner, name in ((self._layers[boundary], "input_layernorm"), (self._attention(boundary), "k_proj")):
                    if (module := getattr(owner, name, None)) is not None:
                        before(module, partial(self._skip, boundary, name))
                        after(module, partial(self._hand_over, boundary, name))
        if self._vision is not None:
            self._vision.attach(stack)

    def _attention(self, index: int) -> nn.Module:
        attention = self._layers[index].self_attn
        assert isinstance(attention, nn.Module)
        return attention

    @property
    def _state(self) -> Pass | None:
        return getattr(self._local, "state", None)

    # ------------------------------------------------------------------------------------------------ the pass

    def _read_prompt(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Which slots are visual. A model may sample the image id: only a call that merges features counts."""
        self._local.prompt = None
        ids = kwargs.get("input_ids", args[0] if args else None)
        if not self._family.feeds_features(kwargs):
            return
        if ids is None:
            raise LayoutError(
                "pruning finds the visual tokens by their placeholder ids, but this call passes inputs_embeds only; "
                "pass input_ids with the image features, or run this call outside the session"
            )
        visual = self._family.visual(self._base, ids)
        total = int(visual.sum())
        if total == 0:
            raise LayoutError(
                "image features were passed, but the prompt has no image placeholders; put the image token into the "
                "prompt (the processor's chat template does), or leave the image out"
            )
        lengths = self._family.image_lengths(self._base, kwargs, total)
        if sum(lengths) != total:
            raise LayoutError(
                f"the prompt holds {total} image placeholders, but its images give {sum(lengths)} features"
            )
        self._local.prompt = Prompt(_layout(visual, kwargs.get("attention_mask"), lengths))

    def _forget_prompt(self, module: nn.Module, args: Any, output: Any) -> None:
        self._local.prompt = None

    def _begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        rows = kwargs.get("inputs_embeds")
        rows = rows if rows is not None else kwargs.get("input_ids", args[0] if args else None)
        if rows is None:
            return
        prompt: Prompt | None = getattr(self._local, "prompt", None)
        layout = None if prompt is None or prompt.layout.rows_total != rows.shape[1] else prompt.layout
        state = Pass(length=rows.shape[1], batch=rows.shape[0], layout=layout, prompt=layout)
        if layout is not None:
            check_cache(kwargs.get("past_key_values"))
            self._observer.begin(state)
            if self._vision is not None:
                state.taps["vision"] = self._vision.take()
            if self._reads_instruction and _ends_with_image(layout):
                state.note(NO_INSTRUCTION)
                warnings.warn(NO_INSTRUCTION, PruneWarning, stacklevel=2)
        self._local.state = state

    def _end(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        state, self._local.state = self._state, None
        if output is None or state is None:  # an exception is on its way through
            return
        cache = getattr(output, "past_key_values", None)
        first = cache is None or cache.get_seq_length() == state.length
        if state.layout is not None or first:
            self._publish(state, cache)

    def _note_positions(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if (state := self._state) is not None:
            state.positions = kwargs.get("position_ids", args[1] if len(args) > 1 else None)

    # ------------------------------------------------------------------------------------------------ the layers

    def _before_layer(self, index: int, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        state = self._state
        if state is None:
            return None
        staged = state.layout is not None and index in self._parts
        hidden = args[0] if args else kwargs["hidden_states"]
        call = LayerCall(index, layer, hidden, kwargs)
        if staged:
            hidden = self._prune(state, call)
            call = LayerCall(index, layer, hidden, kwargs)
        if not nothing_to_do(state, call):
            kwargs = pass_through(state, call, self._rotary)
        elif not staged:
            return None
        if args:
            return (hidden, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    def _prune(self, state: Pass, call: LayerCall) -> Tensor:
        """Run the stage in front of this layer; the hidden states of the rows that stay."""
        part, reading, policy = self._parts[call.index]
        attention, projector = self._read_attention(state, call) if reading.rows else (None, None)
        decision = decide(
            part, call.index, state, call.hidden, attention, state.taps.get("vision"), "scores" in self._record
        )
        state.stages.append(decision.trace)
        if decision.changes_nothing:
            return call.hidden
        assert state.layout is not None
        before = state.layout
        index, state.layout = before.survivors(decision.dropped)
        state.pruned, state.depth = True, state.depth + 1
        self._observer.prune(state, before, index)
        if policy == "renumber":
            _remove_positions(state, before, decision)
        if isinstance(projector, NextLayer) and not decision.merges and not torch.is_grad_enabled():
            state.ready[call.index, "input_layernorm"] = gather_rows(projector.normalised, index)
            if type(call.layer.self_attn.k_proj) is nn.Linear:  # LoRA or quantised layers may not take zero rows
                state.ready[call.index, "k_proj"] = gather_rows(projector.keys(), index)
        state.widths[call.index] = index.shape[1]
        hidden = gather_rows(call.hidden, index)
        for sample, features in enumerate(decision.features):
            if features is not None:
                hidden[sample, state.layout.visual_rows(sample)] = features
        return hidden

    def _read_attention(self, state: Pass, call: LayerCall) -> tuple[AttentionRows, NextLayer | PreviousLayer]:
        """Attention over the rows that arrive at this boundary, of the layer its method reads."""
        _, reading, _ = self._parts[call.index]
        source: NextLayer | PreviousLayer
        if reading.source == "next":
            layer, kwargs = call.layer, call.kwargs
            if not nothing_to_do(state, call):
                kwargs = pass_through(state, call, self._rotary)
            source = NextLayer(layer, call.hidden)
            embeddings, index = kwargs["position_embeddings"], call.index
        else:
            index = call.index - 1
            layer = self._layers[index]
            source = PreviousLayer(state.taps.pop((index, "q_proj")), state.taps.pop((index, "k_proj")))
            embeddings = state.taps.pop((index, "embeddings"))
        there = LayerCall(index, layer, call.hidden, call.kwargs)
        history = history_of(state, there, stored_already=reading.source == "previous")
        projection, mask = project_rows(state, there, history), call.kwargs.get("attention_mask")
        rows = AttentionRows(self._attention(index), source, embeddings, projection, mask, history.keys)
        return rows, source

    def _restore_length(self, layer: nn.Module, args: Any, output: Any) -> Any:
        """Back to the prompt's length: logits, labels and positions keep their meaning; dropped rows are 0."""
        state = self._state
        if state is None or not state.pruned or state.layout is None:
            return None
        hidden = output[0] if isinstance(output, tuple) else output
        layout = state.layout
        full = hidden.new_zeros(hidden.shape[0], state.length, hidden.shape[-1])
        # the origins of fillers are slots nobody kept, so nothing real is overwritten; they become 0 all the same
        values = hidden if layout.dense else hidden.masked_fill(~layout.valid[..., None], 0)
        full = full.scatter(1, layout.origin[..., None].expand_as(hidden), values)
        return (full, *output[1:]) if isinstance(output, tuple) else full

    # ------------------------------------------------------------------------------------------------ taps

    def _tap_embeddings(self, index: int, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if (state := self._state) is not None and state.layout is not None:
            state.taps[index, "embeddings"] = kwargs["position_embeddings"]

    def _tap_projection(self, index: int, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        if (state := self._state) is not None and state.layout is not None:
            state.taps[index, name] = output

    def _skip(self, index: int, name: str, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """The stage in front of this layer has computed this module's output: give it no row at all."""
        state = self._state
        return ((args[0][:, :0],), kwargs) if state is not None and (index, name) in state.ready else None

    def _hand_over(self, index: int, name: str, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        state = self._state
        return None if state is None else state.ready.pop((index, name), None)


def _layout(visual: Tensor, attention_mask: Any, lengths: list[int]) -> Layout:
    """The layout of a prompt. Images are numbered within their sample, by their lengths in prompt order."""
    batch, length = visual.shape
    valid = torch.ones_like(visual)
    if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
        valid = attention_mask[:, -length:].bool().to(visual.device)  # a later turn brings the mask of all turns
    ends = torch.tensor(lengths, device=visual.device).cumsum(0)
    order = visual.flatten().cumsum(0) - 1
    image = torch.searchsorted(ends, order.clamp(min=0), right=True).view(batch, length)
    first = torch.where(visual, image, len(lengths)).amin(dim=1, keepdim=True)
    return Layout.of_prompt(visual, valid, image - first)


def _ends_with_image(layout: Layout) -> bool:
    """Is the last token of some sample a visual one?"""
    samples = [sample for sample in range(layout.batch) if layout.lengths[sample]]
    return any(bool(layout.visual[sample, layout.rows(sample)[-1]]) for sample in samples)


def _remove_positions(state: Pass, before: Layout, decision: Decision) -> None:
    """Count, in front of every slot, the tokens whose positions renumbering closes."""
    gone = torch.zeros(before.batch, state.length, dtype=torch.long, device=before.origin.device)
    for sample, rows in enumerate(decision.dropped):
        gone[sample, before.origin[sample, rows]] = 1
    ahead, total = gone.cumsum(dim=1) - gone, gone.sum(dim=1)
    state.removed_before = ahead if state.removed_before is None else state.removed_before + ahead
    state.removed_total = total if state.removed_total is None else state.removed_total + total
