"""`transprune methods METHOD`: every setting of every method, with its default and meaning."""

from __future__ import annotations

from dataclasses import fields

import pytest

from transprune.cli.argument_words import read_arguments
from transprune.cli.methods_settings import list_settings
from transprune.methods.common.recipe import METHODS, preset_names, resolve

EVERY = [*METHODS, *preset_names()]


@pytest.mark.parametrize("name", list(METHODS))
def test_every_setting_has_a_meaning(name):
    cls = METHODS.get(name)
    settings = {entry["name"]: entry for entry in list_settings(cls)}
    assert set(settings) == {field.name for field in fields(cls) if field.init}
    for entry in settings.values():
        other = entry["meaning"].removeprefix("see ")
        is_explained_there = other in settings and entry["name"] in settings[other]["meaning"]
        assert len(entry["meaning"].split()) >= 3 or is_explained_there, entry["name"]
    assert settings["positions"]["default"] == cls.default_positions


@pytest.mark.parametrize("name", list(METHODS))
def test_no_docstring_describes_a_setting_that_is_not_there(name):
    cls = METHODS.get(name)
    assert set(read_arguments(vars(cls)["__doc__"])) <= {field.name for field in fields(cls)}


@pytest.mark.parametrize("name", [name for name in METHODS if name != "compose"])
def test_a_default_is_the_default(name):
    """Written out as a recipe, the defaults build the method itself."""
    for entry in list_settings(METHODS.get(name)):
        text, _, depth = entry["default"].partition(" of ")
        if depth or entry["name"] == "positions":
            continue  # a schedule with a depth has no text; positions say what is in force
        assert resolve(f"{name}:{entry['name']}={text}") == resolve(name)


@pytest.mark.parametrize("name", EVERY)
def test_every_method_and_preset_is_shown(cli, name):
    shown = cli("methods", name, env={"COLUMNS": "80"})
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "…" not in shown.out

    about = cli("methods", name, "--json").data["method"]
    for part in about["parts"].values() or [about["settings"]]:
        for entry in part:
            assert entry["name"] in shown.out
    assert about["paper"] in " ".join(shown.out.split())


def test_values_of_a_preset():
    low = {
        entry["name"]: entry
        for entry in list_settings(METHODS.get("transprune"), resolve("transprune-low"))
    }
    assert low["keep"]["value"] == "7:0.625,9:0.1875,12:0.0625"
    assert low["keep"]["default"] == "7:0.875,9:0.625,12:0.125 of 32 layers"
    assert low["positions"]["value"] == "renumber"


def test_the_parts_of_a_composition(cli):
    shown = cli("methods", "visionzip-288-transprune").out
    assert "settings of visionzip" in shown
    assert "settings of transprune" in shown
    assert "288" in shown


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("fastw", "fastv"), ("transprune-hihg", "transprune-high"), ("visionzipp", "visionzip")],
)
def test_a_typo_gets_a_suggestion(cli, typed, meant):
    result = cli("methods", typed)
    assert result.code == 1
    assert f"Did you mean {meant!r}?" in result.err


def test_a_wrong_setting_of_a_recipe(cli):
    assert "Did you mean 'alpha'?" in cli("methods", "transprune:alpa=3").err


def test_the_list_points_to_it(cli):
    assert "transprune methods fastv" in cli("methods").out


def test_arguments_of_a_docstring():
    text = """First line.

    Args:
        one: a sentence: with a colon,
            and a second line.
        two, three: both.

    Raises:
        four: not a setting.
    """
    assert read_arguments(text) == {
        "one": "a sentence: with a colon, and a second line.",
        "two": "both.",
        "three": "both.",
    }
    assert read_arguments("No arguments.") == {}
