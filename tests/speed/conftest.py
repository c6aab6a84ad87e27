"""A revision that stays the same during a test, and miniature runs of the benchmark."""

from __future__ import annotations

import pytest
import torch

from transprune.speed import provenance
from transprune.speed.benchmark import Settings
from transprune.speed.measure import Effort

EFFORT = Effort(lengths=(1, 2, 4), prefill_rounds=2, answer_rounds=2, least=1)


@pytest.fixture(autouse=True)
def revision(monkeypatch):
    """Others may commit while a test runs, and records of two revisions are never mixed."""
    monkeypatch.setattr(provenance, "commit", lambda: "0123456789ab")


@pytest.fixture
def miniature():
    """Settings of a run in miniature on the CPU."""
    return Settings("cpu", torch.float32, seconds=60.0, effort=EFFORT)
