"""The oracle: a control that is given the tokens of the objects in the question, and keeps them.

It bounds the accuracy of any choice with the same schedule. It needs the objects of the answer, so
it is not a method for users: it is not registered, and it is bound to every batch anew. `oracle`
runs at TransPrune's boundaries, which is where the methods choose that it bounds; `oracle-0` runs
at boundary 0, which bounds the projector-side methods.
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

Groups = Sequence[Sequence[int]]  # token indices of each object


@dataclass(frozen=True)
class Oracle(Control):
    """Keep the target tokens: those of the objects in the question.

    Free slots are filled with random other tokens; with too few slots a part of every object stays.

    Args:
        keep: boundary -> share, at any boundary from 0 on. Default: TransPrune's High schedule,
            scaled with depth.
        seed: seed of the tokens that fill free slots.
        target_tokens: per sample of the batch, in order, the token indices of each object.
        fillers: per sample, a number that is added to the seed; it depends on the question only, so
            batches do not matter.
    """

    seed: int = 0

    # not part of the repr: it names the condition, which is the same for every batch
    target_tokens: tuple[Groups, ...] = field(default=(), repr=False)
    fillers: tuple[int, ...] = field(default=(), repr=False)

    name: ClassVar[str] = "oracle"
    title: ClassVar[str] = "Oracle: control, keeps the asked objects"

    # boundary -> samples of the batch that were scored there
    _scored: Counter[int] = field(default_factory=Counter, init=False, repr=False, compare=False)

    @classmethod
    def at_start(cls) -> Oracle:
        """One cut, in front of the language model."""
        return cls(Schedule({0: 0.25}))

    def bind(self, items: Sequence[Item]) -> Oracle:
        """The oracle for one batch of questions."""
        targets = tuple(item.relevant or () for item in items)

        # not hash(), which differs from process to process
        fillers = tuple(crc32(f"{item.family} {item.id}".encode()) for item in items)
        return replace(self, target_tokens=targets, fillers=fillers)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Score target tokens above 1 and all others below.

        A token has the same score at every boundary, so a later stage keeps a part of an earlier
        one's tokens.
        """
        # a stage scores the samples one by one, in the order of the batch
        sample = self._scored[view.boundary]
        self._scored[view.boundary] += 1

        total = int(view.candidates.max()) + 1
        generator = torch.Generator().manual_seed(self.seed + self.fillers[sample])
        score = torch.rand(total, generator=generator)

        for rank, token in enumerate(interleave(self.target_tokens[sample])):
            if token < total:
                score[token] = 1 + 1 / (1 + rank)

        # [total] -> [candidates]
        return {"score": score.to(view.candidates.device)[view.candidates]}

    def to_dict(self) -> dict[str, Any]:
        """Raise TypeError: an oracle cannot be run from a recipe."""
        raise TypeError("an oracle has no recipe: it needs the objects of every question")


def interleave(groups: Groups) -> list[int]:
    """Tokens of all groups without repeats, one of each group in turn, from its middle outwards."""
    ordered = [_from_middle(group) for group in groups]
    longest = max(map(len, ordered), default=0)

    found: list[int] = []
    for turn in range(longest):
        found += [group[turn] for group in ordered if turn < len(group)]

    # a token may show two objects; a dict keeps the first place of each
    return list(dict.fromkeys(found))


def _from_middle(group: Sequence[int]) -> list[int]:
    """The tokens by their distance from the middle of the group."""
    # twice the distance, which is a whole number
    order = sorted(range(len(group)), key=lambda place: abs(2 * place - len(group) + 1))
    return [group[place] for place in order]
