"""The 2-D mask path of flash attention, through a stand-in with its calling convention that runs on a CPU.

Masks are `None` or [B, K] padding, causality is bottom-right, and at batch size 1 without a mask position ids with gaps
are taken for packed sequences, which would be a silent wrong answer.
"""

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import flash_attention_mask
from transformers.modeling_flash_attention_utils import _is_packed_sequence

from families.cases import FAMILIES, greedy
from reference import PLACES, TOLERANCE, Forced, draw_keeps, reference
from transprune import TransPrune, prune

NAME = "two_dimensional"  # a name with "flash" in it would make transformers look for a kernel


@pytest.fixture
def seen():
    """Registers the stand-in; the kinds of masks it is given land here."""
    kinds = set()

    def attention(module, query, key, value, mask, scaling=None, position_ids=None, **kwargs):
        assert mask is None or mask.ndim == 2
        assert mask is not None or not _is_packed_sequence(position_ids, query.shape[0]), (
            "would run as packed sequences"
        )
        kinds.add("none" if mask is None else "padding")
        groups, queries, keys = query.shape[1] // key.shape[1], query.shape[2], key.shape[2]
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
        allowed = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
        if mask is not None:
            allowed = allowed & mask.bool()[:, None, None, -keys:]
        logits = (query @ key.transpose(2, 3) * scaling).masked_fill(~allowed, -1e9)
        return (logits.softmax(dim=-1) @ value).transpose(1, 2), None

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, flash_attention_mask)
    yield kinds
    AttentionInterface._global_mapping.pop(NAME)
    AttentionMaskInterface._global_mapping.pop(NAME)


@pytest.fixture
def flash_model(zoo, family, seen):
    model = zoo.fresh(family)
    model.get_decoder().set_attn_implementation(NAME)
    return model


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("kind", ["one", "ragged"])
def test_pruned_equals_the_oracle(zoo, flash_model, family, seen, kind, places):
    case = FAMILIES[family]
    samples = case.ragged() if kind == "ragged" else case.even()[:1]
    keeps = [draw_keeps(sample, places) for sample in samples]
    with prune(flash_model, Forced.of(samples, keeps)):
        run = greedy(flash_model, case.batch(samples))
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        expected = reference(zoo(family), case.batch([sample]), keep, run.sequences[row, -9:-1])[
            -9:
        ]
        torch.testing.assert_close(
            torch.stack(run.logits, dim=1)[row], expected, atol=TOLERANCE, rtol=0
        )
    assert seen == ({"none"} if kind == "one" else {"padding"} | (seen & {"none"}))


def test_scores_are_those_of_the_eager_model(zoo, flash_model, family):
    inputs = FAMILIES[family].batch(FAMILIES[family].ragged())
    kept = []
    for model in (zoo(family), flash_model):
        with (
            torch.no_grad(),
            prune(model, TransPrune({2: 0.6, 4: 0.3}), record="scores") as session,
        ):
            model(**inputs)
        kept.append(session.trace.stages)
    for one, other in zip(*kept, strict=True):
        for a, b in zip(one.scores["score"], other.scores["score"], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
