"""Assisted decoding: the drafts that come with the prompt take no part in what is kept."""

import pytest
import torch
from transformers import DynamicCache

from families.cases import FAMILIES, greedy
from methods.cases import CASES
from transprune import TransPrune, Uniform, prune
from transprune.core.library import cache_argument


def inputs_of(family, images=(0,)):
    case = FAMILIES[family]
    return case.batch([case.sample(list(images), [3] * len(images) + [6])])


@torch.no_grad()
def kept(model, method, run):
    with prune(model, method, record="scores") as session:
        answer = run()
    return answer, session.trace


@pytest.mark.parametrize("name", CASES)
def test_an_assistant_changes_no_answer(zoo, family, name):
    """Greedy decoding with drafts gives what greedy decoding gives, as it does unpruned."""
    if family in CASES[name].refuses:
        pytest.skip(CASES[name].refuses[family])
    if CASES[name].evicts:
        pytest.skip("refused: test_eviction.py")
    model, inputs, method = zoo(family, "sdpa"), inputs_of(family), CASES[name].method
    assistant = zoo.fresh(family, "sdpa")
    with torch.no_grad():  # drafts that are partly wrong
        weight = assistant.lm_head.weight
        weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(99))

    plain, alone = kept(model, method, lambda: greedy(model, inputs, steps=6))
    drafted, trace = kept(
        model, method, lambda: greedy(model, inputs, steps=6, assistant_model=assistant)
    )
    for stage, expected in zip(trace.stages, alone.stages, strict=True):
        assert torch.equal(stage.keep[0], expected.keep[0])
    assert torch.equal(drafted.sequences, plain.sequences)
    assert trace.text_tokens == alone.text_tokens
    assert trace.instruction_tokens == alone.instruction_tokens
    assert any("drafts" in note for note in trace.notes)


def test_prompt_lookup(zoo, family):
    model, method = zoo(family, "sdpa"), TransPrune({2: 0.6, 5: 0.3})
    inputs = inputs_of(family, (0, 1))
    inputs["input_ids"][0, -6:] = torch.tensor([11, 12, 13, 14, 11, 12])  # something to look up
    plain, alone = kept(model, method, lambda: greedy(model, inputs, steps=6))
    drafted, trace = kept(
        model, method, lambda: greedy(model, inputs, steps=6, prompt_lookup_num_tokens=3)
    )
    assert torch.equal(drafted.sequences, plain.sequences)
    assert [s.keep[0].tolist() for s in trace.stages] == [s.keep[0].tolist() for s in alone.stages]


@pytest.mark.filterwarnings("ignore:no instruction after the image")
@pytest.mark.parametrize("method", [Uniform({2: 0.5}), TransPrune({2: 0.6})], ids=lambda m: m.name)
def test_a_prompt_that_ends_with_its_image(zoo, family, method):
    """The last visual token is the newest of the prompt, though drafts stand behind it."""
    model, case = zoo(family, "sdpa"), FAMILIES[family]
    inputs = case.batch([case.sample([0, 1], [3, 2, 0])])
    plain, alone = kept(model, method, lambda: greedy(model, inputs, steps=6))
    drafted, trace = kept(
        model, method, lambda: greedy(model, inputs, steps=6, assistant_model=zoo.fresh(family))
    )
    assert torch.equal(trace.stages[0].keep[0], alone.stages[0].keep[0])
    assert torch.equal(drafted.sequences, plain.sequences)


@pytest.mark.parametrize("count", [2, 4, 24])
@pytest.mark.parametrize("cached", [False, True])
def test_logits_that_the_caller_asks_for_are_no_drafts(zoo, family, count, cached):
    model, inputs = zoo(family, "sdpa"), inputs_of(family)
    method = TransPrune({2: 0.6})
    cache = cache_argument(model, DynamicCache()) if cached else {}
    _, expected = kept(model, method, lambda: model(**inputs))
    _, trace = kept(model, method, lambda: model(**inputs, **cache, logits_to_keep=count))
    assert trace.text_tokens == expected.text_tokens
    assert torch.equal(trace.stages[0].keep[0], expected.stages[0].keep[0])
    assert not any("drafts" in note for note in trace.notes)
