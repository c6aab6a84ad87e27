"""Kinds of cache, and the one kind of attention that cannot be pruned."""

from __future__ import annotations

import pytest
import torch
from transformers import QuantizedCache

from families.cases import greedy
from families.contract import Beside
from families.modes.common import mode, ragged
from transprune import prune
from transprune.core.library import cache_argument


@mode("no cache")
def no_cache(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    with prune(beside.model, method):
        cached = greedy(beside.model, inputs, steps=5)
        uncached = greedy(beside.model, inputs, steps=5, use_cache=False)
    assert torch.equal(cached.sequences, uncached.sequences)
    beside.check(samples, uncached, told)


@mode("static cache")
def static_cache(beside: Beside) -> None:
    samples, method, told, inputs = ragged(beside)
    with prune(beside.model, method, decode="static"):
        run = greedy(beside.model, inputs)
    beside.check(samples, run, told)


@mode("offloaded cache")
def offloaded_cache(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    with prune(beside.model, method):
        greedy(beside.model, inputs, steps=2, cache_implementation="offloaded")


@mode("quantised cache")
def quantised_cache(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    try:
        cache = QuantizedCache("fp8", beside.model.config.get_text_config())
    except ValueError:  # recurrent and sliding layers, and up to 5.22 all
        pytest.skip("transformers has no quantised cache for layers of this kind.")
    with torch.no_grad(), prune(beside.model, method):
        beside.model(**inputs, **cache_argument(beside.model, cache))


@mode("flex attention")
def flex(beside: Beside) -> None:
    _, method, _, inputs = ragged(beside)
    model = beside.zoo.fresh(beside.name, "sdpa")
    try:
        model.set_attn_implementation("flex_attention")
    except ValueError:
        pytest.skip("transformers has no flex attention for this class.")
    with torch.no_grad(), prune(model, method):
        model(**inputs)
