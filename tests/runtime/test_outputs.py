"""What a caller reads off a pruned forward: logits at prompt positions, loss, gradients, hidden states."""

import pytest
import torch

from families.cases import FAMILIES
from reference import PLACES, TOLERANCE, Forced, draw_keeps
from transprune import TransPrune, prune
from transprune.errors import TransformersError


def session_for(model, samples):
    return prune(model, Forced.of(samples, [draw_keeps(sample, PLACES[0]) for sample in samples]))


def text_labels(inputs):
    text = inputs["attention_mask"].bool() & (inputs["input_ids"] < 90)
    return inputs["input_ids"].masked_fill(~text, -100)


def test_logits_keep_the_length_of_the_prompt(model, samples, inputs):
    with torch.no_grad(), session_for(model, samples):
        everything = model(**inputs).logits
        last_two = model(**inputs, logits_to_keep=2).logits
        chosen = model(**inputs, logits_to_keep=torch.tensor([3, -1])).logits
    assert everything.shape[:2] == inputs["input_ids"].shape
    assert everything.isfinite().all()
    torch.testing.assert_close(last_two, everything[:, -2:], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(chosen, everything[:, [3, -1]], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", ["level", "ragged"])
def test_every_row_of_every_mask_sees_something(model, family, kind):
    """Softmax over nothing is NaN on some kernels, so fillers and padding must see one key at least."""
    samples, closed = getattr(FAMILIES[family], kind)(), []

    def look(module, args, kwargs):
        mask = kwargs["attention_mask"]
        if mask is not None:
            seen = mask if mask.dtype == torch.bool else mask == 0
            closed.append(int((~seen.any(dim=-1)).sum()))

    with torch.no_grad(), session_for(model, samples):
        layers = model.get_decoder().layers[2:]  # from the first boundary on
        hooks = [
            layer.self_attn.register_forward_pre_hook(look, with_kwargs=True) for layer in layers
        ]
        model(**FAMILIES[family].batch(samples))
        for hook in hooks:
            hook.remove()
    assert closed == [0] * len(hooks)


def test_the_loss_is_that_of_the_logits(model, samples, inputs):
    labels = text_labels(inputs)
    with torch.no_grad(), session_for(model, samples):
        output = model(**inputs, labels=labels)
    flat = output.logits[:, :-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(flat, labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(output.loss, expected, atol=TOLERANCE, rtol=0)


def test_hidden_states_shrink_and_the_last_ones_are_full(model, samples, inputs):
    with torch.no_grad(), session_for(model, samples) as session:
        output = model(**inputs, output_hidden_states=True)
    lengths = [states.shape[1] for states in output.hidden_states]
    assert lengths[-1] == inputs["input_ids"].shape[1]
    assert lengths[2:8] == list(
        session.trace.kv_lengths[1:7]
    )  # hidden_states[i] leaves layer i - 1


@pytest.mark.parametrize("method", ["forced", "transprune"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_no_gradient(
    zoo, family, samples, inputs, method, reentrant
):
    runs = []
    for checkpointing in (False, True):
        model = zoo.fresh(family, "sdpa").train()
        if checkpointing:
            enable = (
                getattr(model, "activation_checkpointing_enable", None)
                or model.gradient_checkpointing_enable
            )
            enable({"use_reentrant": reentrant})
        recomputed = type(model.get_decoder().layers[0]).__call__ is not torch.nn.Module.__call__
        if checkpointing and recomputed:  # transformers 5.19 to 5.22
            with (
                pytest.raises(TransformersError, match="checkpointing"),
                prune(model, TransPrune({2: 0.5})),
            ):
                model(**inputs, labels=text_labels(inputs), use_cache=False)
            return
        chosen = (
            TransPrune({2: 0.5, 4: 0.3})
            if method == "transprune"
            else session_for(model, samples).method
        )
        with prune(model, chosen):
            loss = model(**inputs, labels=text_labels(inputs), use_cache=False).loss
            loss.backward()
        layers = model.get_decoder().layers
        gradients = {
            f"{index}.{name}": parameter.grad.clone()
            for index in (0, 3, 7)
            for name, parameter in layers[index].named_parameters()
        }
        runs.append((loss.detach(), gradients))
    (loss, gradients), (other_loss, other_gradients) = runs
    assert torch.equal(loss, other_loss)
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(other_gradients[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_gradients_equal_those_of_the_unpruned_model_when_everything_stays(
    zoo, family, samples, inputs
):
    gradients = []
    for pruned in (False, True):
        model = zoo.fresh(family, "sdpa").train()
        session = prune(model, TransPrune({2: 1.0, 4: 1.0}))
        if pruned:
            session.attach()
        model(**inputs, labels=text_labels(inputs)).loss.backward()
        session.detach()
        gradients.append(model.get_decoder().layers[0].self_attn.q_proj.weight.grad)
    assert torch.equal(*gradients)


def test_gradients_reach_the_layers_in_front_of_a_boundary_that_scores(
    zoo, family, samples, inputs
):
    """Keys computed ahead for a score must not cut the graph of the layer that uses them."""
    model = zoo.fresh(family, "sdpa").train()
    with prune(model, TransPrune({2: 0.5, 4: 0.3})):
        model(**inputs, labels=text_labels(inputs)).loss.backward()
    for index in range(8):
        for name in ("q_proj", "k_proj", "v_proj"):
            gradient = getattr(model.get_decoder().layers[index].self_attn, name).weight.grad
            assert gradient is not None, (index, name)
            assert gradient.abs().max() > 0, (index, name)
