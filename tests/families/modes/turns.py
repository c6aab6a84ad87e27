"""Later turns on a pruned cache: text, and another picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from families.case import Sample
from families.cases import greedy
from families.contract import Beside, apart
from families.modes.common import MIDDLE, alone, mode
from reference import Forced, draw_keeps
from transprune import prune
from transprune.core.library import cache_argument, cache_of_output


@mode("second turn")
def second_turn(beside: Beside) -> None:
    sample, method, told, inputs = alone(beside)
    with prune(beside.model, method):
        first = greedy(beside.model, inputs, steps=4)
        ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
        cache = cache_argument(beside.model, cache_of_output(first))
        second = greedy(beside.model, beside.case.text_turn(ids), steps=4, **cache)
    new = second.sequences[0, len(sample.ids) : -1]
    expected = beside.expected(sample, extra=new, **told)[-4:]
    beside.near(apart(torch.stack(second.logits, dim=1)[0], expected), [sample])


@mode("image in a later turn")
def later_image(beside: Beside) -> None:
    case, model = beside.case, beside.model
    first, second = case.sample([0], [3, 2]), case.sample([1], [1, 4], seed=1)
    joint = Sample((*first.ids, *second.ids), (*first.images, *second.images))
    early, late = draw_keeps(first, MIDDLE), draw_keeps(second, MIDDLE)

    turn = inputs_of_turn(beside, first, second, joint)
    cache = empty_cache(model)
    with torch.no_grad(), prune(model, Forced.of([first, second], [early, late])):
        model(**case.batch([first]), **cache, use_cache=True)
        logits = model(**turn, **cache, use_cache=True).logits[0]

    keeps = {}
    for boundary in MIDDLE:
        of_second = (first.visual_tokens + token for token in late[boundary])
        keeps[boundary] = [*early[boundary], *of_second]
    expected = beside.expected(joint, keeps, None)[len(first.ids) :]
    alive = ~expected.isnan().any(dim=-1)
    beside.near(apart(logits[alive], expected[alive]), [joint])


def inputs_of_turn(
    beside: Beside, first: Sample, second: Sample, joint: Sample
) -> dict[str, Tensor]:
    """Inputs of a second prompt behind a cache of the first, with which the unpruned model is its replay."""
    model, past = beside.model, len(first.ids)
    turn, whole = beside.batch([second]), beside.batch([joint])
    turn["attention_mask"] = whole["attention_mask"]
    turn["position_ids"] = positions_of(model, whole)[..., past:]
    expected = beside.expected(joint, {}, None)[past:]

    # where masks are made from token types, the types of the whole conversation are wanted
    types = {name: value for name, value in whole.items() if name.endswith("token_type_ids")}
    for inputs in (turn, {**turn, **types}):
        cache = empty_cache(model)
        with torch.no_grad():
            model(**beside.batch([first]), **cache, use_cache=True)
            logits = model(**inputs, **cache, use_cache=True).logits[0]
        if apart(logits, expected) < 1e-3:
            return inputs
    pytest.skip("the class takes no image behind a filled cache, pruned or not.")


def empty_cache(model: Any) -> dict[str, Any]:
    """A cache as the argument that this release names it."""
    return cache_argument(model, DynamicCache(config=model.config.get_text_config()))


def positions_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The position ids that the model gives its decoder for a whole prompt."""
    seen: list[Any] = []
    decoder = model.get_decoder()
    hook = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs.get("position_ids")), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs, use_cache=False)
    hook.remove()
    length = inputs["input_ids"].shape[1]
    return torch.arange(length)[None] if seen[0] is None else seen[0]
