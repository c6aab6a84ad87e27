"""A method that keeps everything and remembers the signals of each sample; parameters that run every time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from families.cases import greedy
from transprune import prune
from transprune.core.signals import Reads
from transprune.core.views import Selection
from transprune.methods import ProjectorPruner

READ = ("saliency", "keys", "early_saliency", "outer_keys", "place", "grid")


def quick(rows, some):
    """Parameters, of which all but some run with `make test-all` only."""
    marked = []
    for row in rows:
        marks = () if row in some else pytest.mark.slow
        marked.append(pytest.param(row, marks=marks))
    return marked


@dataclass(frozen=True)
class Listener(ProjectorPruner):
    """Keeps everything and remembers the signals and features of each sample."""

    names: tuple[str, ...] = READ
    seen: list = field(default_factory=list, compare=False)

    name: ClassVar[str] = "listener"

    @property
    def reads(self) -> Reads:
        return Reads(vision=self.names)

    def count(self, visual_tokens):
        return visual_tokens

    def select(self, view, carry=None):
        self.seen.append((view.vision, view.features.clone()))
        return Selection(torch.arange(len(view.candidates)))


def listen(model, inputs, names=READ, *, generate=False):
    listener = Listener(names)
    with torch.no_grad(), prune(model, listener):
        greedy(model, inputs, steps=2) if generate else model(**inputs)
    return listener.seen
