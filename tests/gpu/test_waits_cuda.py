"""What torch itself sees on a CUDA device: the same limits as `tests/runtime/test_waits.py` counts on a CPU."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch

from families.cases import FAMILIES, greedy
from runtime.test_waits import EVERY, MOST, NEEDED, batch_of
from runtime.waits import caller, place_of
from transprune import prune
from transprune.errors import PruneWarning

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Seen:
    """Warnings of `torch.cuda.set_sync_debug_mode`, by the caller in transprune."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def note(self, message, category, *args, **kwargs) -> None:
        if "synchronizing CUDA operation" not in str(message):
            return
        frame = caller()
        if frame is not None:
            self.places.append(place_of(frame))


def seen_waits(monkeypatch, model, inputs, steps):
    seen = Seen()
    torch.cuda.synchronize()
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("always")
        # called by torch where the wait happens, so the callers are still on the stack
        patch.setattr(warnings, "showwarning", seen.note)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            greedy(model, inputs, steps=steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return seen.places


@pytest.mark.parametrize("size", [1, 8], ids=["alone", "ragged"])
@pytest.mark.parametrize("name", EVERY)
def test_a_prefill_does_not_wait(zoo, family, name, size, monkeypatch):
    case = EVERY[name]
    if family in case.refuses:
        pytest.skip(case.refuses[family])
    model = zoo.fresh(family, "sdpa").cuda()
    inputs = {key: value.cuda() for key, value in batch_of(FAMILIES[family], size).items()}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)
        with prune(model, case.method):
            greedy(model, inputs, steps=1)  # first use compiles and allocates
            first = seen_waits(monkeypatch, model, inputs, steps=1)
            three = seen_waits(monkeypatch, model, inputs, steps=3)

    needed, _ = NEEDED.get(name, (0, ""))
    assert len(first) <= MOST + needed * size, f"{name} on {family}: {first}"
    assert len(three) == len(first), f"{name} on {family}, with two more steps: {three}"


def test_the_counter_sees_a_wait(monkeypatch):
    seen = Seen()
    monkeypatch.setattr(sys.modules["runtime.waits"], "OURS", "/gpu/")  # this file is charged
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("always")
        patch.setattr(warnings, "showwarning", seen.note)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            torch.ones(3, device="cuda").nonzero()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert seen.places
