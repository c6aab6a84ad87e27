"""Positions of the rows that stay, closed up where tokens were dropped.

Attention sees differences of positions only. So instead of moving every later token down, the rows
in front of a dropped token move up to it: the newest token keeps its position, and tokens that come
later, in decoding or in the next turn, need no correction in any layer. Keys of earlier turns, which
are stored with their positions, are turned further by as much (`moved_keys`).

Positions are places in the tables of cos and sin that the model made, so nothing is computed anew
as long as they count on by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transprune.core.layout import Layout, gather_rows
from transprune.core.rows import upload
from transprune.errors import SessionError
from transprune.families.rotation import Rotary, Rotation

NO_ROTARY = (
    "positions with gaps, or of earlier turns, are closed up by the model's rotary module, and this "
    "model has none where it is looked for; use positions='keep'"
)


@dataclass
class Renumbering:
    """How far the running rows have moved towards the end of the prompt.

    Attributes:
        shift: long [B, L], per running row; None where nothing moved, or where `closed` says it.
        closed: all stages closed their gaps, so that the rows have the last positions of the
            prompt.
        total: per sample, how far the very first row has moved.
    """

    shift: Tensor | None = None
    closed: bool = False
    total: tuple[int, ...] = ()
    _turned: dict[Any, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def moved(self) -> bool:
        """Some row has moved."""
        return any(self.total)

    def follow(self, before: Layout, after: Layout, index: Tensor, closes: bool) -> None:
        """Follow a stage that kept the rows `index` [B, P]; `closes` the gaps it made, or not."""
        if not closes:
            shift = self.of_rows(before)
            self.closed = False
            self.shift = None if shift is None else shift.gather(1, index)
            return

        gone = [n - m for n, m in zip(before.lengths, after.lengths, strict=True)]
        total = self.total or (0,) * before.batch
        self.total = tuple(map(sum, zip(total, gone, strict=True)))
        if before.aligned and (self.closed or before.whole):
            self.closed = True
            return

        # gaps in front of a row close towards the end, so it moves by as many as go behind it
        rows = after.rows_total
        left_behind = torch.arange(rows - 1, -1, -1, device=index.device)
        moved = _behind(before).gather(1, index) - left_behind
        shift = self.of_rows(before)
        self.closed = False
        self.shift = moved if shift is None else shift.gather(1, index) + moved

    def of_rows(self, layout: Layout) -> Tensor | None:
        """How far each of the rows of `layout`, which run now, has moved. long [B, L] or None."""
        if not self.closed:
            return self.shift
        length = layout.prompt.visual.shape[1]
        last = torch.arange(length - layout.rows_total, length, device=layout.origin.device)
        return last - layout.origin

    def tables(
        self,
        tables: tuple[Tensor, Tensor],
        layout: Layout,
        hidden: Tensor,
        rotary: Rotary | None,
        positions: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """cos and sin of the running rows, [1 or B, L, d] each.

        Args:
            tables: those of the prompt.
            layout: the rows.
            hidden: anything with the device and dtype of the layer.
            rotary: computes tables from positions.
            positions: position ids of the prompt [1 or B, S], where they do not count on by one.

        Raises:
            SessionError: such positions cannot be closed up without the rotary module.
        """
        if self.closed and layout.prompt.consecutive:
            first = tables[0].shape[1] - layout.rows_total
            return tuple(table[:, first:] for table in tables)

        shift = self.of_rows(layout)
        rows = layout.origin
        if shift is None or layout.prompt.consecutive:
            # a filler may have moved beyond its table
            places = rows if shift is None else (rows + shift).clamp(0, tables[0].shape[1] - 1)
            return tuple(gather_rows(table, places) for table in tables)

        if rotary is None or positions is None:
            raise SessionError(NO_ROTARY)

        given = positions.expand(len(rows), -1).gather(1, rows)
        return rotary.tables(hidden, given + shift)

    def moved_keys(self, keys: Tensor, rotary: Rotary | None, rotate: Rotation | None) -> Tensor:
        """Stored keys [B, Hkv, h, d] of earlier turns, moved as far as the first row of this one.

        Args:
            keys: with the positions they were stored with.
            rotary: computes cos and sin.
            rotate: the layer's rotation: (queries, keys, cos, sin) -> both; None without one.

        Raises:
            SessionError: the layer rotates, and nothing computes its tables.
        """
        if not self.moved or rotate is None:
            return keys
        if rotary is None:
            raise SessionError(NO_ROTARY)

        # layers of one kind are turned alike
        key = (rotary, self.total)
        if key not in self._turned:
            self._turned[key] = _turn(self.total, keys, rotary)
        cos, sin = self._turned[key]
        turned: Tensor = rotate(keys[:, :1], keys, cos, sin)[1]
        return turned


def _turn(total: tuple[int, ...], keys: Tensor, rotary: Rotary) -> tuple[Tensor, Tensor]:
    """cos and sin [B, 1, d] of a rotation by so many positions."""
    # the length of a sequence may choose the frequencies, and two rows stand for a long one
    far = rotary.longest
    positions = upload(np.array([[steps, max(steps, far - 1)] for steps in total]), keys.device)
    cos, sin = rotary.tables(keys, positions)
    # some scale their tables for long contexts, which the stored keys are already
    return cos[:, :1] / rotary.scaling, sin[:, :1] / rotary.scaling


def _behind(layout: Layout) -> Tensor:
    """Real rows behind each row. long [B or 1, L]."""
    if layout.aligned:
        rows = torch.arange(layout.rows_total - 1, -1, -1, device=layout.origin.device)
        return rows.expand(layout.batch, -1)
    valid = layout.prompt.valid
    return upload(valid[:, ::-1].cumsum(axis=1)[:, ::-1] - valid, layout.origin.device)
