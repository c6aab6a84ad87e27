"""Weights of the trained methods: written, read, found, and refused where they do not belong."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from families.cases import FAMILIES
from methods.trained import draw_weights, weights_for
from transprune import Compose, TransPrune, prune
from transprune.errors import FamilyError, PruneWarning, WeightsError
from transprune.families import find_family
from transprune.methods import AsymVLM, LVPruning
from transprune.methods.common.trained_weights import (
    ABOUT_FILE,
    WEIGHTS_FILE,
    TrainedWeights,
    load_weights,
    save_weights,
)
from transprune.runtime.taps.trained import fit_of

KEEP = {2: 0.5}


@pytest.fixture
def llava(zoo):
    return zoo("llava", "sdpa")


def write(folder, name="lvpruning", **changes):
    """Random weights in `folder`, trained for something else where `changes` say so."""
    weights = draw_weights(name, changes.pop("width", 64), changes.pop("layers", 8))
    return str(save_weights(folder, replace(weights, fit=replace(weights.fit, **changes))))


def test_what_is_written_is_read(tmp_path):
    weights = replace(draw_weights("lvpruning"), training={"seed": 3, "curve": [{"loss": 0.5}]})
    save_weights(tmp_path, weights, torch.float32)
    found = load_weights(tmp_path)
    assert found.fit == weights.fit
    assert found.training == weights.training
    for boundary, module in weights.modules.items():
        assert all(torch.equal(found.modules[boundary][name], module[name]) for name in module)


def test_a_file_is_bfloat16_and_modules_are_float32(tmp_path):
    save_weights(tmp_path, draw_weights("asymvlm"))
    module = load_weights(tmp_path).modules[0]
    assert {value.dtype for value in module.values()} == {torch.float32}
    assert (tmp_path / WEIGHTS_FILE).stat().st_size < 2.2 * sum(v.numel() for v in module.values())


@pytest.mark.parametrize("method", [LVPruning(KEEP), AsymVLM()], ids=["lvpruning", "asymvlm"])
def test_without_weights_the_error_says_how_to_get_them(llava, method):
    with pytest.raises(WeightsError, match=f"train-pruner --method {method.name}") as error:
        prune(llava, method)
    assert isinstance(error.value, FamilyError)


def test_weights_beside_a_checkpoint_are_found(zoo, tmp_path):
    model = zoo.fresh("llava", "sdpa")
    model.save_pretrained(tmp_path)
    write(tmp_path / "pruners" / "lvpruning")
    from transformers import AutoModelForImageTextToText

    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    inputs = FAMILIES["llava"].batch(FAMILIES["llava"].even())
    kept = []
    for method in (LVPruning(KEEP), LVPruning(KEEP, str(tmp_path / "pruners" / "lvpruning"))):
        with torch.no_grad(), prune(loaded, method) as session:
            loaded(**inputs)
        kept.append([row.tolist() for row in session.trace.stages[0].keep])
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 32}, "width 32, here 64"),
        ({"layers": 6}, "layers 6, here 8"),
        ({"model_type": "qwen2_5_vl"}, "model_type qwen2_5_vl, here llava"),
        ({"name": "asymvlm"}, "method asymvlm, here lvpruning"),
    ],
    ids=str,
)
def test_weights_of_something_else_are_refused(llava, tmp_path, changes, words):
    weights = write(tmp_path, **changes)
    with pytest.raises(WeightsError, match=words):
        prune(llava, LVPruning(KEEP, weights))


def test_weights_of_this_model_fit_and_those_of_another_of_its_size_warn(zoo, llava, tmp_path):
    fit = fit_of(LVPruning(), find_family(llava).base(llava), 8)
    assert len(fit.digest) == 16
    own = write(tmp_path / "own", model_type="llava", digest=fit.digest)
    prune(llava, LVPruning(KEEP, own))  # a warning would be an error here
    other = write(tmp_path / "other", model_type="llava", digest="0" * 16)
    with pytest.warns(PruneWarning, match="another llava of the same size"):
        prune(llava, LVPruning(KEEP, other))


def test_the_digest_is_the_same_in_every_dtype(zoo):
    model = zoo.fresh("llava", "sdpa")
    base = find_family(model).base(model)
    before = fit_of(LVPruning(), base, 8)
    model.bfloat16()
    assert fit_of(LVPruning(), base, 8) == before


def test_a_boundary_without_a_module_is_refused(llava, tmp_path):
    weights = draw_weights("lvpruning")
    few = TrainedWeights(weights.fit, {2: weights.modules[2], 5: weights.modules[5]})
    folder = str(save_weights(tmp_path, few))
    prune(llava, LVPruning({5: 0.2}, folder))
    with pytest.raises(WeightsError, match=r"boundaries 3, 4, for which .* they have 2, 5"):
        prune(llava, LVPruning({2: 0.5, 3: 0.4, 4: 0.2}, folder))


def test_in_a_composition_each_part_finds_its_own(llava):
    method = Compose(
        [
            AsymVLM(1.0, 0.6, 0.6, weights_for("asymvlm")),
            LVPruning(KEEP, weights_for("lvpruning")),
            TransPrune({4: 0.5}),
        ]
    )
    inputs = FAMILIES["llava"].batch(FAMILIES["llava"].even())
    with torch.no_grad(), prune(llava, method) as session:
        llava(**inputs)
    assert [stage.method for stage in session.trace.stages] == [
        "asymvlm",
        "lvpruning",
        "transprune",
    ]


# ------------------------------------------------------------------------ damaged files


def spoil_json(folder, **changes):
    file = folder / ABOUT_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def spoil_tensor(folder, value):
    """One number of one module, as a diverged training or a bad copy leaves it."""
    tensors = load_file(folder / WEIGHTS_FILE)
    tensors["2.down.bias"][0] = value
    save_file(tensors, folder / WEIGHTS_FILE)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / ABOUT_FILE).unlink(), "no trained weights in"),
        (lambda folder: (folder / ABOUT_FILE).write_text("{"), "cannot be read"),
        (lambda folder: (folder / ABOUT_FILE).write_text("[]"), "no description"),
        (lambda folder: spoil_json(folder, schema=2), "of schema 1"),
        (lambda folder: spoil_json(folder, width="64"), "width must be of type int"),
        (lambda folder: spoil_json(folder, boundaries=None), "boundaries must be of type list"),
        (lambda folder: spoil_json(folder, boundaries=[9]), r"9\.rows_norm\.weight is missing"),
        (
            lambda folder: spoil_json(folder, inner=32),
            r"query\.weight is \(64, 64\), not \(32, 64\)",
        ),
        (lambda folder: spoil_json(folder, boundaries=["2"]), "boundaries are whole numbers"),
        (lambda folder: spoil_json(folder, boundaries=[None]), "boundaries are whole numbers"),
        (lambda folder: spoil_json(folder, boundaries=[]), "boundaries are whole numbers"),
        (lambda folder: spoil_tensor(folder, math.nan), r"2\.down\.bias holds values that are not"),
        (lambda folder: spoil_tensor(folder, math.inf), "not numbers"),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "missing or damaged"),
        (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b"x" * 50), "missing or damaged"),
    ],
)
def test_damaged_weights_are_refused(llava, tmp_path, spoil, words):
    folder = write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(WeightsError, match=words):
        prune(llava, LVPruning(KEEP, folder))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot write"):
        save_weights(tmp_path / "file" / "below", draw_weights("asymvlm"))


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(tensors, file):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(WeightsError, match=r"No space left on device.*make room"):
        save_weights(tmp_path, draw_weights("asymvlm"))
