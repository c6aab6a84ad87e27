"""The oracle: a control that is told which tokens show what the question is about, and keeps those first.

It bounds what any choice at the same schedule could achieve, and needs the answer's objects, so it is no method for
users: it is not registered, and made anew for every batch. `oracle` runs at TransPrune's boundaries, the place where
the methods it bounds choose; `oracle-0` runs at boundary 0, which bounds the projector-side ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from zlib import crc32

import torch
from torch import Tensor

from transprune.bench.data.tasks import Item
from transprune.core.schedule import Schedule
from transprune.core.views import LayerView, Scores
from transprune.methods.common.scheduled import Control

Groups = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Oracle(Control):
    """Keep the tokens of the asked objects; with slots to spare random others, with too few a part of every object.

    Args:
        keep: boundary -> share, at any boundary from 0 on. Default: TransPrune's High schedule, scaled with depth.
        seed: of the tokens that fill spare slots.
        told: per sample of the batch, in order, the token numbers of each object asked about.
        fillers: per sample, what its spare slots are drawn by; from the question, so that batches do not matter.
    """

    seed: int = 0
    told: tuple[Groups, ...] = field(default=(), repr=False)
    fillers: tuple[int, ...] = field(default=(), repr=False)

    name: ClassVar[str] = "oracle"
    title: ClassVar[str] = "Oracle: control, keeps the asked objects"

    _turns: Counter[int] = field(default_factory=Counter, init=False, repr=False, compare=False)

    @classmethod
    def at_start(cls) -> Oracle:
        """One cut in front of the language model."""
        return cls(Schedule({0: 0.25}))

    def bind(self, items: Sequence[Item]) -> Oracle:
        """The oracle for one batch."""
        fillers = tuple(crc32(f"{item.family} {item.id}".encode()) for item in items)
        return replace(self, told=tuple(item.relevant or () for item in items), fillers=fillers)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """1 and more for tokens of asked objects, less for the rest; the same at every boundary, so cuts are nested."""
        sample = self._turns[
            view.boundary
        ]  # a stage asks sample by sample, in the order of the batch
        self._turns[view.boundary] += 1
        total = int(view.candidates.max()) + 1
        score = torch.rand(
            total, generator=torch.Generator().manual_seed(self.seed + self.fillers[sample])
        )
        for rank, token in enumerate(interleave(self.told[sample])):
            if token < total:
                score[token] = 1 + 1 / (1 + rank)
        return {"score": score.to(view.candidates.device)[view.candidates]}

    def to_dict(self) -> dict[str, Any]:
        """Never: an oracle cannot be run from a recipe."""
        raise TypeError("an oracle is no recipe")


def interleave(groups: Groups) -> list[int]:
    """Tokens of all groups, one of each in turn, each group from its middle outwards, none twice."""
    ordered = [_outwards(group) for group in groups]
    longest = max(map(len, ordered), default=0)
    turns = [group[turn] for turn in range(longest) for group in ordered if turn < len(group)]
    return list(dict.fromkeys(turns))


def _outwards(group: Sequence[int]) -> list[int]:
    order = sorted(range(len(group)), key=lambda place: abs(2 * place - len(group) + 1))
    return [group[place] for place in order]


def _from_middle(group: Sequence[int]) -> list[int]:
    middle = (len(group) - 1) / 2
    return [
        group[place] for place in sorted(range(len(group)), key=lambda place: abs(place - middle))
    ]
