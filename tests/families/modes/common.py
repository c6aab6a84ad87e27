"""The modes under contract: each a function of a model beside its replay, in a table by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from families.case import Sample
from families.contract import PLACES, Beside, forced
from reference import Forced

MODES: dict[str, Callable[[Beside], None]] = {}
MIDDLE = PLACES["middle"]


def mode(name: str) -> Callable[[Callable[[Beside], None]], Callable[[Beside], None]]:
    """Add a function to the table of modes."""

    def add(run: Callable[[Beside], None]) -> Callable[[Beside], None]:
        MODES[name] = run
        return run

    return add


def ragged(beside: Beside) -> tuple[list[Sample], Forced, list[Any], dict[str, Tensor]]:
    """A left-padded batch: samples, what keeps drawn tokens, what the replay is told, and the inputs."""
    samples = beside.case.ragged()
    method, told = forced(samples, MIDDLE)
    return samples, method, told, beside.case.batch(samples)


def alone(beside: Beside) -> tuple[Sample, Forced, dict[str, Any], dict[str, Tensor]]:
    """The same for one prompt."""
    sample = beside.case.even()[0]
    method, told = forced([sample], MIDDLE)
    return sample, method, told[0], beside.case.batch([sample])
