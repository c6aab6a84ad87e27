"""Read off one call of a LLaVA model's tower and projector which states became features.

A call may say otherwise than the configuration: another layer, other rows, other picture sizes. So
everything here comes from the tensors that were captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transprune.errors import MissingSignal
from transprune.families.capture import VisionCapture


def is_packed(base: Any) -> bool:
    """Whether the tower takes pictures of several sizes as one row of patches (Pixtral)."""
    return bool(base.config.vision_config.model_type == "pixtral")


def picture_sides(base: Any, capture: VisionCapture) -> list[tuple[int, int]]:
    """Patches down and across every tower input, from the pixels and not from the configuration."""
    pixels = tower_pixels(capture)  # [C, 3, H, W]
    patch = base.config.vision_config.patch_size
    if not is_packed(base):
        return [(pixels.shape[-2] // patch, pixels.shape[-1] // patch)] * len(pixels)

    sizes: Any = capture.on_host.get("image_sizes")
    if sizes is None:
        sizes = capture.inputs["tower"][1].get("image_sizes")
    if sizes is None:
        sizes = [pixels.shape[-2:]] * len(pixels)
    return [(int(h) // patch, int(w) // patch) for h, w in sizes]


def tower_pixels(capture: VisionCapture) -> Tensor:
    """What the tower was given, [C, 3, H, W]."""
    args, kwargs = capture.inputs["tower"]
    pixels: Tensor = args[0] if args else kwargs["pixel_values"]
    return pixels


def projector_input(capture: VisionCapture) -> Tensor:
    """What the projector was given, [C, n, V]."""
    args, kwargs = capture.inputs["projector"]
    states: Tensor = args[0] if args else next(iter(kwargs.values()))
    return states


def tower_states(capture: VisionCapture) -> Sequence[Tensor | None]:
    """States of the layers of the tower, embeddings first, [C, n, V] each.

    From 5.23 on None where the model did not ask for them.

    Raises:
        MissingSignal: the tower was called without collecting them.
    """
    output: Any = capture.outputs["tower"]
    states: Sequence[Tensor | None] | None = getattr(output, "hidden_states", None)
    if states is None or all(layer is None for layer in states):
        raise MissingSignal(
            "the vision tower returned no hidden states, from which this method tells which layer "
            "became the features; let the model call its tower itself"
        )

    return states


def left_out(capture: VisionCapture) -> int:
    """Rows at the beginning that the projector was not given: 1 where the CLS state is dropped."""
    states = next(layer for layer in tower_states(capture) if layer is not None)
    return states.shape[1] - projector_input(capture).shape[1]


def layer_of(
    projected: Tensor, hidden: Sequence[Tensor | None], equal: Sequence[bool] | None = None
) -> int:
    """Index of the hidden states that were projected, all rows of them or all but the first.

    Args:
        projected: [C, n, V].
        hidden: states of the layers, [C, n, V] or [C, n + 1, V].
        equal: a row of `copied_layers` on the host; without it the device is asked.

    Raises:
        MissingSignal: none of them was projected.
    """
    shared = _shared_layer(projected, hidden)
    if shared is not None:
        return shared

    if equal is None:
        flags = copied_layers([projected], hidden)
        equal = [] if flags is None else flags[0].tolist()
    if any(equal):
        return list(equal).index(True)

    raise MissingSignal(
        "the projector was given other states than those of a layer of the vision tower, so this "
        "method cannot read the layer behind the features; use one that reads the projected "
        "features only, such as DivPrune"
    )


def copied_layers(projected: Sequence[Tensor], hidden: Sequence[Tensor | None]) -> Tensor | None:
    """Whether each part [C, n, V] is equal to the states of each layer. bool [parts, layers].

    None where every part lies in the memory of some layer's states: nothing has to be compared.
    """
    if all(_shared_layer(part, hidden) is not None for part in projected):
        return None

    no = torch.zeros((), dtype=torch.bool, device=projected[0].device)
    flags = []
    for part in projected:
        for states in hidden:
            rows = None if states is None else states[:, states.shape[1] - part.shape[1] :]
            fits = rows is not None and rows.shape == part.shape
            flags.append((rows.to(part) == part).all() if fits else no)  # type: ignore[union-attr]

    return torch.stack(flags).unflatten(0, (len(projected), -1))


def _shared_layer(projected: Tensor, hidden: Sequence[Tensor | None]) -> int | None:
    """Index of the states whose memory `projected` is a part of, unless it was moved or copied."""
    storage = projected.untyped_storage().data_ptr()
    for index, states in enumerate(hidden):
        if states is not None and states.untyped_storage().data_ptr() == storage:
            return index
    return None
