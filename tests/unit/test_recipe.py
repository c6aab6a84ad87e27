"""Recipes: every method as JSON and as text, and back; anything else refused by name."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from methods.cases import METHODS as CASES
from transprune import recipe
from transprune.core.schedule import Schedule
from transprune.cost.count import count_method
from transprune.cost.geometry import known_geometry
from transprune.errors import MethodError, RecipeError, ScheduleError, UnknownMethod
from transprune.methods import (
    Compose,
    DivPrune,
    FastV,
    Method,
    PDrop,
    Random,
    TransPrune,
    Uniform,
    VisionZip,
)
from transprune.methods.common import recipe_file
from transprune.methods.common.recipe import (
    METHODS,
    from_dict,
    parse,
    preset_names,
    read_recipe,
    resolve,
)

METHODS_AS_BUILT = [
    *(METHODS.get(name)() for name in METHODS if name != "compose"),
    *(parse(name) for name in preset_names()),
    TransPrune(
        keep={3: 0.5, 5: 0.25},
        accumulate=[1, 3],
        alpha=0.4,
        direction="one_minus_cos",
        softmax_over="visual",
    ),
    TransPrune(accumulation=False, use_direction=False, positions="keep"),
    TransPrune(keep=Schedule({3: 0.5}, depth=24)),
    FastV(layer=3, keep_ratio=0.25, positions="renumber"),
    PDrop(keep={2: 0.5}),
    VisionZip(0.25, contextual=0.2),
    VisionZip(64),
    DivPrune(1),
    Random(keep={0: 0.5}, seed=7),
    Compose([VisionZip(288), TransPrune(keep={7: 0.5, 9: 0.25, 12: 0.125})]),
    Compose([DivPrune(), FastV(), PDrop()]),
    *(case.method for case in CASES.values()),
]


def test_every_method_and_preset_is_there() -> None:
    assert list(METHODS) == sorted(METHODS)
    assert {m.name for m in METHODS_AS_BUILT} == set(METHODS)
    presets = {
        "transprune-high",
        "transprune-low",
        "transprune-ttv",
        "transprune-iga",
        "transprune-combined",
        "transprune-smol",
    }
    presets |= {"fastv-aggressive", "prumerge-plus"}
    presets |= {
        f"{control}-{preset}" for control in ("random", "uniform") for preset in ("high", "low")
    }
    assert presets <= set(preset_names())
    assert preset_names("prumerge", "compose") == ["prumerge-plus", *preset_names("compose")]


def test_the_compositions_of_the_paper_have_names() -> None:
    """Tables 4 and 5 of TransPrune: twelve of them, with the costs printed there."""
    published = {
        "fastv": ("1.00", "0.66"),
        "pdrop": ("0.88", "0.59"),
        "transprune": ("0.66", "0.44"),
    }
    tables = [
        name for name in preset_names("compose") if name.startswith(("visionzip-", "cdpruner-"))
    ]
    assert len(tables) == 12
    for name in tables:
        projector, tokens, inside = name.split("-")
        method = resolve(name)
        assert [part.name for part in method.parts] == [projector, inside]
        assert method.plan(32, 576)[0].count == int(tokens)
        cost = count_method(known_geometry("llava-1.5-7b"), method, 576)
        assert f"{cost.prefill / 1e12:.2f}" == published[inside][tokens == "192"]
    with pytest.raises(RecipeError, match="write that out"):
        parse("visionzip-288-fastv:layer=3")


# ---------------------------------------------------------------------------------------------- JSON


def written(method: Method) -> str:
    """The method as the name of a test: without the folder of weights, which differs from process to process."""
    return re.sub(r"weights='[^']*'", "weights=...", repr(method))


@pytest.mark.parametrize("method", METHODS_AS_BUILT, ids=written)
def test_round_trips(method: Method, tmp_path: Path) -> None:
    data = method.to_dict()
    assert list(data)[:2] == ["schema", "method"] and data["schema"] == 1
    for back in (from_dict(data), from_dict(json.loads(json.dumps(data)))):
        assert back == method and type(back) is type(method) and repr(back) == repr(method)
    method.save_pretrained(tmp_path / "new" / "folder")
    written = tmp_path / "new" / "folder" / "pruning_config.json"
    assert json.loads(written.read_text()) == data
    for source in (tmp_path / "new" / "folder", str(written), written):
        assert type(method).from_pretrained(source) == method
        assert Method.from_pretrained(source) == method
        assert resolve(source) == method
    assert resolve(str(tmp_path / "new" / "folder")) == method


def test_a_recipe_spelled_out() -> None:
    assert FastV().to_dict() == {
        "schema": 1,
        "method": "fastv",
        "positions": None,
        "layer": 2,
        "keep_ratio": 0.5,
    }
    assert TransPrune.low().to_dict() == {
        "schema": 1,
        "method": "transprune",
        "positions": None,
        "keep": {"keep": {"7": 0.625, "9": 0.1875, "12": 0.0625}, "depth": 32},
        "accumulate": [7, 8, 9, 10, 11, 12],
        "alpha": 0.5,
        "direction": "one_minus_abs_cos",
        "use_magnitude": True,
        "use_direction": True,
        "softmax_over": "all",
        "accumulation": True,
    }


def test_the_parts_of_a_composition_are_recipes() -> None:
    data = Compose([DivPrune(0.5), FastV()]).to_dict()
    assert [part["method"] for part in data["parts"]] == ["divprune", "fastv"]
    data["parts"][0] = {"schema": 1, **data["parts"][0]}
    assert from_dict(data) == Compose([DivPrune(0.5), FastV()])


def test_what_is_left_out_takes_its_default() -> None:
    assert from_dict({"method": "fastv"}) == FastV()
    assert from_dict({"schema": 1, "method": "transprune", "keep": {"5": 0.5}}) == TransPrune(
        keep={5: 0.5}
    )
    example = {
        "method": "compose",
        "parts": [{"method": "visionzip", "keep": 192}, {"method": "transprune"}],
    }
    assert from_dict(example) == Compose([VisionZip(192), TransPrune()])


def test_from_dict_leaves_its_argument_alone() -> None:
    data = {"schema": 1, "method": "fastv", "layer": 3}
    from_dict(data)
    assert data == {"schema": 1, "method": "fastv", "layer": 3}


def test_unknown_keys_are_refused_with_the_closest_one() -> None:
    with pytest.raises(
        RecipeError, match=r"fastv has no setting 'keep_ration'\. Did you mean 'keep_ratio'\?"
    ):
        from_dict({"method": "fastv", "keep_ration": 0.5})
    with pytest.raises(RecipeError, match="It has: positions, layer, keep_ratio"):
        from_dict({"method": "fastv", "zzz": 0.5})
    with pytest.raises(RecipeError, match="no setting 3"):
        from_dict({"method": "fastv", 3: 0.5})
    with pytest.raises(RecipeError, match="divprune has no setting 'layer'"):
        from_dict({"method": "compose", "parts": [{"method": "divprune", "layer": 2}]})


@pytest.mark.parametrize(
    "hidden", ["name", "title", "presets", "__class__", "default_positions", "_x"]
)
def test_class_attributes_are_no_settings(hidden: str) -> None:
    with pytest.raises(RecipeError, match="no setting"):
        from_dict({"method": "fastv", hidden: "x"})


def test_unknown_methods_are_refused_with_the_closest_one() -> None:
    for build in (lambda: parse("tranprune"), lambda: from_dict({"method": "tranprune"})):
        with pytest.raises(
            UnknownMethod, match=r"no method 'tranprune'\. Did you mean 'transprune'\?"
        ):
            build()
    with pytest.raises(
        UnknownMethod, match="Known: adaptinfer, apet, asymvlm, atp, cdpruner, compose"
    ):
        from_dict({"method": "zzz"})
    with pytest.raises(UnknownMethod, match=r"Did you mean 'transprune-high'\?"):
        parse("transprune-hihg")


@pytest.mark.parametrize("schema", [2, 99, 0, -1, "1", 1.5, None])
def test_other_schemas_are_refused(schema: object) -> None:
    with pytest.raises(
        RecipeError, match=r"has schema .*; this release reads up to 1. Upgrade transprune"
    ):
        from_dict({"schema": schema, "method": "fastv"})


@pytest.mark.parametrize("data", [[], "fastv", 3, None, {}, {"schema": 1}, [["method", "fastv"]]])
def test_what_is_no_recipe_is_refused(data: Any) -> None:
    with pytest.raises(RecipeError, match="a mapping with a 'method' key"):
        from_dict(data)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"method": "transprune", "keep": {"7": 2}}, ScheduleError),
        ({"method": "transprune", "keep": {"keep": {"7": 0.5}, "depth": 0}}, ScheduleError),
        ({"method": "transprune", "keep": {"keep": {"7": 0.5}, "dept": 32}}, ScheduleError),
        ({"method": "transprune", "direction": ["cos"]}, MethodError),
        ({"method": "transprune", "accumulate": [7, "x"]}, ScheduleError),
        ({"method": "transprune", "use_magnitude": "false"}, MethodError),
        ({"method": "fastv", "keep_ratio": "half"}, ScheduleError),
        ({"method": "fastv", "positions": ["keep"]}, MethodError),
        ({"method": "visionzip", "keep": None}, ScheduleError),
        ({"method": "compose", "parts": 5}, RecipeError),
        ({"method": "compose", "parts": {"method": "fastv"}}, RecipeError),
        ({"method": "compose", "parts": ["fastv"]}, RecipeError),
        ({"method": "compose", "parts": []}, MethodError),
        ({"method": ["fastv"]}, UnknownMethod),
        ({"method": None}, UnknownMethod),
    ],
    ids=str,
)
def test_bad_values_are_refused(values: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        from_dict(values)


# ---------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "text", ["", "{", "not json", "{'method': 'fastv'}", '{"method": "fastv",}']
)
def test_a_file_that_is_not_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "pruning_config.json").write_text(text)
    with pytest.raises(RecipeError, match="is not JSON"):
        read_recipe(tmp_path)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="is not JSON"):
        read_recipe(tmp_path / "recipe.json")


@pytest.mark.parametrize("text", ["[]", "3", '"fastv"', "null"])
def test_json_that_is_no_mapping(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(RecipeError, match="a mapping with a 'method' key"):
        resolve(str(tmp_path / "recipe.json"))


@pytest.mark.parametrize("resolver", [read_recipe, resolve])
def test_a_missing_file_is_not_looked_for_on_the_hub(
    resolver: Callable[[Any], Method], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        recipe_file, "_fetch", lambda repository: pytest.fail(f"asked the hub for {repository}")
    )
    monkeypatch.chdir(tmp_path)
    for source in ("missing.json", tmp_path / "missing", tmp_path):
        with pytest.raises(RecipeError, match="no recipe at"):
            resolver(source)


def test_an_unreachable_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(repository: str, file: str, **options: Any) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("transformers.utils.hub.cached_file", unreachable)
    with pytest.raises(
        RecipeError, match=r"no recipe at 'someone/recipe': neither a file.*no route to host"
    ):
        FastV.from_pretrained("someone/recipe")


def test_a_repository_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def cached(repository: str, file: str, revision: str | None, token: str | None) -> str:
        asked.append((repository, file, revision))
        return str(tmp_path / file)

    FastV(layer=3).save_pretrained(tmp_path)
    monkeypatch.setattr("transformers.utils.hub.cached_file", cached)
    assert FastV.from_pretrained("someone/recipe", revision="v2") == FastV(layer=3)
    assert resolve("someone/recipe") == FastV(layer=3)
    name = "pruning_config.json"
    assert asked == [("someone/recipe", name, "v2"), ("someone/recipe", name, None)]


def test_a_recipe_of_another_method(tmp_path: Path) -> None:
    TransPrune().save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="is a recipe of transprune, not of FastV"):
        FastV.from_pretrained(tmp_path)


def test_a_folder_called_like_a_method_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone of this repository is a folder called transprune."""
    monkeypatch.chdir(tmp_path)
    for name in ("transprune", "transprune-low"):
        (tmp_path / name).mkdir()
    assert resolve("transprune") == TransPrune()
    assert resolve("transprune-low") == TransPrune.low()
    FastV(layer=3).save_pretrained("mine")
    assert resolve("mine") == FastV(layer=3)


# ---------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("transprune-high", TransPrune.high()),
        ("transprune", TransPrune()),
        ("transprune-ttv", TransPrune.ttv()),
        ("random-low", Random.low()),
        ("fastv:layer=3,keep_ratio=0.25", FastV(layer=3, keep_ratio=0.25)),
        ("fastv: layer = 3 , keep_ratio = .25", FastV(layer=3, keep_ratio=0.25)),
        ("fastv:positions=none", FastV()),
        ("visionzip:keep=192+transprune-low", Compose([VisionZip(192), TransPrune.low()])),
        ("visionzip:keep=0.5 + fastv", Compose([VisionZip(0.5), FastV()])),
        ("divprune+fastv+pdrop", Compose([DivPrune(), FastV(), PDrop()])),
        ("transprune:keep=7:0.5,9:0.25,12:0.125", TransPrune(keep={7: 0.5, 9: 0.25, 12: 0.125})),
        ("transprune:keep=7:0.5,9:0.25,alpha=0.4", TransPrune(keep={7: 0.5, 9: 0.25}, alpha=0.4)),
        ("transprune:alpha=1,keep=7:0.5/9:0.25", TransPrune(keep={7: 0.5, 9: 0.25}, alpha=1)),
        (
            "transprune:accumulate=1-6,use_magnitude=false",
            TransPrune(accumulate=range(1, 7), use_magnitude=False),
        ),
        ("transprune:accumulate=7", TransPrune(accumulate=[7])),
        (
            "transprune:accumulation=False,direction=cos",
            TransPrune(accumulation=False, direction="cos"),
        ),
        ("transprune-low:alpha=0.4", TransPrune.low(alpha=0.4)),
        (
            "visionzip:keep=288+transprune:keep=7:0.5,9:0.25,12:0.125,positions=keep",
            Compose(
                [VisionZip(288), TransPrune(keep={7: 0.5, 9: 0.25, 12: 0.125}, positions="keep")]
            ),
        ),
        ("random:seed=3,keep=0:0.5", Random(seed=3, keep={0: 0.5})),
        ("uniform", Uniform()),
    ],
)
def test_parse(text: str, expected: Method) -> None:
    assert parse(text) == expected
    assert resolve(text) == expected


def test_the_examples_of_the_module_can_be_read() -> None:
    assert recipe.__doc__ is not None
    lines = [line.strip() for line in recipe.__doc__.splitlines() if line.startswith("    ")]
    assert len(lines) == 3
    for line in lines:
        for example in [line] if line.startswith("{") else line.split():
            method = from_dict(json.loads(example)) if line.startswith("{") else parse(example)
            assert isinstance(method, Method)


def test_a_composition_of_one_is_the_method_itself() -> None:
    assert not isinstance(parse("fastv"), Compose)


@pytest.mark.parametrize(
    "text", ["", " ", "+", "fastv+", "+fastv", "fastv++pdrop", "-", "fastv-", "-high", "high"]
)
def test_names_that_are_missing(text: str) -> None:
    with pytest.raises(UnknownMethod):
        parse(text)


@pytest.mark.parametrize(
    "text", ["fastv:3", "fastv:layer", "fastv:layer=3,,keep", "fastv:0.5,layer=3"]
)
def test_settings_without_a_value(text: str) -> None:
    with pytest.raises((RecipeError, MethodError)):
        parse(text)


def test_settings_read_name_equals_value() -> None:
    with pytest.raises(RecipeError, match=r"settings read name=value, .*; got '3' in 'fastv:3'"):
        parse("fastv:3")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "fastv:layer=__import__('os')",
        "fastv:keep_ratio=1/2",
        "transprune:keep={7: 0.5}",
        "transprune:accumulate=range(7,13)",
        "transprune:alpha=1-0.5",
        "compose:parts=fastv",
        "compose:parts=3",
        "fastv:__class__=x",
    ],
)
def test_nothing_is_evaluated(text: str) -> None:
    with pytest.raises(MethodError):
        parse(text)


def test_what_is_no_method_at_all() -> None:
    with pytest.raises(MethodError, match=r"give an instance: FastV\(\), not the class FastV"):
        resolve(FastV)
    for other in (None, 3, {"method": "fastv"}, [FastV()]):
        with pytest.raises(MethodError, match="a Method, a recipe text or a recipe file; got"):
            resolve(other)


def test_resolve_hands_methods_through() -> None:
    method = FastV()
    assert resolve(method) is method


def test_text_is_read_without_importing_the_methods_first() -> None:
    code = "from transprune.methods.common.recipe import METHODS, parse; print(list(METHODS)[0], parse('fastv').layer)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["adaptinfer", "2"]


def test_every_method_is_a_frozen_hashable_record() -> None:
    for method in METHODS_AS_BUILT:
        assert hash(method) == hash(from_dict(method.to_dict()))
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.positions = "keep"
        assert type(method).title and type(method).paper and type(method).kind
