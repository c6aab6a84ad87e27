"""Static decoding on a CUDA device: a recorded graph, and no wait of ours in its steps."""

import warnings

import pytest
import torch

from families.cases import FAMILIES, greedy
from transprune import TransPrune, prune

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

METHOD = TransPrune({2: 0.6, 5: 0.3})


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "recorded"])
@pytest.mark.parametrize("kind", ["even", "ragged"])
def test_tokens_of_the_dynamic_cache(zoo, family, kind, compiled):
    case = FAMILIES[family]
    model = zoo.fresh(family, "sdpa").cuda()
    inputs = {key: t.cuda() for key, t in case.batch(getattr(case, kind)()).items()}
    with prune(model, METHOD):
        dynamic = greedy(model, inputs)
    with prune(model, METHOD, decode="static", compile=compiled):
        # the second run replays the graph of the first one on other buffers
        runs = [greedy(model, inputs) for _ in range(2)]
    for run in runs:
        assert torch.equal(run.sequences, dynamic.sequences)
        for a, b in zip(run.logits, dynamic.logits, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_a_step_waits_for_nothing(zoo):
    """`transprune` is on the stack of no synchronising call in a decode step."""
    case = FAMILIES["llava"]
    model = zoo.fresh("llava", "sdpa").cuda()
    inputs = {key: t.cuda() for key, t in case.batch(case.ragged()).items()}
    with prune(model, METHOD, decode="static"), warnings.catch_warnings(record=True) as caught:
        cache = greedy(model, inputs, steps=3).past_key_values
        token = torch.full((2, 1), 11, device="cuda")
        padding = torch.cat([inputs["attention_mask"], torch.ones(2, 3).cuda().long()], dim=1)
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with torch.no_grad():
                model(input_ids=token, attention_mask=padding, past_key_values=cache)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    ours = [w for w in caught if "synchroniz" in str(w.message) and "transprune" in w.filename]
    assert not ours
