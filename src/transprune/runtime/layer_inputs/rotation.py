"""Rotate queries or keys alone."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from transprune.families.rotation import Rotation


def rotate_one(rotate: Rotation | None, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys [B, H, L, d], rotated. -> contiguous [B, H, L, d].

    cos, sin [1 or B, L, d]. A layer without a rotation leaves them as they are.
    """
    if rotate is None:
        return heads.contiguous()
    if is_plain(rotate) and cos.shape[-1] == heads.shape[-1] and not heads.requires_grad:
        return _rotate_halves(heads, cos[:, None], sin[:, None])
    # a rotation takes queries and keys, and nothing stands in for the other
    return rotate(heads, heads[:, :0], cos, sin)[0].contiguous()


@cache
def is_plain(rotate: Rotation) -> bool:
    """Whether a family's rotation is the usual one, of two halves; it is tried out."""
    generator = torch.Generator().manual_seed(0)
    heads = torch.rand(1, 2, 3, 8, dtype=torch.float64, generator=generator)
    cos, sin = torch.rand(2, 1, 3, 8, dtype=torch.float64, generator=generator)
    try:
        expected = rotate(heads, heads, cos, sin)[1]
    except (TypeError, ValueError, RuntimeError):
        return False

    return torch.allclose(expected, _rotate_halves(heads, cos[:, None], sin[:, None]))


def _rotate_halves(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`heads * cos + rotate_half(heads) * sin` in three operations, without a copy of the halves."""
    half = heads.shape[-1] // 2
    rotated = torch.empty(heads.shape, dtype=heads.dtype, device=heads.device)
    torch.mul(heads, cos, out=rotated)
    rotated[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-1)
    rotated[..., half:].addcmul_(heads[..., :half], sin[..., half:])
    return rotated
