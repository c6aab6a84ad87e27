"""The moving picture of README: every figure in it is that of its run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import demo_picture  # noqa: E402

from transprune.models.checkpoint import LoadOptions, load  # noqa: E402


@pytest.fixture(scope="module")
def scene():
    return demo_picture.ask_demo(load("nano", LoadOptions(dtype="float32", device="cpu")))


def test_it_is_written_with_a_frame_for_each_boundary(scene, tmp_path) -> None:
    frames = demo_picture.draw(scene)
    assert len(frames) == len(scene.trace.stages) + 2
    demo_picture.save(frames, tmp_path / "demo.gif")
    assert (tmp_path / "demo.gif").stat().st_size < 100_000
    with Image.open(tmp_path / "demo.gif") as made, Image.open(ROOT / "docs" / "demo.gif") as kept:
        assert (made.n_frames, made.size) == (kept.n_frames, kept.size)
        assert made.getpixel((0, 0)) == kept.getpixel((0, 0))


def test_its_words_are_those_of_the_trace(scene) -> None:
    cost = scene.trace.cost("exact")
    answer, saved = demo_picture._verdict(scene)
    assert answer == "Answer: square, as unpruned."
    assert saved.startswith(f"{cost.prefill_share:.0%} of the work")
    assert demo_picture._words(6, 16, 18)[0] == "Layers 6 to 15: 18 stay,"
    assert demo_picture._words(5, 6, 90)[0] == "Layer 5: 90 stay,"
