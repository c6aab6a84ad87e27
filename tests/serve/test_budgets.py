"""Methods scaled to the budget of a request: as the benchmark scales them, on offer only, bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest

from serve.conftest import PICTURES, body, load_nano, runner, user
from serve.test_batches import Kitchen
from transprune.bench.run.budgets import fit
from transprune.bench.run.nominal import NominalPrompt
from transprune.methods.common.recipe import resolve
from transprune.serve import budgets
from transprune.serve.budgets import Budgets, Counts
from transprune.serve.refusal import Refusal

QUESTION = "what shape is the orange object?"
OFFERED = ("transprune-low", "fastv", "visionzip:keep=64", "divprune:keep_ratio=0.25", "plphp")


@pytest.fixture(scope="module")
def kitchen():
    return Kitchen(load_nano(), 0, OFFERED)


@pytest.fixture(scope="module")
def scaled():
    return Budgets(load_nano())


def ask(client, method, budget, question=QUESTION, picture=1):
    return client.chat.completions.create(
        model="nano",
        messages=user(question, PICTURES[picture]),
        extra_body={"pruning": method, "pruning_budget": budget, "pruning_trace": True},
    )


@pytest.mark.parametrize("method", ["transprune-high", "divprune:keep_ratio=0.25"])
def test_the_answer_is_that_of_the_method_at_this_budget(client, method):
    run = runner(load_nano())
    for budget in (0.6, 0.31):
        got = ask(client, method, budget)
        bill = got.usage.pruning
        assert (bill["method"], bill["budget"]) == (method, budget)
        assert bill["prefill_flops_share"] == pytest.approx(budget, abs=0.011)

        # what the benchmark finds for the same prompt
        trace = run(QUESTION, 1, method).trace
        counts = (trace.visual_tokens[0], trace.text_tokens[0], trace.instruction_tokens[0])
        expected = fit(resolve(method), budget, NominalPrompt(trace.geometry, *counts)).method
        again = run(QUESTION, 1, expected)
        assert got.choices[0].message.content == again.text
        kept = got.model_extra["pruning_trace"]["pictures"][0]["kept"]
        assert kept == [sorted(stage.keep[0].tolist()) for stage in again.trace.stages]


def test_without_a_budget_a_method_runs_as_it_is_offered(client):
    got = client.chat.completions.create(**body(QUESTION))
    assert "budget" not in got.usage.pruning


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"pruning": "unpruned", "pruning_budget": 0.4}, None),
        ({"pruning": "visionzip:keep=64", "pruning_budget": 0.333}, None),
        ({"pruning_budget": 0}, None),
        ({"pruning_budget": 1}, None),
        ({"pruning_budget": -0.4}, None),
        ({"pruning_budget": 40}, None),
        ({"pruning_budget": "0.4"}, None),
        ({"pruning_budget": True}, None),
        ({"pruning_budget": [0.4]}, None),
        ({"pruning": "fastv", "pruning_budget": 0.4}, "unknown_method"),
        ({"pruning": "transprune-low", "pruning_budget": 0.01}, "budget_not_reached"),
    ],
)
def test_other_budgets_are_refused(live, fields, code):
    answer = live.post(body(**fields))
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["code"] == code
    assert error["param"] == ("pruning" if code == "unknown_method" else "pruning_budget")


def test_a_budget_that_is_no_number_of_json_is_refused(live):
    import json

    for text in ("NaN", "Infinity", "1e999"):
        content = json.dumps(body()).removesuffix("}") + f', "pruning_budget": {text}}}'
        headers = {"Content-Type": "application/json"}
        assert live.post(content=content.encode(), headers=headers).status_code == 400


def test_a_budget_without_a_picture_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="a budget needs a picture"):
        client.chat.completions.create(
            model="nano",
            messages=[{"role": "user", "content": "what is a circle?"}],
            extra_body={"pruning_budget": 0.4},
        )


def test_a_budget_out_of_reach_names_the_nearest(kitchen, scaled):
    with pytest.raises(Refusal, match=r"5% cannot be reached: .* is its cheapest setting"):
        scaled.scale(kitchen.recipes.choose("nano", "transprune-low"), 0.05, Counts(144, 11, 9))
    # it evicts keys behind the prefill, whose work it does not save
    with pytest.raises(Refusal, match="saves no work of the prefill"):
        scaled.scale(kitchen.recipes.choose("nano", "plphp"), 0.5, Counts(144, 11, 9))


def test_a_setting_is_found_once_and_their_number_is_bounded(kitchen, scaled, monkeypatch):
    found = []
    original = budgets.fit
    monkeypatch.setattr(budgets, "fit", lambda *given: found.append(1) or original(*given))
    recipe = kitchen.recipes.choose("nano", "visionzip:keep=64")
    first = scaled.scale(recipe, 0.41, Counts(144, 11, 9))
    assert scaled.scale(recipe, 0.41, Counts(144, 11, 9)) is first
    assert len(found) == 1
    assert scaled.scale(recipe, 0.41, Counts(144, 40, 38)).key != first.key

    for visual in range(budgets.MOST + 20):
        scaled.scale(recipe, 0.41, Counts(144 + visual, 11, 9))
    assert scaled._solve.cache_info().currsize == budgets.MOST


def test_an_offered_method_and_its_settings_do_not_share_a_key(kitchen, scaled):
    recipe = kitchen.recipes.choose("nano", "divprune:keep_ratio=0.25")
    keys = {scaled.scale(recipe, share, Counts(144, 11, 9)).key for share in (0.2, 0.3, 0.4)}
    assert len(keys | {recipe.key}) == 4
    assert recipe.session is not scaled.scale(recipe, 0.2, Counts(144, 11, 9)).session


@pytest.mark.slow
def test_requests_of_several_budgets_at_once_are_answered_like_one(live, client):
    wanted = [("transprune-high", b) for b in (0.6, 0.45, 0.35)] * 3
    alone = {case: ask(client, *case) for case in set(wanted)}
    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(lambda case: ask(client, *case), wanted))
    for case, got in zip(wanted, answers, strict=True):
        expected = alone[case]
        assert got.choices[0].message.content == expected.choices[0].message.content
        for name in ("budget", "visual_tokens_after", "prefill_flops_share"):
            assert got.usage.pruning[name] == expected.usage.pruning[name]
        assert got.model_extra["pruning_trace"] == expected.model_extra["pruning_trace"]

    # a metric for each budget would be one for each client's whim
    page = httpx2.get(f"{live.address}/metrics", trust_env=False).text
    assert 'method="transprune-high"' in page
    assert "@" not in page


@pytest.mark.slow
def test_a_budget_on_a_prefilled_beginning(client):
    """VisionZip does not read the question, so a second one goes on from the first's beginning."""
    first = ask(client, "visionzip:keep=64", 0.37)
    second = ask(client, "visionzip:keep=64", 0.37, "how many objects are there?")
    other = ask(client, "visionzip:keep=64", 0.2)
    assert first.usage.pruning["reused"] in ("nothing", "tower")
    # another question has another length, so it may have another setting: then nothing is shared
    same = first.usage.pruning["visual_tokens_after"] == second.usage.pruning["visual_tokens_after"]
    assert (second.usage.pruning["reused"] == "prefill") == same
    assert other.usage.pruning["visual_tokens_after"] < first.usage.pruning["visual_tokens_after"]
    assert other.usage.pruning["reused"] != "prefill"


def test_the_offer_says_what_each_method_costs(live):
    offer = httpx2.get(f"{live.address}/v1/pruning", trust_env=False).json()
    methods = {method["name"]: method for method in offer["methods"]}
    assert offer["model"] == "nano" and offer["default"] == "transprune-high"
    assert set(methods) == {recipe.name for recipe in live.service.recipes} - {"unpruned"}
    assert methods["transprune-high"]["title"].startswith("TransPrune")
    assert offer["limits"]["body_bytes"] == live.service.limits.body_bytes

    for name, method in methods.items():
        got = live.post(body(QUESTION, pruning=name)).json()["usage"]["pruning"]
        assert method["prefill_flops_share"] == pytest.approx(got["prefill_flops_share"], abs=0.02)
        # the lowest budget can be had, and no lower one
        lowest = method["lowest_budget"]
        assert live.post(body(pruning=name, pruning_budget=lowest + 0.01)).status_code == 200
        if lowest > 0.03:
            lower = round(lowest - 0.03, 2)
            assert live.post(body(pruning=name, pruning_budget=lower)).status_code == 400
