"""What 0.1.0 computed, read and wrote is what this version computes, reads and writes.

The fixtures in `0.1.0/` were made by `record.py` and the commands of that version, before the code moved.
Recycled and contextual tokens of SparseVLM and VisionZip stood in place then (`order=in_place`).
Entries that differ from the released codes of their methods were recorded again by 0.2.0: PACT and `sparsevlm-plus` in
`tiny.json`, and in `recipes.json` the heads of `sparsevlm-plus` and the rounding of `adaptinfer-qwen`.
"""

import importlib.util
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import transprune
from transprune.bench.data.records import read_run
from transprune.bench.results.summary import summarise
from transprune.methods.common.recipe import from_dict, resolve

HERE = Path(__file__).parent
OLD = HERE / "0.1.0"

_spec = importlib.util.spec_from_file_location("record", HERE / "record.py")
record = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(record)

TINY = json.loads((OLD / "tiny.json").read_text())
NANO = json.loads((OLD / "nano.json").read_text())
RECIPES = json.loads((OLD / "recipes.json").read_text())


def assert_same(found, expected, where=""):
    """Equal structure; numbers that are measured (scores, logits) to 1e-5, everything else exactly."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, value in enumerate(expected):
            assert_same(found[number], value, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found is not None and math.isclose(found, expected, rel_tol=1e-4, abs_tol=1e-5), (
            where
        )
    else:
        assert found == expected, where


@pytest.mark.parametrize("case", record.cases(), ids=lambda case: record.key_of(*case))
def test_tiny_models_choose_and_answer_as_before(zoo, case):
    assert_same(record.record_tiny(zoo, *case), TINY[record.key_of(*case)])


@pytest.fixture(scope="module")
def nano():
    path = transprune.nano.path()
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(path)


@pytest.mark.parametrize("recipe", record.NANO_METHODS)
def test_the_bundled_model_chooses_and_answers_as_before(nano, recipe):
    for question in record.NANO_QUESTIONS:
        assert_same(record.record_nano(*nano, recipe, question), NANO[f"{recipe} {question}"])


def _without_order(recipe):
    """A recipe without the setting that 0.1.0 did not have."""
    if isinstance(recipe, list):
        return [_without_order(part) for part in recipe]
    if not isinstance(recipe, dict):
        return recipe
    merges = recipe.get("method") in ("sparsevlm", "visionzip")
    kept = {name: value for name, value in recipe.items() if not (merges and name == "order")}
    return {name: _without_order(value) for name, value in kept.items()}


@pytest.mark.parametrize("text", RECIPES)
def test_recipe_texts_mean_what_they_meant(text):
    assert _without_order(resolve(text).to_dict()) == RECIPES[text]


@pytest.mark.parametrize("text", RECIPES)
def test_json_recipes_are_read_back(text):
    assert from_dict(RECIPES[text]) == resolve(text)


def test_a_saved_recipe_folder_still_works():
    assert resolve(OLD / "recipe") == resolve("visionzip:keep=192+transprune-low")


def test_a_saved_run_is_read_and_summed_up():
    run = read_run(OLD / "run")
    assert len(run.records) == 198
    rows = summarise(run)
    assert [row.condition.name for row in rows][:2] == ["unpruned", "transprune@41"]
    assert all(row.complete for row in rows)


def test_a_saved_run_is_continued(tmp_path):
    from transprune.bench.launch import Plan, launch

    folder = tmp_path / "run"
    shutil.copytree(OLD / "run", folder)
    before = (folder / "records.jsonl").read_text()
    run = launch(Plan(folder, methods=("fastv", "divprune"), budgets=(0.41,), n=2, bill=False))
    after = (folder / "records.jsonl").read_text()
    assert after.startswith(before)
    assert {r.condition for r in run.records[198:]} == {"divprune@41"}
