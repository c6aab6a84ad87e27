"""A processor that does not fit its model is refused before any work, and `doctor` says so too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import transformers as hf

from cli.conftest import CLIP, CROP, TEXT, tokenizer
from transprune import demo
from transprune.errors import CheckpointError
from transprune.models.agreement import check_agreement
from transprune.models.checkpoint import load
from transprune.models.skeleton import build_skeleton

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


SIGLIP = {**CLIP, "model_type": "siglip_vision_model"}
SQUARE = {"size": {"height": 28, "width": 28}}
WHOLE = {"vision_feature_select_strategy": "full", "num_additional_image_tokens": 0}
SIGLIP_PROCESSOR = hf.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil
CLIP_PROCESSOR = hf.models.clip.image_processing_pil_clip.CLIPImageProcessorPil
LLAVA_PROCESSOR = hf.models.llava.image_processing_pil_llava.LlavaImageProcessorPil


def parts(config: type, vision: dict, image_processor, options: dict, **more):
    """A skeleton and a processor, both made here."""
    text = hf.AutoConfig.for_model("llama", **TEXT)
    made = config(vision_config=vision, text_config=text, image_token_id=4, **more)
    words = tokenizer(extra_special_tokens={"image_token": "<image>"})
    processor = hf.LlavaProcessor(image_processor, words, patch_size=7, **options)
    return processor, build_skeleton(made, "here")


DEFAULT = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
FULL = {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}
LAST = {"vision_feature_layer": -2}


@pytest.mark.parametrize(
    "made",
    [
        (hf.LlavaConfig, SIGLIP, SIGLIP_PROCESSOR(**SQUARE), WHOLE, FULL),
        (hf.LlavaConfig, CLIP, LLAVA_PROCESSOR(do_pad=True, **CROP), DEFAULT, LAST),
        (hf.VipLlavaConfig, CLIP, CLIP_PROCESSOR(**CROP), DEFAULT, {}),
    ],
    ids=["SigLIP", "padded", "ViP-LLaVA"],
)
def test_other_towers_fit(made) -> None:
    *usual, more = made
    check_agreement(*parts(*usual, **more), "here")


def test_a_tower_that_only_fails_on_another_size() -> None:
    """SigLIP compares no sizes: its position embeddings do not fit, deep inside."""
    larger = SIGLIP_PROCESSOR(size={"height": 42, "width": 42})
    made = parts(hf.LlavaConfig, SIGLIP, larger, WHOLE, **FULL)
    with pytest.raises(CheckpointError, match=r"size in preprocessor_config.* is 42"):
        check_agreement(*made, "here")


def test_a_tower_without_a_cls_token_has_no_additional_one() -> None:
    options = {**WHOLE, "num_additional_image_tokens": 1}
    made = parts(hf.LlavaConfig, SIGLIP, SIGLIP_PROCESSOR(**SQUARE), options, **FULL)
    with pytest.raises(CheckpointError, match="no CLS token, which makes it 0"):
        check_agreement(*made, "here")


def test_a_configuration_of_a_giant_is_refused_before_it_is_allocated(cli, nano_copy) -> None:
    """A missing width becomes that of a 7B model, which transformers would fill at random."""
    change(nano_copy, MODEL, "text_config", "hidden_size", value=MISSING)
    change(nano_copy, MODEL, "text_config", "intermediate_size", value=MISSING)
    asked = ("--image", SCENE, "--question", "what is it?", "--method", "fastv")
    result = cli("run", "--model", nano_copy, *asked)
    assert result.code == 1
    assert "Does config.json belong to these weights?" in result.err
    assert result.err.count("\n") == 1


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
