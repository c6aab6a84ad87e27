"""EVS: all of a first frame is new; behind it stays what differs from its place a frame earlier."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transprune import prune
from transprune.core.frames import Frames
from transprune.core.plan import Reading, Stage
from transprune.core.views import ProjectorView, Selection
from transprune.cost.geometry import known_geometry
from transprune.cost.scoring import similarity_cost
from transprune.errors import MethodError, MissingSignal, ScheduleError
from transprune.methods import EVS


def frames_of(*clips: tuple[int, ...], whole: bool = True) -> Frames:
    """Clips by the tokens of each of their frames."""
    rows = []
    frame = 0
    for clip, sizes in enumerate(clips):
        for size in sizes:
            rows += [(clip, frame, place) for place in range(size)]
            frame += 1
    return Frames(*np.array(rows).T, whole=whole)


def run(features: Tensor, frames: Frames | None, count: int) -> Selection:
    signals: dict[str, Any] = {} if frames is None else {"frames": lambda: frames}
    tokens = torch.arange(len(features))
    return EVS().select(ProjectorView(0, count, tokens, lambda: features, signals=signals))


def at_angles(*degrees: float) -> Tensor:
    return torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in degrees])


def test_the_earlier_token_of_each_place() -> None:
    frames = frames_of((3, 3), (2,), (2, 2, 3))
    assert frames.previous.tolist() == [-1, -1, -1, 0, 1, 2, -1, -1, -1, -1, 8, 9, 10, 11, -1]


def test_the_first_frame_and_what_moved_most() -> None:
    features = at_angles(0, 10, 20, 0, 40, 25, 90, 40, 30)
    selection = run(features, frames_of((3, 3, 3)), 5)
    assert selection.keep.tolist() == [0, 1, 2, 4, 6]
    turned = [0, 30, 5, 90, 0, 5]
    expected = [2.0] * 3 + [1 - math.cos(math.radians(a)) for a in turned]
    assert selection.scores["score"].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_place_is_compared_with_the_frame_before_and_not_with_what_was_kept() -> None:
    # token 0 turns by 20 degrees in every frame: 40 from the first, which is what stayed
    features = at_angles(0, 0, 20, 0, 40, 30)
    assert run(features, frames_of((2, 2, 2)), 3).keep.tolist() == [0, 1, 5]


def test_length_does_not_count() -> None:
    features = at_angles(0, 0, 0, 5) * torch.tensor([[1.0], [1.0], [100.0], [1.0]])
    assert run(features, frames_of((2, 2)), 3).keep.tolist() == [0, 1, 3]


def test_every_clip_keeps_the_same_share() -> None:
    # the video is still; the picture behind it is new, and takes nothing of the video's share
    features = torch.ones(16, 4)
    kept = run(features, frames_of((4, 4), (8,)), 8).keep.tolist()
    assert kept == [0, 1, 2, 3, 9, 11, 13, 15]


def test_new_tokens_beyond_the_budget_stay_at_even_distances() -> None:
    assert run(torch.randn(9, 4), frames_of((9,)), 3).keep.tolist() == [1, 4, 7]
    assert run(torch.randn(18, 4), frames_of((9, 9)), 3).keep.tolist() == [1, 4, 7]


def test_a_token_without_a_place_in_the_frame_before_is_new() -> None:
    """As the newline behind a whole video of LLaVA-OneVision."""
    assert run(torch.ones(5, 4), frames_of((2, 3)), 3).keep.tolist() == [0, 1, 4]


def test_everything_stays_when_everything_fits() -> None:
    frames = frames_of((4, 4), (3,))
    assert run(torch.randn(11, 4), frames, 11).keep.tolist() == list(range(11))


def test_plan_and_cost() -> None:
    assert EVS(0.25).plan(32, 1000) == (Stage(0, 250),)
    assert EVS(0.25).plan(32, 3) == (Stage(0, 1, rounded_up=True),)
    (reading,) = EVS().reads_at(32)
    assert reading == Reading(0, similarity="previous_frame")
    geometry = known_geometry("qwen2.5-vl-7b")
    assert similarity_cost(geometry, reading, 1000) == 2 * 1000 * geometry.hidden


@pytest.mark.parametrize("ratio", [0, -1, 1.5, math.nan, "half", True])
def test_bad_ratios(ratio) -> None:
    with pytest.raises(ScheduleError, match="keep_ratio"):
        EVS(ratio)


def test_what_it_needs() -> None:
    with pytest.raises(MissingSignal, match="frames"):
        run(torch.randn(4, 4), None, 2)
    with pytest.raises(MethodError, match="'sample' or 'image'"):
        run(torch.randn(4, 4), frames_of((4,), whole=False), 2)


def test_a_picture_is_thinned_evenly(zoo) -> None:
    from families.cases import FAMILIES

    case = FAMILIES["llava"]
    sample = case.sample([0], [3, 4])
    with torch.no_grad(), prune(zoo("llava"), EVS(0.5)) as session:
        zoo("llava")(**case.batch([sample]))
    total = sample.visual_tokens
    assert session.trace.stages[0].keep[0].tolist() == [2 * i + 1 for i in range(total // 2)]
