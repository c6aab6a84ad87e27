"""How the tokens of a video split into frames: by model class, under `forward` and `generate`, and by what tells it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from families.case import IMAGE, VIDEO
from families.cases import greedy
from families.contract import NEAR, apart
from families.models.onevision import video
from families.shares import kept_of
from replay import replay
from transprune import Random, TransPrune, prune
from transprune.errors import LayoutError
from transprune.families.frames import find_frames

FRAMES = 3
# tokens of a frame, and of what stands behind the last one
SHAPES = {"llava_next_video": (4, 0), "llava_onevision": (4, 1), "video_llava": (17, 0)}
KEEPS = {1: 0.7, 4: 0.5, 7: 0.25}


def frames_of(name: str) -> tuple[int, ...]:
    each, behind = SHAPES[name]
    return (each,) * (FRAMES - 1) + (each + behind,)


def video_prompt(name: str) -> dict[str, torch.Tensor]:
    shown = video(0, sum(frames_of(name)), FRAMES)
    ids = torch.tensor([[5, 6, *[VIDEO] * shown.tokens, 7, 8, 9]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **shown.tensors}


@pytest.mark.parametrize("how", ["forward", "generate"])
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_frames_of_llavas_relatives(zoo, name, how):
    model, inputs = zoo(name, "sdpa"), video_prompt(name)
    with torch.no_grad(), prune(model, Random(keep={3: 0.5}), pool="frame") as session:
        if how == "forward":
            model(**inputs)
        else:
            greedy(model, inputs, steps=2)
    expected = [tokens // 2 for tokens in frames_of(name)]
    assert kept_of(session.trace, frames_of(name)) == expected


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_pruned_frames_equal_the_replay(zoo, name):
    model, inputs = zoo(name, "sdpa"), video_prompt(name)
    unpruned = greedy(model, inputs)
    with prune(model, Random(keep={3: 1.0}), pool="frame"):
        kept_all = greedy(model, inputs)
    assert torch.equal(torch.stack(kept_all.logits), torch.stack(unpruned.logits))

    with prune(model, Random(keep=KEEPS), pool="frame") as session:
        pruned = greedy(model, inputs)
    keeps = {stage.boundary: stage.keep[0].tolist() for stage in session.trace.stages}
    new = pruned.sequences[0, inputs["input_ids"].shape[1] :]
    expected = replay(zoo(name), inputs, keeps, new[:-1])[-len(new) :]
    assert apart(torch.cat(pruned.logits), expected) <= NEAR


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_transprune_runs_on_their_frames(zoo, name):
    method = TransPrune({2: 0.5, 5: 0.25})
    with torch.no_grad(), prune(zoo(name, "sdpa"), method, pool="frame") as session:
        zoo(name, "sdpa")(**video_prompt(name))
    assert kept_of(session.trace, frames_of(name)) == [n // 4 for n in frames_of(name)]


def test_beams_of_encoded_frames_are_refused(zoo):
    """Nothing tells how often the features of a prompt were repeated."""
    model, inputs = zoo("llava_onevision", "sdpa"), video_prompt("llava_onevision")
    with (
        prune(model, Random(keep={3: 0.5}), pool="frame"),
        pytest.raises(LayoutError, match="without beams"),
    ):
        greedy(model, inputs, num_beams=2)
    with prune(model, Random(keep={3: 0.5}), pool="image") as session:
        greedy(model, inputs, num_beams=2)
    assert session.trace.visual_tokens == (13, 13)


# ------------------------------------------------------------------- what tells the frames apart


def slots(*ids: int) -> torch.Tensor:
    return torch.tensor([ids]) == VIDEO


def test_text_between_frames():
    mask = slots(1, VIDEO, VIDEO, 2, VIDEO, VIDEO, VIDEO, 3, VIDEO, 4)
    assert find_frames({}, mask, [5, 1]) == [[2, 3], [1]]
    # two videos without text between them are no frames of one
    assert find_frames({}, slots(1, VIDEO, VIDEO, VIDEO), [2, 1]) is None


def test_grids():
    mask = slots(*[VIDEO] * 10)
    grids = {"video_grid_thw": torch.tensor([[2, 4, 4], [1, 2, 4]])}
    assert find_frames(grids, mask, [8, 2]) == [[4, 4], [2]]
    assert find_frames(grids, mask, [10]) is None  # of another number of videos


def test_pixels_and_a_rest_behind_the_last_frame():
    mask = slots(*[VIDEO] * 13)
    assert find_frames({"pixel_values_videos": torch.zeros(1, 3, 3, 4, 4)}, mask, [13]) == [
        [4, 4, 5]
    ]
    # more frames than tokens cannot be
    assert find_frames({"pixel_values_videos": torch.zeros(1, 14, 3, 4, 4)}, mask, [13]) is None


def test_states_of_the_tower():
    encoded = {"video": SimpleNamespace(last_hidden_state=torch.zeros(6, 9, 4))}
    ids = torch.tensor([[VIDEO] * 12, [IMAGE] * 12])
    kwargs = {"mm_encoder_outputs": encoded, "input_ids": ids}
    assert find_frames(kwargs, ids == VIDEO, [12]) == [[2] * 6]
    # beams: the same ids twice
    twice = {**kwargs, "input_ids": ids[:1].repeat(2, 1)}
    assert find_frames(twice, twice["input_ids"] == VIDEO, [12, 12]) is None


def test_positions_of_rows_and_columns():
    # two frames of 2 x 3, whose times are equal: rows and columns begin again
    rows, columns = [5, 5, 5, 6, 6, 6] * 2, [5, 6, 7] * 4
    positions = torch.tensor([[[3, *[5] * 12]], [[3, *rows]], [[3, *columns]]])
    mask = slots(1, *[VIDEO] * 12)
    assert find_frames({"position_ids": positions}, mask, [12]) == [[6, 6]]
    assert find_frames({"position_ids": positions[0]}, mask, [12]) is None
