"""Frames in the trace, and EVS, which compares them."""

from __future__ import annotations

import json

import pytest
import torch

from families.cases import greedy
from families.test_frames import FRAMES, SHAPES, frames_of, video_prompt
from families.test_video import SPATIAL, UNIT, image_first, prompt
from transprune import Random, prune
from transprune.errors import MethodError
from transprune.methods import EVS


@pytest.mark.parametrize("pool", ["sample", "image", "frame"])
@pytest.mark.parametrize("first", [False, True], ids=["video first", "image first"])
def test_the_trace_tells_frames_apart(zoo, first, pool):
    model, inputs = zoo("qwen2_5_vl", "sdpa"), prompt(with_image=True)
    inputs = image_first(inputs) if first else inputs
    with torch.no_grad(), prune(model, Random(keep={2: 0.5, 5: 0.25}), pool=pool) as session:
        model(**inputs)
    trace = session.trace
    video, image = (SPATIAL, SPATIAL), (SPATIAL,)
    assert trace.frames == ((image, video) if first else (video, image),)
    assert json.loads(trace.to_json())["frames"] == [[list(clip) for clip in trace.frames[0]]]

    kept = trace.kept_per_frame()
    assert [sum(map(sum, stage)) for stage in kept] == [len(s.keep[0]) for s in trace.stages]
    if pool == "frame":
        assert [sorted(map(set, stage), key=min) for stage in kept] == [[{8}, {8}], [{4}, {4}]]
    which = 2 if first else 1
    assert f"frames of picture {which}: 2 x {SPATIAL} visual tokens" in str(trace)


def test_without_a_picture_there_are_no_frames(zoo):
    ids = torch.tensor([[5, 6, 7]])
    types = torch.zeros_like(ids)
    with torch.no_grad(), prune(zoo("qwen2_5_vl", "sdpa"), Random(keep={2: 0.5})) as session:
        zoo("qwen2_5_vl", "sdpa")(input_ids=ids, mm_token_type_ids=types)
    assert session.trace.frames == () and session.trace.kept_per_frame() == ()


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_frames_of_llavas_relatives_in_the_trace(zoo, name):
    with prune(zoo(name, "sdpa"), Random(keep={3: 0.5}), pool="frame") as session:
        greedy(zoo(name, "sdpa"), video_prompt(name), steps=2)
    assert session.trace.frames == ((frames_of(name),),)
    expected = tuple(tokens // 2 for tokens in frames_of(name))
    assert session.trace.kept_per_frame() == ((expected,),)
    assert f"frames: {FRAMES} x 4" in str(session.trace) or name != "llava_next_video"


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_evs_on_llavas_relatives(zoo, name):
    """The first frame stays, and LLaVA-OneVision's newline, which has no place a frame earlier."""
    with torch.no_grad(), prune(zoo(name, "sdpa"), EVS(0.5)) as session:
        zoo(name, "sdpa")(**video_prompt(name))
    (((first, *_),),) = session.trace.kept_per_frame()
    assert first == frames_of(name)[0]
    if name == "llava_onevision":
        assert int(session.trace.stages[0].keep[0][-1]) == sum(frames_of(name)) - 1


def test_evs_refuses_single_frames(zoo):
    model = zoo("qwen2_5_vl", "sdpa")
    with (
        torch.no_grad(),
        prune(model, EVS(0.5), pool="frame"),
        pytest.raises(MethodError, match="pool='frame'"),
    ):
        model(**prompt(with_image=True))


def test_evs_keeps_what_moves(zoo):
    """A video whose second frame repeats the first but for one corner."""
    model, inputs = zoo("qwen2_5_vl", "sdpa"), prompt(with_image=True)
    frames = inputs["pixel_values_videos"].unflatten(0, (2, -1)).clone()
    frames[1] = frames[0]
    frames[1, :UNIT] += 3 * torch.randn(frames[1, :UNIT].shape)
    inputs["pixel_values_videos"] = frames.flatten(0, 1)

    method = EVS(keep_ratio=(SPATIAL + 1) / (2 * SPATIAL))
    with torch.no_grad(), prune(model, method, pool="image", record=("scores",)) as session:
        model(**inputs)
    (video, picture), trace = session.trace.kept_per_frame()[0], session.trace
    assert video == (SPATIAL, 1)
    assert picture == (8,)
    scores = trace.stages[0].scores["score"][0]
    assert (scores[:SPATIAL] == 2).all() and (scores[-SPATIAL:] == 2).all()
    assert scores[SPATIAL:-SPATIAL].argmax() + SPATIAL in trace.stages[0].keep[0]
