"""A processor that does not fit its model is refused before any work, and `doctor` says so too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from transprune import demo
from transprune.errors import CheckpointError
from transprune.models.checkpoint import load

SCENE = demo.folder() / "pictures" / "scene1.png"
MISSING = object()


def change(folder: Path, file: str, *path: str, value: object) -> None:
    """Set one field of a JSON file, or remove it."""
    place = folder / file
    data = json.loads(place.read_text())
    inner = data
    for key in path[:-1]:
        inner = inner[key]

    if value is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    place.write_text(json.dumps(data))


PROCESSOR = "processor_config.json"
MODEL = "config.json"

# family, file, path of the field, value, what the error names
CASES = [
    ("nano", PROCESSOR, ("num_additional_image_tokens",), MISSING, "num_additional_image_tokens"),
    ("nano", PROCESSOR, ("num_additional_image_tokens",), 3, "num_additional_image_tokens"),
    ("nano", PROCESSOR, ("patch_size",), None, "patch_size in processor_config.json is null"),
    ("nano", PROCESSOR, ("patch_size",), MISSING, "patch_size in processor_config.json is null"),
    ("nano", PROCESSOR, ("patch_size",), 16, "patch_size in processor_config.json is 16"),
    ("nano", PROCESSOR, ("patch_size",), 0, "patch_size in processor_config.json is 0"),
    ("nano", PROCESSOR, ("patch_size",), "8", "patch_size in processor_config.json is '8'"),
    ("nano", PROCESSOR, ("vision_feature_select_strategy",), "full", "'full'"),
    ("nano", PROCESSOR, ("vision_feature_select_strategy",), None, "_strategy"),
    ("nano", MODEL, ("vision_feature_select_strategy",), "full", "'default'"),
    ("nano", PROCESSOR, ("image_processor", "crop_size"), {"height": 64, "width": 64}, "crop_size"),
    ("nano", PROCESSOR, ("image_processor", "do_center_crop"), False, "do_center_crop"),
    ("nano", MODEL, ("image_token_index",), 7, "image_token"),
    ("next", PROCESSOR, ("patch_size",), 14, "patch_size"),
    ("next", PROCESSOR, ("patch_size",), None, "patch_size"),
    ("next", PROCESSOR, ("num_additional_image_tokens",), 0, "num_additional_image_tokens"),
    ("next", PROCESSOR, ("vision_feature_select_strategy",), "full", "_strategy"),
    ("next", MODEL, ("image_grid_pinpoints",), [[28, 56], [56, 56]], "image_grid_pinpoints"),
    ("next", MODEL, ("image_token_id",), 3, "image_token"),
    ("qwen", "preprocessor_config.json", ("merge_size",), 1, "merge_size"),
    ("qwen", "preprocessor_config.json", ("patch_size",), 14, "patch_size"),
    ("qwen", "preprocessor_config.json", ("temporal_patch_size",), 1, "temporal_patch_size"),
    ("qwen", MODEL, ("image_token_id",), 6, "image_token"),
]


@pytest.fixture
def copy(request, tmp_path, nano_copy):
    """A copy of a family's checkpoint that may be damaged."""

    def make(family: str) -> Path:
        if family == "nano":
            return nano_copy
        source = request.getfixturevalue({"next": "llava_next", "qwen": "qwen"}[family])
        return Path(shutil.copytree(source, tmp_path / family))

    return make


@pytest.mark.parametrize(("family", "file", "path", "value", "named"), CASES)
def test_a_field_that_differs_is_named(copy, family, file, path, value, named) -> None:
    folder = copy(family)
    load(folder)  # it fits before the change
    change(folder, file, *path, value=value)

    with pytest.raises(CheckpointError, match="does not fit its model") as caught:
        load(folder)

    message = str(caught.value)
    assert named in message
    assert str(folder) in message
    assert "\n" not in message


def test_run_and_doctor_say_it_in_one_line(cli, nano_copy) -> None:
    change(nano_copy, PROCESSOR, "patch_size", value=None)
    (nano_copy / "model.safetensors").unlink()  # found before any weight is read

    asked = ("--image", SCENE, "--question", "what is it?", "--method", "fastv")
    result = cli("run", "--model", nano_copy, *asked)
    assert result.code == 1
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert "patch_size" in result.err

    found = cli("doctor", "--model", nano_copy, "--json")
    assert found.data["model"]["processor"].startswith("unusable: ")
    assert "patch_size" in found.data["model"]["processor"]


def test_a_benchmark_is_refused_before_its_folder_is_made(cli, nano_copy, tmp_path) -> None:
    change(nano_copy, PROCESSOR, "num_additional_image_tokens", value=MISSING)
    out = tmp_path / "run"
    result = cli("bench", "--model", nano_copy, "--n", "1", "--methods", "fastv", "--out", out)
    assert result.code == 1
    assert "num_additional_image_tokens" in result.err
    assert not out.exists()


def test_two_differences_that_cancel_are_no_error(nano_copy) -> None:
    """`full` without the extra token makes the same count as `default` with it."""
    change(nano_copy, PROCESSOR, "vision_feature_select_strategy", value="full")
    change(nano_copy, PROCESSOR, "num_additional_image_tokens", value=0)
    load(nano_copy)


def test_sizes_that_make_no_model_are_refused(cli, nano_copy) -> None:
    change(nano_copy, MODEL, "text_config", "num_attention_heads", value=0)
    result = cli("doctor", "--model", nano_copy)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "config" in result.err


def test_a_chat_template_without_pictures_is_the_checkpoints_fault(cli, nano_copy) -> None:
    (nano_copy / "chat_template.jinja").write_text("{{ messages[0]['content'][-1]['text'] }}")
    asked = ("--image", SCENE, "--question", "what is it?", "--method", "fastv")
    result = cli("run", "--model", nano_copy, *asked)
    assert result.code == 1
    assert "chat template" in result.err
    assert "leave" not in result.err
