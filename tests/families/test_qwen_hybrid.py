"""Qwen3.5: rows of recurrent layers in exact arithmetic, and methods whose boundaries move to layers that attend."""

from __future__ import annotations

import sys

import pytest
import torch

from families.cases import MODELS, greedy
from families.contract import PLACES, Beside, forced
from families.packed_towers import quick
from transprune import FastV, PDrop, Random, TransPrune, prune
from transprune.errors import MissingSignal, ScheduleError
from transprune.families import find_family
from transprune.methods import AdaptInfer, ShortV, SparseVLM

HYBRID = ["qwen3_5", "qwen3_5_moe"]
ATTENDING = (3, 7)
EXACT = 5e-6  # norms and eager maps stay in float32


def delta_rule(
    query,
    key,
    value,
    g,
    beta,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    **kwargs,
):
    """The gated delta rule in float64, one token at a time: S <- exp(g) S + beta k (v - k S), out = q S."""
    assert use_qk_l2norm_in_kernel
    groups = value.shape[2] // key.shape[2]
    query, key = (x.double().repeat_interleave(groups, dim=2) for x in (query, key))
    query, key = (x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt() for x in (query, key))
    query = query * query.shape[-1] ** -0.5
    batch, length, heads, width = key.shape

    state = torch.zeros(batch, heads, width, value.shape[-1], dtype=torch.float64)
    if initial_state is not None:
        state = initial_state.double()
    outputs = []
    for t in range(length):
        state = state * g[:, t].double().exp()[..., None, None]
        known = torch.einsum("bhk,bhkv->bhv", key[:, t], state)
        new = (value[:, t].double() - known) * beta[:, t].double()[..., None]
        state = state + key[:, t][..., None] * new[..., None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", query[:, t], state))
    out = torch.stack(outputs, dim=1).to(value.dtype)
    return out, state if output_final_state else None


def in_float64(zoo, name, monkeypatch):
    """Models of the caller's own, the recurrences of whose file are the double above."""
    models = [zoo.fresh(name, attn).double() for attn in ("sdpa", "eager")]
    module = sys.modules[type(models[0].model.language_model).__module__]
    for rule in ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"):
        assert hasattr(module, rule)
        monkeypatch.setattr(module, rule, delta_rule)
    return Beside(zoo, name, "sdpa", *models, torch.float64)


def test_what_is_left_beside_rounding_is_nothing(zoo, monkeypatch):
    """Rows of recurrent layers, fillers and all, are the replay's once sums do not round.

    Of the dense model: the kernel of the experts knows no float64, and the recurrent layers are the same.
    """
    name = "qwen3_5"
    case = MODELS[name]
    plain = greedy(zoo(name, "sdpa"), case.batch(case.ragged()))
    beside = in_float64(zoo, name, monkeypatch)
    again = greedy(beside.model, beside.batch(case.ragged()))
    apart = (torch.stack(again.logits) - torch.stack(plain.logits)).abs().max()
    assert 0 < float(apart) < 1e-3, "the double is the same rule, and it is what runs"

    for samples in (case.ragged(), case.ragged()[:1]):
        for places in PLACES.values():
            method, told = forced(samples, places)
            inputs = beside.batch(samples)
            with torch.no_grad(), prune(beside.model, method):
                full, run = beside.model(**inputs).logits, greedy(beside.model, inputs)
            assert beside.distance(samples, run, told, full) <= EXACT


@pytest.mark.parametrize(
    "method",
    [
        TransPrune({2: 0.75, 6: 0.4}),
        FastV(layer=2, keep_ratio=0.4),
        PDrop({1: 0.7, 5: 0.3}),
        SparseVLM({3: 0.6}),
        AdaptInfer({3: 0.6}),
    ],
    ids=lambda method: method.name,
)
@pytest.mark.parametrize("name", quick(HYBRID))
def test_boundaries_move_to_layers_that_attend(zoo, name, method):
    """The next layer in depth; of a method that reads the layer in front of it, the one behind that."""
    inputs = MODELS[name].batch(MODELS[name].ragged())
    with torch.no_grad(), prune(zoo(name, "sdpa"), method) as session:
        assert zoo(name, "sdpa")(**inputs).logits.isfinite().all()
    trace = session.trace
    moved = [stage.boundary for stage in trace.stages]
    previous = method.reads.source == "previous"
    assert moved == [layer + previous for layer in ATTENDING[: len(moved)]]
    assert len(moved) == len(method.plan(8, 64))


@pytest.mark.parametrize("name", quick(HYBRID))
def test_keys_are_counted_where_there_are_any(zoo, name):
    sample = MODELS[name].even()[0]
    with prune(zoo(name, "sdpa"), Random({1: 0.5})) as session:
        greedy(zoo(name, "sdpa"), MODELS[name].batch([sample]), steps=1)
    left = len(sample.ids) - sample.visual_tokens // 2
    trace = session.trace
    assert [n for n in trace.kv_lengths if n] == [left] * len(ATTENDING)
    text = zoo(name).config.text_config
    entry = 2 * text.num_key_value_heads * text.head_dim * 4  # keys and values in float32
    assert trace.kv_bytes == left * len(ATTENDING) * entry


@pytest.mark.parametrize("name", quick(HYBRID))
def test_what_needs_more_layers_with_keys_is_refused(zoo, name):
    model, inputs = zoo(name, "sdpa"), MODELS[name].batch(MODELS[name].ragged())
    three = TransPrune({2: 0.75, 4: 0.5, 6: 0.2})
    with pytest.raises(ScheduleError, match="can be read are 3, 7"), prune(model, three):
        model(**inputs)
    with pytest.raises(MissingSignal, match="freeze some of 3, 7"), prune(model, ShortV((1, 3))):
        model(**inputs)


@pytest.mark.parametrize("name", quick(HYBRID))
def test_queries_without_their_gate(zoo, monkeypatch, name):
    """Rotated by the model's own function they are what its attention function is given."""
    attention = zoo(name).model.language_model.layers[3].self_attn
    module, seen = sys.modules[type(attention).__module__], {}
    rotate = module.apply_rotary_pos_emb

    def noted(query, key, *tables):
        seen["query"] = query
        return rotate(query, key, *tables)

    monkeypatch.setattr(module, "apply_rotary_pos_emb", noted)
    hidden, tables = torch.randn(1, 5, 64), (torch.ones(1, 5, 8), torch.zeros(1, 5, 8))
    with torch.no_grad():
        attention(hidden, tables, attention_mask=None)
        heads = find_family(zoo(name)).query_heads(attention, attention.q_proj(hidden))
    assert torch.equal(heads, seen["query"])
