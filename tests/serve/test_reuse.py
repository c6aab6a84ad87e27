"""Earlier work that is used again: the answers stay those without it, and memory stays bounded."""

from __future__ import annotations

import pytest
import torch

from serve.conftest import PICTURES, data_url, load_nano, user
from serve.test_batches import Kitchen
from transprune.serve.limits import MIB
from transprune.serve.metrics import Metrics
from transprune.serve.prefill import PREFILL
from transprune.serve.reuse import Reuse

# methods whose choice does not depend on the question, and some whose choice does
FREE = (
    "unpruned",
    "divprune:keep_ratio=0.25",
    "visionzip:keep=64",
    "random",
    "uniform",
    "norm",
    "pact",
    "apet",
    "shortv",
    "pool:keep=0.25",
    "prumerge",
    "tome",
    "divprune:keep_ratio=0.5+shortv",
)
BOUND = (
    "transprune-high",
    "fastv",
    "pdrop",
    "sparsevlm",
    "topv",
    "cdpruner",
    "visionzip:keep=64+transprune-low",
)
QUICK = {"unpruned", "visionzip:keep=64", "pact", "shortv", "pool:keep=0.25", "random"}
QUICK |= {"transprune-high", "cdpruner", "visionzip:keep=64+transprune-low"}


def cases(methods):
    """All of them with `make test-all`."""
    return [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in methods]


QUESTIONS = ("what shape is the orange object?", "how many blue objects are there?", "why?")


@pytest.fixture(scope="module")
def kitchens():
    """Without reuse and with it, on models of their own."""
    offered = (*FREE[1:], *BOUND[1:])
    return Kitchen(load_nano(), 0, offered), Kitchen(load_nano(), 64 * MIB, offered)


def ask(kitchen, question, method, picture=1):
    """A greedy answer of four tokens, with what it was chosen from."""
    job = kitchen.job(question, picture, pruning=method, max_tokens=4)
    seen = []
    forward = kitchen.runner._model.lm_head.forward

    def watched(hidden):
        logits = forward(hidden)
        seen.append(logits[:, -1])
        return logits

    kitchen.runner._model.lm_head.forward = watched
    try:
        kitchen.runner.run([job])
    finally:
        del kitchen.runner._model.lm_head.forward
    return job.events[-1], torch.cat(seen[-job.events[-1].usage.new_tokens :])


@pytest.mark.parametrize("method", cases(FREE))
def test_a_prefilled_beginning_gives_the_same_answer(kitchens, method):
    plain, reusing = kitchens
    for number, question in enumerate(QUESTIONS[:2]):
        expected, logits = ask(plain, question, method)
        got, others = ask(reusing, question, method)
        assert got.usage.reused == ("prefill" if number else "nothing")
        assert (got.text, got.reason) == (expected.text, expected.reason)
        torch.testing.assert_close(others, logits, atol=1e-4, rtol=1e-4)

        # the bill is that of the whole prompt
        for name in ("prompt_tokens", "new_tokens", "visual_before", "visual_after"):
            assert getattr(got.usage, name) == getattr(expected.usage, name), name
        assert got.usage.flops_share == pytest.approx(expected.usage.flops_share)


@pytest.mark.parametrize("method", cases(BOUND))
def test_a_method_that_reads_the_question_prefills_anew(kitchens, method):
    plain, reusing = kitchens
    assert reusing.recipes.choose("nano", method).reads_question
    for question in QUESTIONS[:2]:
        expected, logits = ask(plain, question, method)
        got, others = ask(reusing, question, method)
        assert got.usage.reused != "prefill"
        assert got.text == expected.text
        torch.testing.assert_close(others, logits, atol=1e-4, rtol=1e-4)


def test_a_picture_that_was_seen_does_not_run_the_tower_again():
    kitchen = Kitchen(load_nano(), 64 * MIB)
    tower = kitchen.runner._model.model.vision_tower
    calls = []
    forward = tower.forward
    tower.forward = lambda *args, **kwargs: (calls.append(1), forward(*args, **kwargs))[1]

    first = kitchen.job()
    kitchen.runner.run([first])
    assert len(calls) == 1 and first.events[-1].usage.reused == "nothing"
    again = [kitchen.job(question) for question in QUESTIONS]
    kitchen.runner.run(again)
    assert len(calls) == 1
    assert {job.events[-1].usage.reused for job in again} == {"tower"}
    assert again[0].events[-1].text == first.events[-1].text

    # a batch with a new picture encodes that one alone, though it is there twice
    mixed = [kitchen.job(), kitchen.job(picture=2), kitchen.job(QUESTIONS[1], 2)]
    kitchen.runner.run(mixed)
    assert len(calls) == 2
    assert [job.events[-1].usage.reused for job in mixed] == ["tower", "nothing", "nothing"]
    hits = {"kind": "tower", "result": "hit"}  # a look-up for each picture of a batch
    assert kitchen.metrics.registry.get_sample_value("transprune_reuse_total", hits) == 2


def test_another_picture_is_never_taken_for_a_known_one(kitchens):
    plain, reusing = kitchens
    for picture in range(3):
        for method in ("unpruned", "transprune-high"):
            expected, logits = ask(plain, "what color is it?", method, picture)
            got, others = ask(reusing, "what color is it?", method, picture)
            torch.testing.assert_close(others, logits, atol=1e-4, rtol=1e-4)
            assert got.text == expected.text


def test_two_pictures_in_another_order_are_another_beginning():
    kitchen = Kitchen(load_nano(), 64 * MIB)
    urls = [data_url(PICTURES[number].read_bytes()) for number in (0, 1)]
    usages = []
    for pair in (urls, urls[::-1], urls):
        job = kitchen.job(pruning="unpruned", messages=user("what?", *pair))
        kitchen.runner.run([job])
        usages.append(job.events[-1].usage)
    assert [usage.reused for usage in usages] == ["nothing", "nothing", "prefill"]
    assert usages[0].visual_before == 288


def test_what_reads_the_question_is_told_from_the_method(kitchens):
    recipes = kitchens[0].recipes
    assert not any(recipes.choose("nano", method).reads_question for method in FREE)
    assert all(recipes.choose("nano", method).reads_question for method in BOUND)


# ---------------------------------------------------------------- the bound


def test_the_least_recently_used_goes_first():
    metrics = Metrics()
    reuse = Reuse(100, metrics)
    for name in "abc":
        reuse.put((PREFILL, name), name, 30)
    assert reuse.get((PREFILL, "a")) == "a"
    reuse.put((PREFILL, "d"), "d", 30)
    assert reuse.get((PREFILL, "b")) is None
    assert [reuse.get((PREFILL, name)) for name in "acd"] == ["a", "c", "d"]
    assert metrics.registry.get_sample_value("transprune_reuse_bytes") == 90


def test_an_entry_is_replaced_and_a_large_one_is_not_kept():
    reuse = Reuse(100, Metrics())
    reuse.put((PREFILL, "a"), 1, 60)
    reuse.put((PREFILL, "a"), 2, 60)
    assert reuse.get((PREFILL, "a")) == 2
    reuse.put((PREFILL, "b"), 3, 101)
    assert reuse.get((PREFILL, "b")) is None
    assert reuse.get((PREFILL, "a")) == 2
    assert not Reuse(0, Metrics()).on


def test_memory_stays_bounded_by_what_is_allowed():
    kitchen = Kitchen(load_nano(), 3 * MIB)
    for question in QUESTIONS[:2]:
        for picture in range(5):
            kitchen.runner.run([kitchen.job(question, picture, pruning="unpruned", max_tokens=1)])
    held = kitchen.metrics.registry.get_sample_value("transprune_reuse_bytes")
    assert 0 < held <= 3 * MIB


def test_a_cache_that_gives_no_token_back_is_not_used_again(monkeypatch, caplog):
    from transformers import DynamicCache

    kitchen = Kitchen(load_nano(), 64 * MIB)

    def refuses(self, tokens):
        raise NotImplementedError("a recurrent state")

    monkeypatch.setattr(DynamicCache, "crop", refuses)
    usages = []
    for _ in range(2):
        job = kitchen.job(pruning="unpruned")
        kitchen.runner.run([job])
        assert job.events[-1].text == "star"
        usages.append(job.events[-1].usage.reused)
    assert usages == ["tower", "tower"]  # the first look for a beginning has encoded the picture
    assert "not used again" in caplog.text
