"""What a test bed is: a model, and pictures of which it is known what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from transprune.bench.data.tasks import Item
from transprune.models.checkpoint import Checkpoint

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """A question, and what its picture shows.

    Attributes:
        item: the question.
        objects: bool [N], visual tokens that show any object.
        asked: bool [N], those that show what the question is about; all False if it is not there.
    """

    item: Item
    objects: Bools
    asked: Bools


class TestBed(Protocol):
    """A model, and questions about pictures of which it is known what they show."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The model with its processor."""

    def seen(self) -> Sequence[Seen]:
        """The questions, all with the same number of visual tokens."""
