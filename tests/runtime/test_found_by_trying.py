"""Faults that somebody found by trying, one test each."""

import math

import pytest
import torch

from families.cases import FAMILIES, MODELS
from transprune import Compose, FastV, TransPrune, Uniform, prune
from transprune.core.frames import count_per_frame
from transprune.errors import LayoutError, ScheduleError
from transprune.methods import PACT
from transprune.models.calibrate import layer_contributions


@pytest.mark.parametrize("pool", ["sample", "image"])
def test_a_prompt_may_begin_with_its_picture(zoo, pool):
    """There is no text in front of it whose keys PACT could take into account."""
    case = FAMILIES["llava"]
    inputs = case.batch([case.sample([0, 1], [0, 2, 5])])
    with torch.no_grad(), prune(zoo("llava", "sdpa"), PACT(layer=2), pool=pool):
        assert zoo("llava", "sdpa")(**inputs).logits[:, -1].isfinite().all()


def test_frames_are_counted_in_any_order():
    assert count_per_frame([9, 3, 0, 5], [[4, 4], [2]]) == ((2, 1), (1,))


def test_a_trace_draws_each_picture_of_a_prompt(zoo):
    from PIL import Image

    case = FAMILIES["llava_next"]
    inputs = case.batch([case.sample([0, 1], [3, 2, 6])])
    with torch.no_grad(), prune(zoo("llava_next", "sdpa"), TransPrune({2: 0.5})) as session:
        zoo("llava_next", "sdpa")(**inputs)
    picture = Image.new("RGB", (64, 48))
    with pytest.raises(LayoutError, match=r"2 picture\(s\) of 70, 52"):
        session.trace.plot(picture)
    assert session.trace.plot([picture, picture], grid=(4, 4)).width > 64


def test_layers_without_keys_are_not_calibrated(zoo):
    case = MODELS["qwen3_5"]
    measured = layer_contributions(zoo("qwen3_5", "sdpa"), [case.batch(case.even()[:1])])
    assert [math.isnan(nats) for nats in measured.nats] == [layer % 4 != 3 for layer in range(8)]
    assert sorted(measured.order) == [3, 7]


def test_a_stage_that_another_moved_past_is_named(zoo):
    parts = [FastV(layer=2), Uniform({3: 0.5})]
    with pytest.raises(ScheduleError, match="boundary 2 moved up to 4"):
        prune(zoo("qwen3_5", "sdpa"), Compose(parts))
