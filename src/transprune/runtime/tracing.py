"""Make the trace of a finished pass, when somebody reads it.

What a pass recorded stays on the device until then; all of it is copied in one transfer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transprune.core.kept import Clips
from transprune.core.prompt import PromptTable
from transprune.methods.common.method import Method, Positions
from transprune.runtime.eviction.tracing import evicted_by, trace_eviction
from transprune.runtime.forward_pass import Pass
from transprune.runtime.host import to_host
from transprune.runtime.record import Record
from transprune.runtime.snapping import notes_of
from transprune.runtime.stored import kv_bytes_of, kv_lengths_of
from transprune.runtime.taps.base import Setup
from transprune.runtime.traced import at_slots, recorded_tensors, trace_stage
from transprune.trace import Trace

LATER = "a later prompt: "


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
        lengths = kv_lengths_of(state, setup.kinds, cache)
        return cls(
            setup=setup,
            geometry=geometry,
            policies=policies,
            record=state.record,
            prompt=None if state.prompt is None else state.prompt.prompt,
            tokens=_token_counts(state),
            kv_lengths=lengths,
            kv_bytes=kv_bytes_of(state, setup, lengths, geometry, cache),
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

        tensors = list(recorded_tensors(record))
        # by identity: stages share tensors, and each is copied once
        there = {id(t): a for t, a in zip(tensors, to_host(tensors), strict=True)}

        return Trace(
            method=repr(setup.method),
            family=setup.family.name,
            positions="+".join(self.policies),
            visual_tokens=visual,
            text_tokens=text,
            instruction_tokens=instruction,
            stages=tuple(trace_stage(stage, there) for stage in record.stages),
            kv_lengths=self.kv_lengths,
            kv_bytes=self.kv_bytes,
            notes=self.notes(),
            geometry=self.geometry,
            readings=tuple(setup.readings.values()),
            frozen=setup.method.frozen(setup.depth),
            transitions=at_slots(record.transitions, there, self.length),
            changes=at_slots(record.changes, there, self.length),
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


def _frames(prompt: PromptTable | None) -> tuple[Clips, ...]:
    """Visual tokens of each frame of each picture or video of each sample."""
    if prompt is None:
        return ()
    return tuple(prompt.frame_counts(sample) for sample in range(len(prompt.visual)))


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
