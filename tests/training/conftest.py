"""The bundled model, frozen, with a few questions about three training scenes."""

from __future__ import annotations

import pytest

from transprune.bench.data.tasks import find_bed
from transprune.bench.run.prepared import PreparedQuestions
from transprune.models.checkpoint import load


@pytest.fixture(scope="session")
def items():
    """Two questions about each of three pictures."""
    asked = find_bed("nano").ask_to_learn(3)
    chosen = []
    for image in sorted({item.image for item in asked}):
        chosen += [item for item in asked if item.image == image][:2]
    return chosen


@pytest.fixture(scope="session")
def prepared(items):
    checkpoint = load("nano")
    checkpoint.model.requires_grad_(False)
    return PreparedQuestions(checkpoint, items)
