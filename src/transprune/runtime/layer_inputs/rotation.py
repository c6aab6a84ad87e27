"""How a family rotates queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from transprune.core.library import private

Rotation = Callable[..., tuple[Tensor, Tensor]]


@cache
def _of_module(module: str) -> Rotation:
    rotate: Rotation = private(module, "apply_rotary_pos_emb")
    return rotate


def rotation_of(attention: Any) -> Rotation:
    """The family's own rotation: (queries, keys, cos, sin) -> both rotated."""
    # families rotate differently (interleaved, partial): the variant of the module's own file
    return _of_module(type(attention).__module__)


def rotate_one(rotate: Rotation, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys [B, H, L, d], rotated. A rotation takes both, so nothing stands in."""
    rotated: Tensor = rotate(heads, heads[:, :0], cos, sin)[0]
    return rotated
