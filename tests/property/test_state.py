"""Any order of calls, failures and cache operations leaves model, session and cache as they were."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from families.cases import FAMILIES, IMAGE, greedy
from property.prompts import METHODS, NAMES, batches, kept, often, samples
from reference import TOLERANCE
from transprune import FastV, prune
from transprune.core.library import cache_argument, cache_of_output
from transprune.errors import PruneError

pytestmark = pytest.mark.filterwarnings("ignore::transprune.errors.PruneWarning")

methods = st.sampled_from(METHODS)
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_forward_hooks_always_called")


def count_hooks(model) -> int:
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in HOOKS)


# ------------------------------------------------------------------------------------ one session


def words(model, inputs, session) -> None:
    model(input_ids=torch.arange(5, 12)[None])


def generate(model, inputs, session) -> None:
    greedy(model, inputs, steps=2)


def beams(model, inputs, session) -> None:
    greedy(model, inputs, steps=2, num_beams=2)


def short_mask(model, inputs, session) -> None:
    with pytest.raises(PruneError, match="attention_mask"):
        model(**{**inputs, "attention_mask": torch.ones(1, 3).long()})


def lost_picture(model, inputs, session) -> None:
    ids = torch.where(inputs["input_ids"] == IMAGE, 7, inputs["input_ids"])
    with pytest.raises(PruneError):
        model(**{**inputs, "input_ids": ids})


def second_session(model, inputs, session) -> None:
    with pytest.raises(PruneError, match="pruned already"):
        prune(model, FastV(layer=2)).attach()


def again(model, inputs, session) -> None:
    session.detach()
    session.attach()


def broken_layer(model, inputs, session) -> None:
    def fail(*_):
        raise ZeroDivisionError

    handle = model.get_decoder().layers[4].mlp.register_forward_hook(fail)
    try:
        with pytest.raises(ZeroDivisionError):
            model(**inputs)
    finally:
        handle.remove()


EVENTS = [words, generate, beams, short_mask, lost_picture, second_session, again, broken_layer]


@often(20)
@given(st.data(), methods, st.lists(st.sampled_from(EVENTS), min_size=1, max_size=5))
@torch.no_grad()
def test_no_history_changes_a_result(zoo, data, method, events) -> None:
    name = data.draw(NAMES)
    model = zoo(name, "sdpa")
    inputs = FAMILIES[name].batch([data.draw(samples(name, least=1))])
    plain, hooks = model(**inputs).logits, count_hooks(model)

    with prune(model, method) as session:
        expected = model(**inputs).logits
        for event in events:
            event(model, inputs, session)
        assert torch.equal(model(**inputs).logits, expected)
    assert count_hooks(model) == hooks
    assert torch.equal(model(**inputs).logits, plain)


# ------------------------------------------------------------------------------------ one cache


class Conversation:
    """A pruned cache, and every word that was fed to it behind the prompt."""

    def __init__(self, model, inputs) -> None:
        self.model = model
        self.prompt = inputs["input_ids"].shape[1]
        self.cache = cache_of_output(model(**inputs, use_cache=True))
        self.fed: list[int] = []

    def feed(self, ids: list[int]) -> torch.Tensor:
        """Logits of further words, [n, V]."""
        call = {"input_ids": torch.tensor([ids]), **cache_argument(self.model, self.cache)}
        start = self.prompt + len(self.fed)
        places = torch.arange(start, start + len(ids))
        # M-RoPE has three numbers per place; which ones does not matter here
        three = self.model.config.model_type == "qwen2_5_vl"
        call["position_ids"] = places.expand(3, 1, -1) if three else places[None]
        self.fed += ids
        return self.model(**call).logits[0]

    def crop(self, n: int) -> None:
        """Take back the newest words."""
        n = min(n, len(self.fed))
        if n:
            self.cache.crop(-n)
            self.fed = self.fed[:-n]

    def copy(self, n: int) -> None:
        """Go on with a copy, and spoil what it was made from."""
        old, self.cache = self.cache, copy.deepcopy(self.cache)
        for layer in old.layers:
            layer.keys.zero_()

    def repeat(self, n: int) -> None:
        """Several copies of the sample, and one of them again."""
        self.cache.batch_repeat_interleave(n)
        self.cache.batch_select_indices(torch.tensor([n - 1]))


STEPS = st.tuples(st.sampled_from(["feed", "crop", "copy", "repeat"]), st.integers(1, 4))


@often(25)
@given(st.data(), methods, st.lists(STEPS, min_size=1, max_size=6))
@torch.no_grad()
def test_a_cache_remembers_its_words_and_nothing_else(zoo, data, method, steps) -> None:
    name = data.draw(NAMES)
    model = zoo(name, "sdpa")
    inputs = FAMILIES[name].batch([data.draw(samples(name, least=1))])
    with prune(model, method):
        talk = Conversation(model, inputs)
        for number, (step, n) in enumerate(steps):
            ids = [10 + number] * n
            talk.feed(ids) if step == "feed" else getattr(talk, step)(n)
        got = talk.feed([50, 51])
        assert talk.cache.get_seq_length() == talk.prompt + len(talk.fed)

        fresh = Conversation(model, inputs)
        expected = fresh.feed(talk.fed)[-2:]
    torch.testing.assert_close(got, expected, atol=2 * TOLERANCE, rtol=0)


@often(15)
@given(st.data(), batches(), methods)
@torch.no_grad()
def test_samples_of_a_cache_go_on_in_any_order(zoo, data, batch, method) -> None:
    """Some twice, some not at all, as beams do."""
    rows = st.integers(0, len(batch.samples) - 1)
    order = torch.tensor(data.draw(st.lists(rows, min_size=1, max_size=4)))
    model, inputs = zoo(batch.name, "sdpa"), batch.inputs
    new = torch.full((len(batch.samples), 1), 50)

    def step(cache, pick):
        """The next word of the samples in `pick`."""
        mask = torch.cat([inputs["attention_mask"], torch.ones_like(new)], dim=1)[pick]
        place = torch.tensor([[batch.width]]).expand(len(pick), 1)
        if batch.name == "qwen2_5_vl":
            place = place.expand(3, -1, -1)
        call = {"input_ids": new[pick], "attention_mask": mask, "position_ids": place}
        return model(**call, **cache_argument(model, cache)).logits[:, -1]

    with prune(model, method):
        cache = cache_of_output(model(**inputs, use_cache=True))
        expected = step(copy.deepcopy(cache), torch.arange(len(new)))[order]
        cache.batch_select_indices(order)
        torch.testing.assert_close(step(cache, order), expected, atol=2 * TOLERANCE, rtol=0)


@often(15)
@given(st.data(), methods, st.integers(1, 40))
@torch.no_grad()
def test_a_cut_into_the_prompt_is_refused_whole_or_done_whole(zoo, data, method, n) -> None:
    name = data.draw(NAMES)
    model = zoo(name, "sdpa")
    inputs = FAMILIES[name].batch([data.draw(samples(name, least=1))])
    with prune(model, method):
        talk = Conversation(model, inputs)
        n = min(n, talk.prompt - 1)
        before = [layer.keys.shape[-2] for layer in talk.cache.layers]
        try:
            talk.cache.crop(-n)
        except PruneError:
            assert [layer.keys.shape[-2] for layer in talk.cache.layers] == before
        lengths = {layer.get_seq_length() for layer in talk.cache.layers}
        assert len(lengths) == 1


@often(15)
@given(st.data(), methods, st.integers(1, 5))
def test_generate_starts_as_a_forward_ends(zoo, data, method, steps) -> None:
    name = data.draw(NAMES)
    model = zoo(name, "sdpa")
    inputs = FAMILIES[name].batch([data.draw(samples(name, least=1))])
    stages, logits = kept(model, method, inputs)
    with prune(model, method) as session:
        run = greedy(model, inputs, steps=steps)
    assert [[keep.tolist() for keep in stage.keep] for stage in session.trace.stages] == stages
    torch.testing.assert_close(run.logits[0], logits[:, -1], atol=2 * TOLERANCE, rtol=0)
