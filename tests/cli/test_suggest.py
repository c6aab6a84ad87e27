"""`transprune suggest`: settings that meet the budget, and evidence that says where it is from."""

from __future__ import annotations

from dataclasses import replace
from statistics import median_low

import pytest

from transprune.bench.run.budgets import TOLERANCE, fit
from transprune.bench.run.nominal import NominalPrompt
from transprune.cli.recipe_words import write_recipe, write_value
from transprune.cli.suggest import BUNDLED_PROMPT, WITHOUT_FAMILY
from transprune.cli.suggest_evidence import MEASURED_HERE
from transprune.cli.suggest_measured import measured_table
from transprune.cli.suggest_settings import candidates
from transprune.cli.suggest_tables import CAUTION
from transprune.core.schedule import Schedule
from transprune.cost.count import count_method
from transprune.cost.geometry import GEOMETRIES, known_geometry
from transprune.demo import read_questions
from transprune.demo.questions import picture_file
from transprune.methods.common.recipe import METHODS, resolve
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import LoadOptions, load
from transprune.models.images import open_image

KNOWN = sorted(GEOMETRIES)


def prompt_of(model):
    geometry = known_geometry(model)
    return NominalPrompt(
        geometry, geometry.visual_tokens, geometry.text_tokens, geometry.text_tokens
    )


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize("model", KNOWN)
@pytest.mark.parametrize("budget", [12, 20, 41, 60, 80])
def test_every_line_meets_the_budget_and_is_what_cost_counts(cli, model, budget):
    data = cli("suggest", "--model", model, "--budget", budget, "--json").data
    geometry = known_geometry(model)
    assert data["budget"] == budget / 100
    assert len(data["suggestions"]) > 5
    assert len(data["suggestions"]) + len(data["refused"]) == len(candidates(bundled=False))

    for entry in data["suggestions"]:
        method = resolve(entry["recipe"])
        # rounding the shares moves the cost by a few tokens at most
        assert entry["exact_share"] == pytest.approx(budget / 100, abs=TOLERANCE + 0.005)
        exact = count_method(geometry, method, convention="exact")
        paper = count_method(geometry, method, convention="paper")
        assert entry["exact_share"] == exact.prefill_share
        assert entry["paper_share"] == paper.prefill_share

        stages = method.plan(geometry.layers, geometry.visual_tokens)
        assert entry["boundaries"] == [stage.boundary for stage in stages]
        assert entry["tokens"] == [geometry.visual_tokens, *(stage.count for stage in stages)]


def test_a_published_setting_that_costs_the_budget_stays_as_it_is(cli):
    data = cli("suggest", "--model", "llava-1.5-7b", "--budget", 47, "--json").data
    first = data["suggestions"][0]
    assert first["recipe"] == "transprune"
    assert first["tokens"] == [576, 504, 360, 72]
    assert first["evidence"]["published"]["row"] == "TransPrune-High"
    assert first["paper_share"] == pytest.approx(0.408, abs=0.001)


@pytest.mark.parametrize("layers", [14, 28, 32, 40])
@pytest.mark.parametrize("name", candidates(bundled=True))
def test_a_written_recipe_is_the_method(name, layers):
    """Same boundaries and readings on this depth; counts within a token of the rounding."""
    method = resolve(name)
    again = resolve(write_recipe(method, layers))
    # pairs are counted from the shares, which are rounded
    readings = [
        [replace(reading, pairs=0.0) for reading in one.reads_at(layers)] for one in (again, method)
    ]
    assert readings[0] == readings[1]
    assert again.frozen(layers) == method.frozen(layers)
    assert [step.policy for step in again.steps] == [step.policy for step in method.steps]

    for new, old in zip(again.plan(layers, 576), method.plan(layers, 576), strict=True):
        assert new.boundary == old.boundary
        assert abs(new.count - old.count) <= 1


def test_evidence_of_transprune_moves_with_its_boundaries():
    prompt = prompt_of("llava-1.5-13b")
    early = fit(resolve("transprune"), 0.15, prompt).method
    again = resolve(write_recipe(early, prompt.geometry.layers))
    assert again.observed(40) == early.observed(40)
    assert "accumulate" in write_recipe(resolve("transprune:accumulate=8-10"), 32)
    assert resolve(write_recipe(resolve("transprune:accumulate=8-10"), 32)).observed(32) == (
        *range(8, 11),
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (192, "192"),
        (1.0, "1.0"),
        (0.15625, "0.15625"),
        ("off", "off"),
        ((3, 1), "3,1"),
        (0.00000001, "1e-08"),
        (Schedule({1: 0.5, 2: 0.00000001}), "1:0.5,2:1e-08"),
        (Schedule({7: 0.875, 9: 1 / 3}), "7:0.875,9:0.333333"),
    ],
)
def test_values_are_written_as_recipes_read_them(value, text):
    assert write_value(value) == text


# --------------------------------------------------------------------------- models


def test_the_bundled_model(cli):
    data = cli("suggest", "--model", "nano", "--json").data
    assert data["text_tokens"] == BUNDLED_PROMPT[0]
    entries = {entry["method"]: entry for entry in data["suggestions"]}
    assert entries["transprune-nano"]["evidence"]["kind"] == MEASURED_HERE
    best = data["suggestions"][0]["evidence"]["measured"]["accuracy"]
    assert best == max(figures.get(41, 0) for figures in measured_table().values())


def test_the_prompt_of_the_bundled_model_is_a_real_one():
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    counts = []
    for question in read_questions():
        picture = open_image(picture_file(question.picture))
        inputs = prepare(checkpoint, [picture], question.question)
        trace = ask(checkpoint, inputs, resolve("uniform"), 1).trace
        counts.append((trace.text_tokens[0], trace.instruction_tokens[0]))

    texts, instructions = zip(*counts, strict=True)
    assert (median_low(texts), median_low(instructions)) == BUNDLED_PROMPT


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen"])
def test_a_folder_lists_what_its_model_can_run(cli, family, request):
    folder = request.getfixturevalue(family)
    found = cli("suggest", "--model", folder, "--budget", 60, "--json").data
    assert found["notes"] == []
    assert found["model"]["layers"] == 14
    assert {"transprune", "fastv", "divprune"} <= {
        entry["method"] for entry in found["suggestions"]
    }

    # a configuration alone is no model that could be built, so nothing is tried
    file = cli("suggest", "--model", folder / "config.json", "--budget", 60, "--json").data
    assert len(file["suggestions"]) >= len(found["suggestions"])
    assert "transprune doctor" in file["notes"][0]


def test_what_a_model_lacks_is_named(cli, llava):
    # the tower of this one is CLIP's, whose text half is not beside it
    refused = cli("suggest", "--model", llava, "--budget", 60, "--json").data["refused"]
    assert "text" in refused["cdpruner"]
    assert "transprune" not in refused


def test_unknown_models_are_refused_as_cost_refuses_them(cli):
    for model in ("lava-1.5-7b", "nobody/nothing-of-this-name"):
        ours = cli("suggest", "--model", model)
        cost = cli("cost", "--model", model)
        assert (ours.code, ours.err) == (cost.code, cost.err)
        assert ours.code == 1


def test_a_model_without_a_family_says_so(cli):
    assert set(WITHOUT_FAMILY) < {geometry.name for geometry in GEOMETRIES.values()}
    shown = " ".join(cli("suggest", "--model", "video-llava-7b").out.split())
    assert "transprune cannot prune Video-LLaVA-7B yet" in shown
    assert "cannot prune" not in cli("suggest", "--model", "llava-1.5-7b").out


@pytest.mark.parametrize("budget", ["0", "100", "-3", "abc", "nan", "40,50", "own", ""])
def test_budgets_that_are_none(cli, budget):
    result = cli("suggest", "--budget", budget)
    assert result.code == 1
    assert "percent of the unpruned prefill" in result.err or "at least one budget" in result.err


def test_evidence_of_the_bundled_model_alone_comes_with_a_caution(cli):
    shown = " ".join(cli("suggest", "--model", "llava-1.5-13b", "--budget", "12").out.split())
    assert CAUTION in shown
    assert CAUTION not in " ".join(cli("suggest", "--model", "nano").out.split())


def test_a_budget_that_nothing_reaches(cli):
    shown = cli("suggest", "--budget", "1", env={"COLUMNS": "80"}).out
    assert "No method reaches this budget" in shown
    assert "cannot be reached" in shown


@pytest.mark.parametrize("model", ["nano", "llava-1.5-7b", "qwen2.5-vl-7b", "llava-next-7b"])
def test_the_tables_fit_and_cut_nothing(cli, model):
    shown = cli("suggest", "--model", model, "--budget", "41%", env={"COLUMNS": "80"}).out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    words = " ".join(shown.split())
    assert "Strongest evidence:" in words
    assert "Not possible here method why" in words

    # what is to be pasted stands there whole
    first = cli("suggest", "--model", model, "--json").data["suggestions"][0]["recipe"]
    assert f'prune(model, "{first}")' in shown
    assert f"--method '{first}'" in shown


def test_plugins_are_suggested_too(monkeypatch):
    class Mine(METHODS.get("fastv")):
        paper = "mine"

    monkeypatch.setitem(METHODS._classes, "mine", Mine)
    assert "mine" in candidates(bundled=False)
