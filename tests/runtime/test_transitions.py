"""The transitions a method observes are those of the layers, measured by hand."""

import pytest
import torch

from families.cases import FAMILIES
from methods.cases import STAGES
from transprune import TransPrune, Uniform, prune


def by_hand(model, inputs, layers):
    """Magnitude and cosine [B, L] of self_attn and mlp of 1-based `layers`, from the residual stream of a plain run."""
    stream = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda m, a, k, i=index: stream.update({i: (a, k)}), with_kwargs=True
        )
        for index, layer in enumerate(model.get_decoder().layers)
    ]
    with torch.no_grad():
        model(**inputs, use_cache=False)
        for hook in hooks:
            hook.remove()
        measured = {}
        for number in layers:
            layer, (args, kwargs) = model.get_decoder().layers[number - 1], stream[number - 1]
            x = layer.input_layernorm(args[0])
            y = layer.self_attn(hidden_states=x, **kwargs)[0]
            u = layer.post_attention_layernorm(args[0] + y)
            for module, (before, after) in {"attention": (x, y), "mlp": (u, layer.mlp(u))}.items():
                magnitude = after.norm(dim=-1) / before.norm(dim=-1)
                measured[number, module] = magnitude, torch.cosine_similarity(before, after, dim=-1)
    return measured


@pytest.mark.parametrize("direction", ["one_minus_abs_cos", "one_minus_cos"])
def test_recorded_transitions_are_the_formula_of_the_paper(zoo, model, family, direction):
    samples = FAMILIES[family].ragged()
    inputs = FAMILIES[family].batch(samples)
    method = TransPrune(STAGES, accumulate=[1, 2], direction=direction)
    with torch.no_grad(), prune(model, method, record="transitions") as session:
        model(**inputs)
    for key, (magnitude, cosine) in by_hand(zoo(family), inputs, layers=[1, 2]).items():
        for row, sample in enumerate(samples):
            mine = slice(inputs["input_ids"].shape[1] - len(sample.ids), None)
            cos = cosine[row, mine].abs() if direction == "one_minus_abs_cos" else cosine[row, mine]
            expected = (1 - cos).softmax(dim=0) * magnitude[row, mine]
            got = session.trace.transitions[key][row]
            torch.testing.assert_close(got[mine], expected, atol=1e-6, rtol=1e-4)
            assert got[: mine.start].isnan().all()


def test_recorded_changes_are_those_of_every_layer_whatever_the_method_observes(zoo, model, family):
    samples = FAMILIES[family].ragged()
    inputs = FAMILIES[family].batch(samples)
    depth = len(model.get_decoder().layers)
    with (
        torch.no_grad(),
        prune(model, Uniform({1: 1.0}), record="changes") as session,
    ):  # observes nothing
        model(**inputs)
    measured = by_hand(zoo(family), inputs, layers=range(1, depth + 1))
    assert session.trace.changes.keys() == measured.keys() and not session.trace.transitions
    for key, expected in measured.items():
        for row, sample in enumerate(samples):
            mine = slice(inputs["input_ids"].shape[1] - len(sample.ids), None)
            got = session.trace.changes[key][row]
            hand = torch.stack([values[row, mine] for values in expected])
            torch.testing.assert_close(got[:, mine], hand, atol=1e-5, rtol=1e-4)
            assert got[:, : mine.start].isnan().all()


def test_recording_changes_changes_nothing_and_dropped_tokens_have_none(model, family):
    samples = FAMILIES[family].ragged()
    inputs = FAMILIES[family].batch(samples)
    method = TransPrune({2: 0.5}, accumulate=[1, 2])
    with torch.no_grad(), prune(model, method, record=["transitions"]) as plain:
        logits = model(**inputs).logits
    with torch.no_grad(), prune(model, method, record=["transitions", "changes"]) as session:
        assert torch.equal(model(**inputs).logits, logits)
    assert plain.trace.changes == {} and "changes" not in session.trace.to_dict()
    for key, values in plain.trace.transitions.items():
        torch.testing.assert_close(
            session.trace.transitions[key], values, atol=0, rtol=0, equal_nan=True
        )
    dropped = set(session.trace.stages[0].candidates[0].tolist()) - set(
        session.trace.stages[0].keep[0].tolist()
    )
    slots = (inputs["input_ids"][0] == 90).nonzero().flatten()[sorted(dropped)]
    assert session.trace.changes[3, "mlp"][0][:, slots].isnan().all()


def test_the_first_choice_follows_from_transitions_and_eager_attention(zoo, model, family):
    samples = FAMILIES[family].ragged()
    inputs = FAMILIES[family].batch(samples)
    with (
        torch.no_grad(),
        prune(model, TransPrune({2: 0.5}, accumulate=[1, 2]), record="scores") as session,
    ):
        model(**inputs)
    measured = by_hand(zoo(family), inputs, layers=[1, 2])
    with torch.no_grad():
        maps = zoo(family)(**inputs, output_attentions=True).attentions[2]
    for row, sample in enumerate(samples):
        mine = slice(inputs["input_ids"].shape[1] - len(sample.ids), None)
        visual = (inputs["input_ids"][row, mine] == 90).nonzero().flatten()
        change = sum(
            (1 - cos[row, mine].abs()).softmax(0) * size[row, mine]
            for size, cos in measured.values()
        )[visual]
        instruction = maps[row, :, mine, mine][:, int(visual[-1]) + 1 :][:, :, visual].mean(
            dim=(0, 1)
        )
        score = 0.5 * change / change.sum() + 0.5 * instruction / instruction.sum()
        torch.testing.assert_close(
            session.trace.stages[0].scores["score"][row], score, atol=1e-5, rtol=0
        )
        top = score.topk(sample.visual_tokens // 2).indices.sort().values
        assert torch.equal(session.trace.stages[0].keep[row], top)


def test_survivors_take_their_evidence_along(model, family):
    """A boundary ranks by the sum of all that was recorded, in front of earlier cuts and behind them."""
    samples = FAMILIES[family].ragged()
    inputs = FAMILIES[family].batch(samples)
    method = TransPrune({2: 0.5, 5: 0.3}, accumulate=range(1, 6), alpha=1.0)
    with torch.no_grad(), prune(model, method, record=["scores", "transitions"]) as session:
        model(**inputs)
    trace = session.trace
    for row, _ in enumerate(samples):
        visual = (inputs["input_ids"][row] == 90).nonzero().flatten()
        for stage in trace.stages:
            recorded = [
                values[row]
                for (layer, _), values in trace.transitions.items()
                if layer <= stage.boundary
            ]
            change = torch.stack(recorded).sum(dim=0)[visual[stage.candidates[row]]]
            expected = change / change.sum()
            torch.testing.assert_close(stage.scores["ttv"][row], expected, atol=1e-6, rtol=0)
    assert len(trace.stages[1].candidates[0]) < len(trace.stages[0].candidates[0])
