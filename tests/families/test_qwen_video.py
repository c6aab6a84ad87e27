"""Videos of Qwen-VL and GLM-V as their processors write them, alone and beside an image."""

from __future__ import annotations

import pytest
import torch

from families.cases import LAYERS, greedy
from families.contract import NEAR, apart
from families.packed_towers import PACKED, QWEN, SIDE, UNIT, quick, video_prompt
from replay import replay
from transprune import Random, TransPrune, VisionZip, prune

FRAMES, EACH = 3, SIDE * SIDE // UNIT
KEEPS = {1: 0.7, 4: 0.5, 7: 0.25}  # in front of features that DeepStack adds, too


def distance(eager, inputs, run, keeps):
    """The largest difference of a logit from the replay's, at prefill and at every decode step."""
    new = run.sequences[0, inputs["input_ids"].shape[1] :]
    expected = replay(eager, inputs, keeps, new[:-1])[-len(new) :]
    return apart(torch.cat(run.logits), expected)


def check_against_replay(zoo, name, attn, inputs):
    """Keep-all is the model itself; pruned logits are the replay's at prefill and every step."""
    model = zoo(name, attn)
    unpruned = greedy(model, inputs)
    with prune(model, Random(keep={3: 1.0})):
        kept_all = greedy(model, inputs)
    assert torch.equal(torch.stack(kept_all.logits), torch.stack(unpruned.logits))

    with prune(model, Random(keep=KEEPS)) as session:
        pruned = greedy(model, inputs)
    keeps = {stage.boundary: stage.keep[0].tolist() for stage in session.trace.stages}
    farthest = distance(zoo(name), inputs, pruned, keeps)
    # recurrent layers and experts sum in another order, pruned or not
    assert farthest <= NEAR or farthest <= 10 * distance(zoo(name), inputs, unpruned, {})
    assert apart(torch.cat(pruned.logits), torch.cat(unpruned.logits)) > 0.03
    return session.trace


@pytest.mark.parametrize("attn", ["sdpa", pytest.param("eager", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", quick(PACKED))
def test_a_pruned_video_equals_the_replay(zoo, name, attn):
    trace = check_against_replay(zoo, name, attn, video_prompt(name, FRAMES))
    assert trace.visual_tokens == (FRAMES * EACH,)


@pytest.mark.parametrize("attn", ["sdpa", pytest.param("eager", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", quick(QWEN))
def test_a_video_and_an_image_equal_the_replay(zoo, name, attn):
    trace = check_against_replay(zoo, name, attn, video_prompt(name, FRAMES, image=True))
    assert trace.visual_tokens == ((FRAMES + 1) * EACH,)


@pytest.mark.parametrize(
    "method", [TransPrune(keep={3: 0.5, 7: 0.25}), VisionZip(0.25)], ids=lambda method: method.name
)
@pytest.mark.parametrize("name", quick(PACKED))
def test_methods_choose_among_the_tokens_of_a_video(zoo, name, method):
    with torch.no_grad(), prune(zoo(name, "sdpa"), method) as session:
        zoo(name, "sdpa")(**video_prompt(name, FRAMES))
    assert len(session.trace.stages[-1].keep[0]) == FRAMES * EACH // 4
    assert len(session.trace.kv_lengths) == LAYERS


@pytest.mark.parametrize("name", quick(QWEN))
def test_a_whole_video_and_an_image_are_pools_of_their_own(zoo, name):
    """Time stamps between the frames do not make pools of them."""
    inputs = video_prompt(name, FRAMES, image=True)
    for method in (Random(keep={3: 0.25}), VisionZip(0.25)):
        with torch.no_grad(), prune(zoo(name, "sdpa"), method, pool="image") as session:
            zoo(name, "sdpa")(**inputs)
        kept = session.trace.stages[-1].keep[0]
        assert int((kept < FRAMES * EACH).sum()) == FRAMES * EACH // 4
        assert int((kept >= FRAMES * EACH).sum()) == EACH // 4


@pytest.mark.parametrize("name", quick(["glm46v", "glm4v", "glm4v_moe"]))
def test_glm_has_one_medium_per_prompt(zoo, name):
    """Transformers itself cannot merge both, as both are written with one id."""
    model, inputs = zoo(name, "sdpa"), video_prompt(name, FRAMES, image=True)
    mismatch = "features and image tokens do not match"
    with pytest.raises(ValueError, match=mismatch):
        model(**inputs)
    with pytest.raises(ValueError, match=mismatch), prune(model, Random(keep={3: 0.5})):
        model(**inputs)


@pytest.mark.parametrize("name", quick(PACKED))
def test_every_frame_can_be_a_pool(zoo, name):
    """Between its neighbours' time stamps, or by its size where nothing stands between."""
    inputs = video_prompt(name, FRAMES)
    with torch.no_grad(), prune(zoo(name, "sdpa"), Random({3: 0.25}), pool="frame") as session:
        zoo(name, "sdpa")(**inputs)
    kept = session.trace.stages[-1].keep[0]
    shares = [int((kept // EACH == frame).sum()) for frame in range(FRAMES)]
    assert shares == [EACH // 4] * FRAMES
