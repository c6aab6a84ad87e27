"""`transprune run`: every family through its own processor, side by side, as tables and as JSON."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transprune import demo, nano
from transprune.models.images import open_image

SCENE = demo.folder() / "pictures" / "scene2.png"
ASK = ("--question", "what color is the circle?")


def test_answers_about_a_picture(cli):
    result = cli("run", "--model", "nano", "--image", SCENE, *ASK, "--method", "transprune-high")
    assert result.code == 0
    assert "green" in result.out
    assert "144 visual + " in result.out
    assert "boundaries 7, 9, 12 of 32 layers became 4, 5, 6 of 16" in " ".join(result.out.split())
    assert result.err == ""


def test_json_has_everything(cli):
    methods = (
        "--method",
        "transprune-high",
        "--compare",
        "fastv:layer=3,keep_ratio=0.25",
        "--compare",
        "random-low",
    )

    result = cli("run", "--model", "nano", "--image", SCENE, *ASK, *methods, "--json")
    data = result.data

    assert result.err == ""
    assert [run["method"] for run in data["runs"]] == ["unpruned", *methods[1::2]]
    assert (data["family"], data["dtype"], data["device"], data["attention"]) == (
        "llava",
        "float32",
        "cpu",
        "sdpa",
    )

    unpruned, pruned, fastv, _ = data["runs"]

    assert unpruned["answer"] == "green"
    assert unpruned["trace"] is None
    assert unpruned["cost"]["paper"]["prefill_share"] == 1
    assert unpruned["cost"]["exact"]["full_prefill"] == pruned["cost"]["exact"]["full_prefill"]
    assert [len(stage["keep"][0]) for stage in pruned["trace"]["stages"]] == [126, 90, 18]
    assert [len(stage["keep"][0]) for stage in fastv["trace"]["stages"]] == [36]
    assert pruned["seconds"]["first_token"] > 0
    assert data["warnings"] == []


def test_repeat_gives_medians(cli):
    result = cli("run", "--model", "nano", "--image", SCENE, *ASK, "--repeat", "3", "--json")
    assert result.data["runs"][0]["seconds"]["repeats"] == 3


def test_a_prompt_beyond_the_context_is_said(cli):
    """The bundled model was made for 512 tokens, and answers nothing where there are more."""
    question = ("--question", "what " * 600, "--method", "unpruned")
    result = cli("run", "--model", "nano", "--image", SCENE, *question, "--json")
    assert result.code == 0
    (warning,) = result.data["warnings"]
    assert "the model was made for 512 with the answer" in warning


def test_unpruned_alone(cli):
    result = cli("run", "--model", "nano", "--image", SCENE, *ASK, "--method", "unpruned")
    assert result.code == 0
    assert "green" in result.out


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_family(cli, request, picture, tmp_path, family, attention):
    folder = request.getfixturevalue(family)
    file = tmp_path / "kept.png"
    compare = ("--compare", "visionzip:keep=0.5+pdrop", "--compare", "divprune:keep_ratio=0.5")
    options = ("--max-new-tokens", "4", "--attn", attention, "--overlay", file)
    result = cli("run", "--model", folder, "--image", picture, *ASK, *compare, *options, "--json")

    assert result.err == ""

    visual = result.data["visual_tokens"]
    for run in result.data["runs"][1:]:
        assert run["trace"]["visual_tokens"] == [visual]
        assert 0 < run["cost"]["paper"]["prefill_share"] < 1
        assert run["new_tokens"] <= 4

    with Image.open(file) as sheet:
        assert sheet.width > 400


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen"])
def test_several_pictures(cli, request, picture, tmp_path, family):
    folder = request.getfixturevalue(family)
    file = tmp_path / "kept.png"
    one = cli(
        "run", "--model", folder, "--image", picture, *ASK, "--max-new-tokens", "2", "--json"
    ).data
    images = ("--image", picture, "--image", picture)
    two = cli(
        "run",
        "--model",
        folder,
        *images,
        *ASK,
        "--max-new-tokens",
        "2",
        "--overlay",
        file,
        "--json",
    ).data

    assert two["visual_tokens"] == 2 * one["visual_tokens"]
    assert file.is_file()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype(cli, dtype):
    result = cli("run", "--model", "nano", "--image", SCENE, *ASK, "--dtype", dtype, "--json")
    assert result.data["dtype"] == dtype
    assert result.data["runs"][0]["trace"]["dtype"] == dtype


def test_overlay_shows_the_picture_and_the_stages(cli, tmp_path):
    file = tmp_path / "kept.png"
    cli("run", "--model", "nano", "--image", SCENE, *ASK, "--overlay", file)
    sheet = np.asarray(open_image(file))
    scene = np.asarray(open_image(SCENE).resize((192, 192), Image.Resampling.NEAREST))
    found = [(sheet[y : y + 192, 12:204] == scene).all() for y in range(len(sheet) - 192)]
    assert sum(found) == 1


def test_a_recipe_file_is_a_method(cli, tmp_path):
    from transprune import FastV

    FastV(layer=4).save_pretrained(tmp_path)
    result = cli("run", "--model", "nano", "--image", SCENE, *ASK, "--method", tmp_path, "--json")
    assert result.data["runs"][0]["trace"]["stages"][0]["boundary"] == 4


def test_an_animation_runs_with_a_note(cli, tmp_path):
    file = tmp_path / "moving.gif"
    open_image(SCENE).save(file, save_all=True, append_images=[Image.new("RGB", (96, 96))])
    result = cli("run", "--model", "nano", "--image", file, *ASK, "--json")
    assert result.code == 0
    assert "the first is used" in result.err
    assert any("the first is used" in note for note in result.data["warnings"])


def test_one_pixel_is_a_picture(cli, tmp_path):
    file = tmp_path / "pixel.png"
    Image.new("RGB", (1, 1), "red").save(file)
    assert cli("run", "--model", "nano", "--image", file, *ASK).code == 0


def test_a_text_tower_can_be_given(cli, nano_copy):
    """Without the text half beside the weights the cure is named, and following it gives what the whole folder does."""
    asked = ("--image", SCENE, *ASK, "--method", "cdpruner:keep=12", "--json")
    refused = cli("run", "--model", nano_copy, *asked)
    assert refused.code != 0 and "--text-tower" in " ".join((refused.err + refused.out).split())
    given = cli("run", "--model", nano_copy, *asked, "--text-tower", nano.path() / "clip").data[
        "runs"
    ][0]
    beside = cli("run", "--model", "nano", *asked).data["runs"][0]
    assert given["trace"]["stages"] == beside["trace"]["stages"]


@pytest.mark.parametrize(
    "method", ["cdpruner", "downsample", "fastervlm", "norm", "pool", "tome", "vispruner", "vscan"]
)
def test_every_projector_side_method_runs(cli, method):
    run = cli(
        "run", "--model", "nano", "--image", SCENE, *ASK, "--method", f"{method}:keep=36", "--json"
    ).data["runs"][0]
    assert len(run["trace"]["stages"][0]["keep"][0]) == 36


def test_a_composition_runs_by_its_name(cli):
    asked = (
        "--image",
        SCENE,
        *ASK,
        "--method",
        "visionzip-192-transprune",
        "--compare",
        "prumerge",
        "--json",
    )

    runs = cli("run", "--model", "nano", *asked).data["runs"]

    assert [len(stage["keep"][0]) for stage in runs[1]["trace"]["stages"]] == [144, 72, 36, 18]
    assert len(runs[2]["trace"]["stages"][0]["keep"][0]) < 40
