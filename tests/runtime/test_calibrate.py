"""Layer contributions: what freezing one layer alone does to the answer."""

import pytest
import torch

from families.cases import FAMILIES, greedy
from reference import reference
from transprune import prune
from transprune.errors import LayoutError, TuneError
from transprune.methods import ShortV
from transprune.models.calibrate import LayerContributions, layer_contributions


def test_each_layer_by_the_slow_reference(zoo, model, family):
    case = FAMILIES[family]
    samples = case.ragged()
    measured = layer_contributions(model, [case.batch(samples)])
    assert measured.prompts == 2
    for layer in range(8):
        by_hand = 0.0
        for sample in samples:
            full, frozen = (
                reference(zoo(family), case.batch([sample]), {}, frozen=layers)[-1].log_softmax(
                    dim=-1
                )
                for layers in ((), (layer,))
            )
            by_hand += float((frozen.exp() * (frozen - full)).sum()) / 2
        assert measured.nats[layer] == pytest.approx(by_hand, abs=1e-4)
    assert measured.nats[7] == pytest.approx(0, abs=1e-6)
    assert measured.order[0] == 7
    assert max(measured.nats) > 0.01


def test_prompts_are_averaged_and_the_model_is_left_alone(model, family):
    case = FAMILIES[family]
    first, second = case.ragged()
    plain = greedy(model, case.batch([first]), steps=2).logits
    both = layer_contributions(model, [case.batch([first]), case.batch([second])])
    alone = [layer_contributions(model, [case.batch([s])]).nats for s in (first, second)]
    assert both.nats == pytest.approx(
        [sum(pair) / 2 for pair in zip(*alone, strict=True)], abs=1e-6
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(greedy(model, case.batch([first]), steps=2).logits, plain, strict=True)
    )


def test_the_order_builds_a_method(model, family):
    order = LayerContributions((0.3, 0.0, 0.2, 0.0, 0.5, 0.1, 0.4, 0.0), 1).order
    assert order == (7, 3, 1, 5, 2, 0, 6, 4)
    inputs = FAMILIES[family].batch(FAMILIES[family].even())
    with prune(model, ShortV(order, count=3)) as session:
        greedy(model, inputs, steps=1)
    assert session.trace.frozen == (1, 3, 7)


def test_without_a_prompt(model):
    with pytest.raises(LayoutError, match="at least one prompt"):
        layer_contributions(model, [])


def test_logits_that_are_not_numbers_are_refused(zoo):
    """Every layer would count as one that cannot be frozen, and ShortV would freeze none."""
    model = zoo("llava", "sdpa")
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda module, args, logits: logits * float("nan"))
    try:
        with pytest.raises(TuneError, match="logits are not numbers"):
            layer_contributions(model, [FAMILIES["llava"].batch(FAMILIES["llava"].even())])
    finally:
        handle.remove()
