"""Hand-made views for the projector-side methods, on one or more grids of any shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transprune.core.signals import JointSpace, VisionSignals
from transprune.core.views import ProjectorView, Selection
from transprune.methods import ProjectorPruner


def numbered(n: int, width: int = 2) -> Tensor:
    """Feature i is i everywhere, so every row tells where it came from."""
    return torch.arange(float(n))[:, None].expand(n, width).clone()


def on_grids(*grids: tuple[int, int], newlines: bool = False) -> dict[str, Tensor]:
    """Crop, place and grid of the tokens of pictures of these sizes; with a newline token behind each row if wanted."""
    crop, place, grid = [], [], []
    for number, (rows, columns) in enumerate(grids):
        for row in range(rows):
            for column in range(columns + newlines):
                real = column < columns
                crop.append(number if real else -1)
                place.append([row, column] if real else [-1, -1])
                grid.append([rows, columns] if real else [-1, -1])
    return {"crop": torch.tensor(crop), "place": torch.tensor(place), "grid": torch.tensor(grid)}


def choose(
    method: ProjectorPruner,
    features: Tensor,
    *,
    crop: Tensor | None = None,
    joint: tuple[Tensor, Tensor] | None = None,
    instruction: Tensor | None = None,
    count: int | None = None,
    states: Tensor | None = None,
    project: Any = None,
    encode: Any = None,
    **signals: Any,
) -> Selection:
    """What `method` decides about tokens with these features and signals."""
    n = len(features)
    count = method.plan(32, n)[0].count if count is None else count
    tensors = {name: torch.as_tensor(value) for name, value in signals.items()}
    tensors = {name: t if t.dtype == torch.long else t.float() for name, t in tensors.items()}
    crop = torch.zeros(n, dtype=torch.long) if crop is None else crop
    vision = VisionSignals(crop, tensors, None, states, project, encode)
    return method.select(
        ProjectorView(
            0,
            count,
            torch.arange(n),
            lambda: features,
            _instruction=lambda: instruction,
            signals={
                "vision": lambda: vision,
                "joint": lambda: None if joint is None else JointSpace(*joint),
            },
        )
    )
