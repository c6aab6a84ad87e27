"""`transprune doctor`: this machine, and what each family can run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from transprune.cli.doctor_checks import SUPPORTED

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_supported_versions_are_those_of_the_package():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    requirements = map(Requirement, project["dependencies"])
    stated = {requirement.name: requirement.specifier for requirement in requirements}

    for name in ("torch", "transformers"):
        assert SpecifierSet(SUPPORTED[name]) == stated[name]
    assert SpecifierSet(SUPPORTED["python"]) == SpecifierSet(project["requires-python"])


def test_machine(cli):
    result = cli("doctor", "--json")
    machine = result.data["machine"]
    assert machine["ok"]
    assert machine["bundled_model"] == "loads"
    assert {"llava", "llava_next", "qwen2_5_vl"} <= set(machine["families"])
    assert result.data["model"] is None


@pytest.mark.parametrize(
    ("family", "cls", "mrope"),
    [("llava", True, False), ("llava_next", True, False), ("qwen", False, True)],
)
def test_models(cli, request, family, cls, mrope):
    found = cli("doctor", "--model", request.getfixturevalue(family), "--load", "--json").data[
        "model"
    ]
    assert (found["layers"], found["cls_token"], found["mrope"]) == (14, cls, mrope)
    assert found["weights"] == "complete"
    assert found["methods"]["transprune-high"] == ""
    assert found["methods"]["visionzip"] == ""


def test_methods_that_do_not_fit_say_why(cli, nano_copy):
    config = json.loads((nano_copy / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 2
    (nano_copy / "config.json").write_text(json.dumps(config))
    methods = cli("doctor", "--model", nano_copy, "--json").data["model"]["methods"]

    assert "boundaries must lie in" in methods["fastv"]
    assert methods["visionzip"] == ""

    shown = cli("doctor", "--model", nano_copy).out

    assert "✗" in shown
    assert "boundaries must lie in" in " ".join(shown.split())


def test_old_transformers_fails_the_check(cli, monkeypatch):
    monkeypatch.setattr("transformers.__version__", "4.57.1")
    result = cli("doctor")
    assert result.code == 1
    assert "✗  transformers" in result.out


def test_table(cli, qwen):
    result = cli("doctor", "--model", qwen, env={"COLUMNS": "80"})
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 80
    assert "M-RoPE, always kept" in result.out
    assert "without a CLS token" in result.out


def test_an_unreadable_processor_is_reported_not_raised(cli, nano_copy):
    (nano_copy / "tokenizer.json").unlink()
    found = cli("doctor", "--model", nano_copy, "--json").data["model"]
    assert found["processor"].startswith("unusable: ")


def test_a_method_that_drops_nothing_says_so_from_the_configuration(cli, nano_copy):
    (nano_copy / "model.safetensors").unlink()
    asked = ("--method", "visionzip:keep=192", "--method", "visionzip:keep=64+fastv")
    found = cli("doctor", "--model", nano_copy, *asked, "--json").data["model"]
    assert list(found["methods"]) == ["visionzip:keep=192", "visionzip:keep=64+fastv"]
    assert list(found["notes"]) == ["visionzip:keep=192"]

    note = found["notes"]["visionzip:keep=192"]
    assert "keep=192 is at least the 144 visual tokens" in note
    assert "try keep=48 or keep=0.33" in note
    shown = cli("doctor", "--model", nano_copy, *asked).out
    assert "at least the 144" in " ".join(shown.split())


def test_a_part_of_a_composition_that_drops_nothing(cli):
    asked = ("--method", "visionzip:keep=64+divprune:keep=64+fastv", "--json")
    result = cli("doctor", "--model", "nano", *asked)
    assert result.code == 1  # two projector-side methods
    asked = ("--method", "visionzip:keep=200+fastv", "--json")
    notes = cli("doctor", "--model", "nano", *asked).data["model"]["notes"]
    assert "keep=200" in notes["visionzip:keep=200+fastv"]


def test_no_note_where_the_number_depends_on_the_picture(cli, qwen):
    found = cli("doctor", "--model", qwen, "--method", "visionzip:keep=900", "--json").data
    assert found["model"]["notes"] == {}


def test_a_method_needs_a_model_and_has_to_exist(cli):
    assert cli("doctor", "--method", "fastv").code == 2
    result = cli("doctor", "--model", "nano", "--method", "fastw")
    assert result.code == 1
    assert "Did you mean 'fastv'?" in result.err
