"""Make the trace of a finished pass."""

from __future__ import annotations

from typing import Any

from transprune.core.plan import per_layer_widths
from transprune.methods.common.method import Method, Positions
from transprune.runtime.forward_pass import Pass
from transprune.runtime.taps.base import Setup
from transprune.trace import Trace

NO_IMAGE = "no image in the prompt: ran unpruned"


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

    widths = per_layer_widths(layers, state.length, record.widths)
    if cache is not None:  # entries of earlier turns are in there too
        widths = tuple(layer.keys.shape[-2] for layer in cache.layers[:layers])
    # fillers are stored too, so they count
    entries = sum(widths) * state.batch

    visual, text, instruction = _token_counts(state)
    notes = [NO_IMAGE]
    if state.prompt is not None:
        notes = [*setup.method.notes(layers), *_position_notes(setup.method, policies)]
        notes += record.notes

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
        notes=tuple(notes),
        geometry=geometry,
        readings=setup.method.reads_at(layers),
        frozen=setup.method.frozen(layers),
        transitions={key: tuple(samples) for key, samples in record.transitions.items()},
        changes={key: tuple(samples) for key, samples in record.changes.items()},
        dtype=str(dtype).removeprefix("torch."),
        dtype_bytes=dtype.itemsize,
        attention=str(decoder.config._attn_implementation),
    )


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
