"""The bundled model with a few questions about three validation scenes."""

from __future__ import annotations

import pytest
from PIL import Image

from transprune.bench.data.tasks import load_tasks
from transprune.bench.run.prepared import PreparedQuestions
from transprune.models.checkpoint import load


@pytest.fixture(scope="session")
def items():
    """Two questions about each of three pictures."""
    asked = load_tasks("nano", n=3, split="validation").items
    chosen = []
    for image in sorted({item.image for item in asked}):
        chosen += [item for item in asked if item.image == image][:2]
    return chosen


@pytest.fixture(scope="session")
def prepared(items):
    return PreparedQuestions(load("nano"), items)


@pytest.fixture
def pictures(tmp_path):
    """A folder with three small pictures, 0.png to 2.png."""
    for number in range(3):
        shade = (40 * number, 90, 200)
        Image.new("RGB", (40, 40), shade).save(tmp_path / f"{number}.png")
    return tmp_path
