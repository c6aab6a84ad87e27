"""Later turns that are prefilled again equal one prompt with the whole conversation."""

import copy

import pytest
import torch

from families.cases import FAMILIES, greedy
from reference import TOLERANCE
from transprune import DivPrune, TransPrune, Uniform, prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import CacheError, LayoutError, MethodError
from transprune.methods import FasterVLM

NEW = torch.tensor([[11, 12, 13]])
BLIND = Uniform({2: 0.5, 5: 0.25})  # does not look at the instruction
METHODS = {
    "uniform": BLIND,
    "divprune": DivPrune(0.4),
    "transprune": TransPrune({2: 0.75, 4: 0.4}),
    "fastervlm": FasterVLM(0.4),
}


def inputs_of(family):
    case = FAMILIES[family]
    return case.batch(case.even()[:1])


def turn_of(family, ids):
    return FAMILIES[family].text_turn(ids)


def two_turns(model, family, method, **options):
    """Logits of the second turn's first answers, all ids, and the session."""
    with prune(model, method, **options) as session:
        first = greedy(model, inputs_of(family), steps=3)
        kept = session.trace
        ids = torch.cat([first.sequences, NEW], dim=1)
        cache = cache_of_output(first)
        second = greedy(model, turn_of(family, ids), steps=3, **cache_argument(model, cache))
        return second, ids, session, kept


def whole_prompt(family, ids):
    """The conversation as one prompt."""
    inputs = inputs_of(family)
    more = ids.shape[1] - inputs["input_ids"].shape[1]
    for name in {"attention_mask", "mm_token_type_ids"} & set(inputs):
        fill = 1 if name == "attention_mask" else 0
        inputs[name] = torch.nn.functional.pad(inputs[name], (0, more), value=fill)
    return {**inputs, "input_ids": ids}


@pytest.mark.parametrize("method", ["uniform", "divprune"])
def test_a_refreshed_turn_is_the_conversation_as_one_prompt(model, family, method):
    second, ids, session, _ = two_turns(model, family, METHODS[method], turns="refresh")
    with prune(model, METHODS[method]) as fresh:
        expected = greedy(model, whole_prompt(family, ids), steps=3)
    assert torch.equal(second.sequences, expected.sequences)
    for got, wanted in zip(second.logits, expected.logits, strict=True):
        torch.testing.assert_close(got, wanted, atol=TOLERANCE, rtol=0)
    for got, wanted in zip(session.trace.stages, fresh.trace.stages, strict=True):
        assert torch.equal(got.keep[0], wanted.keep[0])
    assert any("prefilled again" in note for note in session.trace.notes)


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_method_runs(model, family, method):
    second, _, session, before = two_turns(model, family, METHODS[method], turns="refresh")
    assert len(second.logits) == 3
    trace = session.trace
    assert trace.instruction_tokens == (len(NEW[0]) + 1,)  # and the last token of the answer
    assert trace.visual_tokens == before.visual_tokens
    assert [len(stage.keep[0]) for stage in trace.stages] == [
        len(stage.keep[0]) for stage in before.stages
    ]


def test_the_new_instruction_chooses(zoo):
    model = zoo("llava", "sdpa")
    _, _, session, before = two_turns(model, "llava", METHODS["transprune"], turns="refresh")
    assert session.trace.stages[-1].keep[0].tolist() != before.stages[-1].keep[0].tolist()


def test_by_default_later_turns_go_on_with_what_was_kept(zoo):
    model = zoo("llava", "sdpa")
    _, _, session, before = two_turns(model, "llava", METHODS["transprune"])
    assert session.trace is before


def test_a_plain_call_returns_the_rows_of_its_turn(model, family):
    with torch.no_grad(), prune(model, BLIND, turns="refresh") as session:
        first = model(**inputs_of(family), use_cache=True)
        cache = cache_of_output(first)
        ids = torch.cat([inputs_of(family)["input_ids"], NEW], dim=1)
        later = turn_of(family, ids)
        later["input_ids"] = NEW
        if "mm_token_type_ids" in later:
            later["mm_token_type_ids"] = later["mm_token_type_ids"][:, -3:]
        got = model(**later, **cache_argument(model, cache)).logits
        assert session.trace.text_tokens[0] == ids.shape[1] - session.trace.visual_tokens[0]
    with torch.no_grad(), prune(model, BLIND):
        expected = model(**whole_prompt(family, ids)).logits[:, -3:]
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


def test_a_copied_cache_goes_on_by_itself(zoo):
    model = zoo("llava", "sdpa")
    with torch.no_grad(), prune(model, BLIND, turns="refresh"):
        first = greedy(model, inputs_of("llava"), steps=3)
        cache = cache_of_output(first)
        other = copy.deepcopy(cache)
        answers = []
        for one, words in ((cache, NEW), (other, NEW.flip(1)), (cache, NEW)):
            ids = first.sequences
            if one is cache and answers:
                ids = answers[0].sequences
            ids = torch.cat([ids, words], dim=1)
            given = cache_argument(model, one)
            answers.append(greedy(model, turn_of("llava", ids), steps=3, **given))
        expected = greedy(model, whole_prompt("llava", answers[2].sequences[:, :-3]), steps=3)
    assert torch.equal(answers[2].sequences, expected.sequences)
    assert not torch.equal(answers[0].sequences, answers[1].sequences)


def test_a_turn_that_fails_leaves_the_cache_as_it_was(zoo):
    model = zoo("llava", "sdpa")

    def stumble(*args):
        raise RuntimeError("stumbled")

    with torch.no_grad(), prune(model, BLIND, turns="refresh"):
        first = greedy(model, inputs_of("llava"), steps=3)
        cache = cache_of_output(first)
        ids = torch.cat([first.sequences, NEW], dim=1)
        layers = list(cache.layers)
        handle = model.get_decoder().layers[4].register_forward_pre_hook(stumble)
        with pytest.raises(RuntimeError, match="stumbled"):
            greedy(model, turn_of("llava", ids), steps=3, **cache_argument(model, cache))
        handle.remove()
        assert all(a is b for a, b in zip(cache.layers, layers, strict=True))
        again = greedy(model, turn_of("llava", ids), steps=3, **cache_argument(model, cache))
        expected = greedy(model, whole_prompt("llava", ids), steps=3)
    assert torch.equal(again.sequences, expected.sequences)


def test_drafts_are_no_turn(zoo):
    model = zoo("llava", "sdpa")
    with torch.no_grad(), prune(model, BLIND, turns="refresh") as session:
        plain = greedy(model, inputs_of("llava"), steps=8)
        trace = session.trace
        drafted = greedy(model, inputs_of("llava"), steps=8, prompt_lookup_num_tokens=3)
        assert not any("prefilled again" in note for note in session.trace.notes)
        cache = cache_of_output(drafted)
        ids = torch.cat([drafted.sequences, NEW], dim=1)
        second = greedy(model, turn_of("llava", ids), steps=3, **cache_argument(model, cache))
        expected = greedy(model, whole_prompt("llava", ids), steps=3)
    assert torch.equal(plain.sequences, drafted.sequences)
    assert torch.equal(second.sequences, expected.sequences)
    assert trace.stages


def test_what_cannot_be_refreshed_says_so(zoo):
    model = zoo("llava", "sdpa")
    case = FAMILIES["llava"]
    with torch.no_grad(), prune(model, BLIND, turns="refresh"):
        beams = greedy(model, inputs_of("llava"), steps=3, num_beams=2)
        ids = torch.cat([beams.sequences, NEW], dim=1)
        cache = cache_of_output(beams)
        cache.batch_select_indices(torch.tensor([0]))
        with pytest.raises(CacheError, match="turns='keep'"):
            greedy(model, turn_of("llava", ids), steps=2, **cache_argument(model, cache))

        first = greedy(model, inputs_of("llava"), steps=3)
        picture = case.sample([1], [2, 2])
        more = case.batch([picture])
        more["input_ids"] = torch.cat([first.sequences, more["input_ids"]], dim=1)
        more["attention_mask"] = torch.ones_like(more["input_ids"])
        given = cache_argument(model, cache_of_output(first))
        with pytest.raises(LayoutError, match="another picture"):
            greedy(model, more, steps=2, **given)
    with pytest.raises(MethodError, match="'keep' or 'refresh'"):
        prune(model, BLIND, turns="again")
    with pytest.raises(MethodError, match="static"):
        prune(model, BLIND, turns="refresh", decode="static")


def test_a_conversation_that_begins_with_text_is_not_known(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    with torch.no_grad(), prune(model, BLIND, turns="refresh"):
        first = greedy(model, case.batch([case.sample([], [6])]), steps=2)
        picture = case.batch([case.sample([0], [2, 3], seed=1)])
        picture["input_ids"] = torch.cat([first.sequences, picture["input_ids"]], dim=1)
        picture["attention_mask"] = torch.ones_like(picture["input_ids"])
        second = greedy(model, picture, steps=2, **cache_argument(model, cache_of_output(first)))
        ids = torch.cat([second.sequences, NEW], dim=1)
        given = cache_argument(model, cache_of_output(second))
        with pytest.raises(CacheError, match="Begin the conversation"):
            greedy(model, turn_of("llava", ids), steps=2, **given)


@pytest.mark.parametrize("change", ["select", "repeat"])
def test_samples_that_are_exchanged_are_not_known(zoo, change):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    with torch.no_grad(), prune(model, BLIND, turns="refresh"):
        first = greedy(model, case.batch(case.even()), steps=2)
        cache = cache_of_output(first)
        ids = first.sequences.flip(0)
        if change == "select":
            cache.batch_select_indices(torch.tensor([1, 0]))
        else:
            cache.batch_repeat_interleave(2)
            ids = first.sequences.repeat_interleave(2, dim=0)
        ids = torch.cat([ids, NEW.expand(len(ids), -1)], dim=1)
        with pytest.raises(CacheError, match="exchanged"):
            greedy(model, turn_of("llava", ids), steps=2, **cache_argument(model, cache))


def test_another_number_of_samples_is_refused_before_anything_is_touched(zoo):
    model = zoo("llava", "sdpa")
    with torch.no_grad(), prune(model, BLIND, turns="refresh"):
        first = greedy(model, inputs_of("llava"), steps=2)
        cache = cache_of_output(first)
        layers = list(cache.layers)
        ids = torch.cat([first.sequences, NEW], dim=1).expand(2, -1)
        with pytest.raises(CacheError, match="turns='keep'"):
            greedy(model, turn_of("llava", ids), steps=2, **cache_argument(model, cache))
        assert all(a is b for a, b in zip(cache.layers, layers, strict=True))
