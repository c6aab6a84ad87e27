"""Make the trace of a finished pass."""

from __future__ import annotations

from typing import Any

from transprune.core.plan import per_layer_widths
from transprune.errors import SessionError
from transprune.methods.common.method import Method, Positions
from transprune.runtime.forward_pass import Pass
from transprune.runtime.taps.base import Setup
from transprune.trace import Trace


def make_trace(
    setup: Setup, geometry: Any, policies: tuple[Positions, ...], state: Pass, cache: Any
) -> Trace:
    """The trace of `state`.

    Args:
        setup: model and method.
        geometry: sizes of the language model.
        policies: position policy of each step of the method.
        state: the finished pass.
        cache: its key/value cache, or None.
    """
    layers = setup.depth
    record = state.record
    dtype = next(setup.base.parameters()).dtype

    widths = _kv_lengths(state, layers, cache)
    entries = sum(widths) * state.batch  # keys, and as many values

    visual, text, instruction = _token_counts(state)
    transitions = {at: tuple(samples) for at, samples in record.transitions.items()}
    changes = {at: tuple(samples) for at, samples in record.changes.items()}
    decoder = setup.family.decoder(setup.base)

    return Trace(
        method=repr(setup.method),
        family=setup.family.name,
        positions="+".join(policies),
        visual_tokens=visual,
        text_tokens=text,
        instruction_tokens=instruction,
        stages=tuple(record.stages),
        kv_lengths=widths,
        kv_bytes=2 * entries * geometry.kv_width * dtype.itemsize,
        notes=_notes(setup, policies, state),
        geometry=geometry,
        readings=setup.method.reads_at(layers),
        frozen=setup.method.frozen(layers),
        transitions=transitions,
        changes=changes,
        dtype=str(dtype).removeprefix("torch."),
        dtype_bytes=dtype.itemsize,
        attention=str(decoder.config._attn_implementation),
    )


def _kv_lengths(state: Pass, layers: int, cache: Any) -> tuple[int, ...]:
    """Entries per sample that each layer stores, or would store if there were a cache."""
    if cache is None:
        return per_layer_widths(layers, state.length, state.record.widths)
    # earlier turns and the fillers of ragged batches are stored too, so they count
    return tuple(_entries(cache, index) for index in range(layers))


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


def _notes(setup: Setup, policies: tuple[Positions, ...], state: Pass) -> tuple[str, ...]:
    """Sentences about the method, its positions and this run."""
    if state.unpruned is not None:
        return (state.unpruned,)
    method = setup.method
    return (*method.notes(setup.depth), *_position_notes(method, policies), *state.record.notes)


def _token_counts(state: Pass) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Visual, text and instruction tokens of each sample; without an image, all of it is text."""
    layout = state.prompt
    if layout is None:
        all_rows = (state.length,) * state.batch
        return (0,) * state.batch, all_rows, all_rows
    return layout.visual_counts, layout.text_counts, layout.instruction_counts


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
