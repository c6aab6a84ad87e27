"""What is tapped of a vision tower, and what the taps captured: shared by families and runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class TapPoints:
    """Modules of the vision tower that are tapped for a projector-side method.

    Attributes:
        inputs: modules whose arguments are captured, by the names the family's own methods use.
        outputs: modules whose outputs are captured, likewise.
        projector: the module whose output rows become the visual tokens, in whatever order the
            family packs them.
    """

    inputs: Mapping[str, nn.Module]
    outputs: Mapping[str, nn.Module]
    projector: nn.Module


@dataclass
class VisionCapture:
    """What the taps captured in one call of the vision tower.

    Attributes:
        inputs: positional and keyword arguments of the tapped modules.
        outputs: outputs of the tapped modules.
        rows: output of the projector, flattened to [R, D].
        on_host: what the family named in `vision_numbers`, copied to the host.
    """

    inputs: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    rows: Tensor | None = None
    on_host: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class VisionRows:
    """Where the projector rows come from.

    Attributes:
        crop: long [R], number of the tower input, on the host.
        order: long [R], the rows in the order of the prompt, on the host; None where they are in it
            already.
        cls: [crops, D], projected CLS states, or None.
        states: [R, V], the projector's input rows, or None where it merges patches.
    """

    crop: Tensor
    cls: Tensor | None = None
    states: Tensor | None = None
    order: Tensor | None = None
