"""Gemma 4 with layers that read the keys of earlier ones, and with experts: what can be pruned, and what is refused."""

from __future__ import annotations

import pytest
import torch

from families.cases import build, greedy
from families.listener import quick
from families.models.patches import EXPERTS, SHARED
from reference import Forced, draw_keeps
from replay import replay
from transprune import TransPrune, prune
from transprune.errors import ScheduleError
from transprune.families import find_family

NEAR = 6e-5  # the unpruned model is up to 3e-5 from the same replay, logits of size 20
FIRST_SHARED = 5
PLACES = ({0: 0.6, 3: 0.3}, {2: 0.8, 4: 0.4}, {1: 0.5})


@pytest.fixture(scope="module")
def eager():
    model = build(SHARED).eval()
    model.set_attn_implementation("eager")
    return model


@pytest.fixture(scope="module", params=quick(["eager", "sdpa"], ["sdpa"]))
def model(request):
    model = build(SHARED).eval()
    model.set_attn_implementation(request.param)
    return model


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("kind", quick(["even", "ragged"], ["ragged"]))
def test_pruned_equals_the_replay_at_every_step(eager, model, kind, places):
    samples = getattr(SHARED, kind)()
    inputs = SHARED.batch(samples)
    with torch.no_grad():
        plain = greedy(model, inputs, steps=6)
        with prune(model, Forced.everything(samples, places)):
            kept = greedy(model, inputs, steps=6)
        assert all(torch.equal(a, b) for a, b in zip(kept.logits, plain.logits, strict=True))

        keeps = [draw_keeps(sample, places) for sample in samples]
        with prune(model, Forced.of(samples, keeps)):
            run = greedy(model, inputs, steps=6)
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        alone = SHARED.batch([sample])
        expected = replay(eager, alone, keep, run.sequences[row, -6:-1])
        steps = torch.stack([logits[row] for logits in run.logits])
        torch.testing.assert_close(steps, expected[len(sample.ids) - 1 :], atol=NEAR, rtol=0)
        assert float((steps - torch.stack([p[row] for p in plain.logits])).abs().max()) > 0.1


def test_only_layers_with_keys_of_their_own_store_some(model):
    inputs = SHARED.batch(SHARED.even())
    with torch.no_grad(), prune(model, "divprune:keep_ratio=0.5") as session:
        cache = greedy(model, inputs, steps=1).past_key_values
    own = cache.layers[:FIRST_SHARED]
    assert session.trace.kv_bytes == sum(
        t.numel() * t.element_size() for layer in own for t in (layer.keys, layer.values)
    )
    assert all(getattr(layer, "keys", None) is None for layer in cache.layers[FIRST_SHARED:])


@pytest.mark.parametrize("boundary", [5, 6, 7])
def test_a_boundary_behind_the_first_shared_layer_is_refused(model, boundary):
    inputs = SHARED.batch(SHARED.even())
    with pytest.raises(ScheduleError, match="boundaries up to 4"), torch.no_grad():
        run(model, inputs, f"uniform:keep={boundary}:0.5")


def test_attention_is_read_in_front_of_the_shared_layers(model):
    inputs = SHARED.batch(SHARED.ragged())
    session = run(model, inputs, TransPrune(keep={2: 0.5, 4: 0.25}))
    assert [stage.boundary for stage in session.trace.stages] == [2, 4]


def test_experts_beside_the_mlp():
    """26B-A4B: a token's experts are its own, so dropping others changes none of them."""
    model, slow = build(EXPERTS).eval(), build(EXPERTS).eval()
    model.set_attn_implementation("sdpa")
    slow.set_attn_implementation("eager")
    samples = EXPERTS.ragged()
    keeps = [draw_keeps(sample, PLACES[1]) for sample in samples]
    inputs = EXPERTS.batch(samples)
    with torch.no_grad(), prune(model, Forced.of(samples, keeps)):
        pruned = greedy(model, inputs, steps=4)
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        expected = replay(slow, EXPERTS.batch([sample]), keep, pruned.sequences[row, -4:-1])
        steps = torch.stack([logits[row] for logits in pruned.logits])
        torch.testing.assert_close(steps, expected[len(sample.ids) - 1 :], atol=NEAR, rtol=0)
    session = run(model, inputs, TransPrune(keep={2: 0.5, 4: 0.25}))
    assert [stage.boundary for stage in session.trace.stages] == [2, 4]


def run(model, inputs, method):
    with torch.no_grad(), prune(model, method) as session:
        greedy(model, inputs, steps=2)
    return session


@pytest.mark.parametrize("frames", [[2], [1, 3]])
def test_the_frames_of_a_video_add_up(model, frames):
    """Frames of all videos lie on one axis; some of them are filled up with places of -1."""
    places = torch.full((sum(frames), 64, 2), -1)
    places[:, :32] = torch.cartesian_prod(torch.arange(4), torch.arange(8)).flip(1)
    places[0] = torch.cartesian_prod(torch.arange(8), torch.arange(8)).flip(1)
    kwargs = {"video_position_ids": places, "num_frames_per_video": torch.tensor(frames)}
    lengths = find_family(model).tokens_per_raw_image(model.model, kwargs, 0)
    assert lengths == [16 + 8] if frames == [2] else lengths == [16, 24]
