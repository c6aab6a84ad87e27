"""Threads that share a model whose layers are of several kinds."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from families.cases import MODELS, greedy
from transprune import TransPrune, prune


@pytest.mark.parametrize("name", ["gemma3", "internvl"])
def test_decoding_in_one_thread_leaves_prompts_of_others_alone(zoo, name):
    """Steps on a pruned cache put hooks on layers that a prompt does not need them on."""
    case, model = MODELS[name], zoo(name, "sdpa")
    inputs = [case.batch([sample]) for sample in (*case.even(), *case.ragged())]
    with torch.no_grad(), prune(model, TransPrune({3: 0.6, 5: 0.3})):
        alone = [greedy(model, one, steps=4).sequences for one in inputs]
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda one: greedy(model, one, steps=4).sequences, inputs * 4))
    for number, sequences in enumerate(runs):
        assert torch.equal(sequences, alone[number % len(inputs)])
