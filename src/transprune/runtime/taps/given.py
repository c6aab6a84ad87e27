"""What a call says about the slots of its prompt, copied to the host in one transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.library import cache_of
from transprune.core.rows import Flags
from transprune.families.base import Family
from transprune.runtime.host import to_host
from transprune.runtime.static.layers import is_static


@dataclass(frozen=True)
class Given:
    """Small arguments of a call, on the host. Shapes: B samples, L slots.

    Attributes:
        device: where they were.
        ids: [B, L], or None.
        padding: the padding mask over all turns, [B, past + L], or None.
        positions: position ids [1 or B, L], of M-RoPE the first axis; None where there are none.
        described: what the family says describes its pictures, by the name of the argument.
        extra: what was copied along.
    """

    device: torch.device
    ids: Tensor | None
    padding: NDArray[Any] | None
    positions: NDArray[Any] | None
    described: dict[str, Tensor]
    extra: list[NDArray[Any]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        family: Family,
        ids: Tensor | None,
        kwargs: Mapping[str, Any],
        extra: Sequence[Tensor] = (),
    ) -> Given:
        """Copy them, and `extra`; the only wait for the device in a prompt."""
        wanted = {"ids": ids}
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == 2:
            # a mask may number packed samples (1, 1, 2, 2), which flags would hide
            wanted["padding"] = mask if mask.dtype == torch.bool else mask.long()
        elif is_static(cache_of(kwargs)):
            wanted["padding"] = _attended(mask)

        wanted["positions"] = _first_axis(kwargs.get("position_ids"))
        wanted |= {name: kwargs.get(name) for name in family.described_by}

        present = {name: t for name, t in wanted.items() if isinstance(t, Tensor)}
        # one transfer: each copy by itself would wait until the device has done all its work
        copies = to_host([*present.values(), *extra])
        arrays = dict(zip(present, copies, strict=False))
        rows = ids if ids is not None else kwargs.get("inputs_embeds")

        return cls(
            device=rows.device if isinstance(rows, Tensor) else torch.device("cpu"),
            ids=torch.from_numpy(arrays["ids"]) if "ids" in arrays else None,
            padding=arrays.get("padding"),
            positions=arrays.get("positions"),
            described={
                name: torch.from_numpy(arrays[name])
                for name in family.described_by
                if name in arrays
            },
            extra=copies[len(present) :],
        )

    def positions_of(self, length: int) -> NDArray[Any] | None:
        """The position ids of a prompt of `length` slots, or None."""
        fits = self.positions is not None and self.positions.shape[-1] == length
        return self.positions if fits else None

    def positions_are_consecutive(self, valid: Flags) -> bool:
        """Whether each real token has the position of the one before, plus one.

        `valid` [B, L]. Without position ids they are the numbers of the slots.
        """
        if self.positions is None:
            return True

        positions = self.positions_of(valid.shape[1])
        if positions is None:
            return False

        both_real = valid[:, 1:] & valid[:, :-1]
        gaps = valid[:, 1:] & ~valid[:, :-1] & (valid.cumsum(axis=1)[:, :-1] > 0)
        return not ((np.diff(positions, axis=-1) != 1) & both_real).any() and not gaps.any()


def _attended(mask: Any) -> Tensor | None:
    """Real tokens, from a mask [B, 1, L, K] that `generate` made for a static cache.

    It passes no other one. A key that no row may attend to is padding. One that only others than
    the last row may attend to gets a 2, as in a mask that numbers packed samples. -> long [B, L].
    """
    if isinstance(mask, Mapping):  # by kind of layer
        mask = mask.get("full_attention")
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        return None

    allowed = mask if mask.dtype == torch.bool else mask == 0
    rows = allowed[:, 0, :, : mask.shape[2]]  # the columns behind are for tokens to come
    real = rows.any(dim=1)
    return real.long() + (real & ~rows[:, -1]).long()


def _first_axis(position_ids: Any) -> Any:
    """Position ids as [1 or B, L]; M-RoPE has [3 or 4, B, L], of which the first never falls."""
    if not isinstance(position_ids, Tensor) or position_ids.ndim not in (2, 3):
        return None
    return position_ids[0] if position_ids.ndim == 3 else position_ids
