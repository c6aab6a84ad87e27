"""Make the trace of a finished pass, when somebody reads it.

What a pass recorded stays on the device until then; all of it is copied in one transfer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.plan import per_layer_widths
from transprune.core.prompt import PromptTable
from transprune.errors import SessionError
from transprune.families.layers import LayerKind
from transprune.methods.common.method import Method, Positions
from transprune.runtime.eviction.tracing import evicted_by, tensors_of, trace_eviction
from transprune.runtime.forward_pass import Pass
from transprune.runtime.host import to_host
from transprune.runtime.record import Record, RecordedChange, RecordedStage
from transprune.runtime.snapping import notes_of
from transprune.runtime.static.layers import is_static
from transprune.runtime.taps.base import Setup
from transprune.trace import Trace, TraceStage

LATER = "a later prompt: "
OnHost = dict[int, NDArray[Any]]  # id of a tensor -> its copy


@dataclass
class PendingTrace:
    """A trace that has not been read yet.

    Attributes:
        setup: model and method.
        geometry: sizes of the language model.
        policies: position policy of each step of the method.
        record: what the pass noted.
        prompt: slots of the prompt; None where nothing was pruned.
        tokens: visual, text and instruction tokens of each sample.
        kv_lengths: entries per sample that each layer stores, or would store if there were a cache.
        kv_bytes: of all keys and values of the batch.
        length: slots of each sample.
        unpruned: why nothing was pruned, or None.
        later: notes of prompts without an image that came after this one.
    """

    setup: Setup
    geometry: Any
    policies: tuple[Positions, ...]
    record: Record
    prompt: PromptTable | None
    tokens: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    kv_lengths: tuple[int, ...]
    kv_bytes: int
    length: int
    unpruned: str | None
    later: list[str] = field(default_factory=list)
    _trace: Trace | None = None

    @classmethod
    def of(
        cls,
        setup: Setup,
        geometry: Any,
        policies: tuple[Positions, ...],
        state: Pass,
        cache: Any,
    ) -> PendingTrace:
        """The trace of `state`, whose key/value cache is `cache`, or None."""
        lengths = _kv_lengths(state, setup.kinds, cache)
        return cls(
            setup=setup,
            geometry=geometry,
            policies=policies,
            record=state.record,
            prompt=None if state.prompt is None else state.prompt.prompt,
            tokens=_token_counts(state),
            kv_lengths=lengths,
            kv_bytes=_kv_bytes(state, setup, lengths, geometry, cache),
            length=state.length,
            unpruned=state.unpruned,
        )

    @property
    def saw_image(self) -> bool:
        """Some sample had visual tokens."""
        return self.prompt is not None

    def notes(self) -> tuple[str, ...]:
        """Sentences about the method, its positions and this run."""
        if self.unpruned is not None:
            return (self.unpruned,)
        method = self.setup.method
        own = (
            *method.notes(self.setup.depth),
            *_position_notes(method, self.policies),
            *notes_of(self.setup.moves, self.setup.kinds),
        )
        return tuple(dict.fromkeys((*own, *self.record.notes, *self.later)))

    def note_later(self, trace: PendingTrace) -> None:
        """Note a prompt without an image that came after this one."""
        self.later += [LATER + note for note in trace.notes()]
        self._trace = None

    def read(self) -> Trace:
        """The trace; waits for the device the first time."""
        if self._trace is None:
            self._trace = self._make()
        return self._trace

    def _make(self) -> Trace:
        setup = self.setup
        record = self.record
        dtype = next(setup.base.parameters()).dtype
        visual, text, instruction = self.tokens
        decoder = setup.family.decoder(setup.base)

        tensors = list(_recorded(record))
        there = {id(t): a for t, a in zip(tensors, to_host(tensors), strict=True)}
        return Trace(
            method=repr(setup.method),
            family=setup.family.name,
            positions="+".join(self.policies),
            visual_tokens=visual,
            text_tokens=text,
            instruction_tokens=instruction,
            stages=tuple(_stage(stage, there) for stage in record.stages),
            kv_lengths=self.kv_lengths,
            kv_bytes=self.kv_bytes,
            notes=self.notes(),
            geometry=self.geometry,
            readings=tuple(setup.readings.values()),
            frozen=setup.method.frozen(setup.depth),
            transitions=_at_slots(record.transitions, there, self.length),
            changes=_at_slots(record.changes, there, self.length),
            dtype=str(dtype).removeprefix("torch."),
            dtype_bytes=dtype.itemsize,
            attention=str(decoder.config._attn_implementation),
            frames=_frames(self.prompt),
            evictions=tuple(trace_eviction(e, there, self._wants_scores) for e in record.evictions),
            evicted_by=evicted_by(setup.method),
        )

    @property
    def _wants_scores(self) -> bool:
        return "scores" in self.setup.record


def _frames(prompt: PromptTable | None) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Visual tokens of each frame of each picture or video of each sample."""
    if prompt is None:
        return ()
    return tuple(prompt.frame_counts(sample) for sample in range(len(prompt.visual)))


def _recorded(record: Record) -> Iterator[Tensor]:
    """Every tensor of the device that the trace is made of, each once."""
    seen = {}
    for stage in record.stages:
        for tensor in (stage.before.tokens, stage.after.tokens):
            seen[id(tensor)] = tensor
        for _, _, scores in stage.scores:
            seen.update({id(score): score for score in scores.values()})
    for change in (*record.transitions, *record.changes):
        seen[id(change.values)] = change.values
        seen[id(change.layout.tokens)] = change.layout.tokens
    for eviction in record.evictions:
        for tensor in tensors_of(eviction):
            seen[id(tensor)] = tensor
    yield from seen.values()


def _stage(stage: RecordedStage, there: OnHost) -> TraceStage:
    """The entry of the trace for one boundary."""
    samples = range(stage.before.batch)
    # numbers of the visual tokens within the sample, which later stages keep
    candidates = [_tokens(stage.before, sample, there) for sample in samples]
    keep = [_tokens(stage.after, sample, there) for sample in samples]
    return TraceStage(
        boundary=stage.boundary,
        method=stage.method,
        candidates=tuple(map(torch.from_numpy, candidates)),
        keep=tuple(map(torch.from_numpy, keep)),
        scores=_scores(stage, candidates, there) or None,
    )


def _slots(layout: Layout, sample: int, there: OnHost) -> NDArray[Any]:
    """Slots of the tokens of the real rows of a sample."""
    if layout.whole:
        return layout.prompt.valid[sample].nonzero()[0]
    return there[id(layout.tokens)][sample, layout.rows_total - layout.lengths[sample] :]


def _tokens(layout: Layout, sample: int, there: OnHost) -> NDArray[Any]:
    """Numbers of the visual tokens of a sample."""
    slots = _slots(layout, sample, there)
    numbers: NDArray[Any] = layout.prompt.token[sample][slots]
    return numbers[numbers >= 0]


def _scores(
    stage: RecordedStage, candidates: list[NDArray[Any]], there: OnHost
) -> dict[str, tuple[Tensor, ...]]:
    """Scores by name: per sample, in the order of its candidates."""
    prompt = stage.before.prompt
    names = sorted({name for *_, scores in stage.scores for name in scores})
    # a sample without an image has no scores: an empty tensor keeps the samples in step
    empty = [len(tokens) if len(tokens) else 0 for tokens in candidates]
    by_name = {name: [np.full(n, np.nan, dtype=np.float32) for n in empty] for name in names}

    for samples, images, scores in stage.scores:
        for place, (sample, image) in enumerate(zip(samples, images, strict=True)):
            where = np.ones(len(candidates[sample]), dtype=bool)
            if image >= 0:
                # a token's image, by the token's number
                of_token = prompt.image[sample][prompt.visual[sample]]
                where = of_token[candidates[sample]] == image
            for name, score in scores.items():
                by_name[name][sample][where] = there[id(score)][place]
    return {name: tuple(map(torch.from_numpy, values)) for name, values in by_name.items()}


def _at_slots(
    changes: list[RecordedChange], there: OnHost, length: int
) -> dict[tuple[int, str], tuple[Tensor, ...]]:
    """Numbers per token, [..., length], at the prompt slots of the rows that ran.

    A slot stays NaN where it is padding or its token has been dropped.
    """
    tables: dict[tuple[int, str], tuple[Tensor, ...]] = {}
    for change in changes:
        layout = change.layout
        values = there[id(change.values)]
        samples = []
        for sample in range(layout.batch):
            rows = layout.prompt_rows(sample)
            own = values[..., sample, :]
            own = own[..., rows if isinstance(rows, slice) else rows.numpy(force=True)]
            slots = _slots(layout, sample, there)[: own.shape[-1]]
            table = np.full((*own.shape[:-1], length), np.nan, dtype=np.float32)
            table[..., slots] = own
            samples.append(torch.from_numpy(table))
        tables[change.layer, change.module] = tuple(samples)
    return tables


def _kv_lengths(state: Pass, kinds: list[LayerKind], cache: Any) -> tuple[int, ...]:
    """Entries per sample that each layer stores, or would store if there were a cache."""
    # the buffers of a static cache have room for tokens to come, which is not counted
    if cache is None or is_static(cache):
        counted = per_layer_widths(len(kinds), state.length, state.record.widths)
        evicted = {e.layer: e.width for e in state.record.evictions}
        widths = tuple(evicted.get(index, width) for index, width in enumerate(counted))
    else:
        # earlier turns and the fillers of ragged batches are stored too, so they count
        stores = [index for index, kind in enumerate(kinds) if kind.stores_keys]
        entries = {index: _entries(cache, index) for index in stores}
        widths = tuple(entries.get(index, 0) for index in range(len(kinds)))
    pairs = zip(widths, kinds, strict=True)
    return tuple(width if kind.stores_keys else 0 for width, kind in pairs)


def _kv_bytes(
    state: Pass, setup: Setup, lengths: tuple[int, ...], geometry: Any, cache: Any
) -> int:
    """Bytes of keys and values; counted from the sizes where no cache has grown to hold them."""
    if cache is not None and not is_static(cache):
        stored = [cache.layers[index] for index, length in enumerate(lengths) if length]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in stored)
    dtype = next(setup.base.parameters()).dtype
    return 2 * sum(lengths) * state.batch * int(geometry.kv_width) * dtype.itemsize


def _entries(cache: Any, index: int) -> int:
    """Entries per sample in the cache of decoder layer `index`.

    Raises:
        SessionError: the layer stored nothing.
    """
    layer = cache.layers[index] if index < len(cache.layers) else None
    if layer is None or not layer.is_initialized:
        raise SessionError(
            f"decoder layer {index} stored no keys in the cache it was given, so later tokens "
            "could not attend to this prompt; was its forward replaced?"
        )
    return int(layer.keys.shape[-2])


def _token_counts(state: Pass) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Visual, text and instruction tokens of each sample; without an image, all of it is text."""
    layout = state.prompt
    if layout is None:
        all_rows = (state.length,) * state.batch
        return (0,) * state.batch, all_rows, all_rows
    return layout.visual_counts, layout.text_counts, layout.prompt.instruction_counts


def _position_notes(method: Method, policies: tuple[Positions, ...]) -> list[str]:
    """A sentence for each step whose positions differ from those of its own code."""
    notes = []
    for step, policy in zip(method.steps, policies, strict=True):
        if policy != step.default_positions:
            notes.append(
                f"{step.name}: positions '{policy}', where its own code would "
                f"'{step.default_positions}'"
            )
    return notes
