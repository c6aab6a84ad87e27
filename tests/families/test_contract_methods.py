"""Every family with every method that it can feed: the answer is the replay's for the tokens that were kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from evicted import evicted_of
from families.cases import MODELS
from families.contract import ATTENTIONS, Beside, case_of, declared, products, run_pruned
from methods.cases import FEW_ATTEND, METHODS, MethodCase
from replay import decoder_layers
from transprune.core.views import Selection
from transprune.families import find_family
from transprune.methods import Method, ShortV

# a path each through the runtime: evidence over layers, attention in front of a boundary, features
CORE = ("divprune", "fastv", "transprune")


@contextmanager
def noting(method: Method) -> Iterator[dict[int, list[Selection]]]:
    """Every selection of the method's steps as it is made: boundary -> one per sample."""
    seen: dict[int, list[Selection]] = {}

    def noted(select: Any) -> Any:
        def wrapper(self: Any, view: Any, *carry: Any) -> Selection:
            selection: Selection = select(self, view, *carry)
            seen.setdefault(view.boundary, []).append(selection)
            return selection

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        for kind in {type(step) for step in method.steps if hasattr(step, "select")}:
            patch.setattr(kind, "select", noted(kind.select))
        yield seen


def told_of(trace: Any, seen: dict[int, list[Selection]], row: int, length: int) -> dict[str, Any]:
    """What the replay must be told of one sample: tokens, contents and weights, frozen layers, evicted keys."""
    chosen = {boundary: selections[row] for boundary, selections in seen.items()}
    biases, contents = {}, {}
    for boundary, selection in chosen.items():
        if selection.key_bias is not None:
            biases[boundary] = selection.key_bias.tolist()
        if selection.features is not None:
            contents[boundary] = selection.features
    keeps = {stage.boundary: stage.keep[row].tolist() for stage in trace.stages}
    told = {"keeps": keeps, "biases": biases, "contents": contents, "frozen": trace.frozen}
    return {**told, "evicts": evicted_of(trace, row, length)}


def fitting(method: str, model: Any) -> MethodCase:
    """The method with settings that fit where this decoder has attention, and keys of its own."""
    attends = [getattr(layer, "self_attn", None) for layer in decoder_layers(model)]
    if method == "shortv":
        own = [
            number
            for number, attention in enumerate(attends)
            if attention is not None and not getattr(attention, "is_kv_shared_layer", False)
        ]
        layers = tuple(number for number in (1, 3, 4, 7) if number in own)
        return replace(METHODS[method], method=ShortV(layers))
    few = sum(attention is not None for attention in attends) <= 2
    return (FEW_ATTEND if few else METHODS)[method]


def is_core(name: str, method: str, attn: str) -> bool:
    """Three methods per family run every time."""
    return attn == "sdpa" and method in CORE


@pytest.mark.parametrize(
    ("name", "method", "attn"), products(is_core, list(MODELS), list(METHODS), ATTENTIONS)
)
def test_the_answer_is_the_replay_of_what_was_kept(zoo, record_property, name, method, attn):
    case, beside = case_of(name), Beside(zoo, name, attn)
    tried = fitting(method, beside.model)
    samples, family = case.ragged(), find_family(beside.model)
    with declared(record_property, name, "method", method, attn, tried.method, family):
        with noting(tried.method) as seen:
            run, trace = run_pruned(beside.model, case, samples, tried.method)
        lengths = [len(sample.ids) for sample in samples]
        told = [told_of(trace, seen, row, length) for row, length in enumerate(lengths)]
        beside.check(samples, run, told)

        left = [len(stage.keep[0]) for stage in trace.stages] or [samples[0].visual_tokens]
        assert (left[-1] < samples[0].visual_tokens) == tried.drops
