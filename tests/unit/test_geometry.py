"""Sizes from names, dictionaries, files and transformers configurations; never from weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from transprune.cost.geometry import GEOMETRIES, Geometry, known_geometry
from transprune.errors import FamilyError, UnknownFamily

TEXT: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 3,
    "vocab_size": 11,
}
VISION = {"image_size": 96, "patch_size": 8, "hidden_size": 128, "num_attention_heads": 4}


def test_from_a_nested_dict() -> None:
    sizes = Geometry.from_config(
        {"model_type": "llava", "text_config": TEXT, "vision_config": VISION}
    )
    assert sizes == Geometry("llava", 3, 8, 16, 4, 2, 3, 11, visual_tokens=144, vision_head_dim=32)
    assert (sizes.q_width, sizes.kv_width) == (12, 6)


def test_from_a_flat_dict() -> None:
    flat = {
        **TEXT,
        "model_type": "qwen2_5_vl",
        "vision_config": {"hidden_size": 1280, "num_heads": 16},
    }
    sizes = Geometry.from_config(flat, name="mine", visual_tokens=300, text_tokens=20)
    assert sizes == Geometry(
        "mine", 3, 8, 16, 4, 2, 3, 11, visual_tokens=300, text_tokens=20, vision_head_dim=80
    )


def test_absent_or_null_widths_follow_from_the_heads() -> None:
    text = {key: value for key, value in TEXT.items() if key != "num_key_value_heads"} | {
        "head_dim": None
    }
    sizes = Geometry.from_config({"text_config": text})
    assert (sizes.kv_heads, sizes.head_dim) == (4, 2)


@pytest.mark.parametrize("whole_folder", [True, False], ids=["folder", "file"])
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_from_a_path(tmp_path: Path, whole_folder: bool, as_text: bool) -> None:
    tree = {"model_type": "llava", "text_config": TEXT, "image_seq_length": 9}
    (tmp_path / "config.json").write_text(json.dumps(tree), encoding="utf-8")
    path = tmp_path if whole_folder else tmp_path / "config.json"
    sizes = Geometry.from_config(str(path) if as_text else path)
    assert sizes == Geometry.from_config(tree)
    assert sizes.visual_tokens == 9


def test_a_complete_file_needs_neither_torch_nor_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": TEXT}), encoding="utf-8")
    code = (
        "import sys; from transprune.cost.geometry import Geometry; from transprune import cost, paper; "
        f"Geometry.from_config({str(tmp_path)!r}); paper.paper_table(); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_views_multiply_the_grid() -> None:
    patches = {"image_size": 336, "patch_size": 14}
    one = Geometry.from_config(
        {"model_type": "llava", "text_config": TEXT, "vision_config": patches}
    )
    crops = Geometry.from_config(
        {"model_type": "llava_next", "text_config": TEXT, "vision_config": patches}
    )
    assert (one.visual_tokens, crops.visual_tokens) == (576, 2880)


@pytest.mark.parametrize(
    ("fields", "vision", "tokens"),
    [
        ({"mm_tokens_per_image": 256}, {"image_size": 896, "patch_size": 14}, 256),
        ({"spatial_merge_size": 2}, {"image_size": 1540, "patch_size": 14}, 55 * 55),
        ({"scale_factor": 3}, {"image_size": 384, "patch_size": 14}, 9 * 9),
        ({"downsample_factor": 2}, {"image_size": 364, "patch_size": 14}, 13 * 13),
        ({}, {"image_size": [448, 224], "patch_size": [14, 14]}, 32 * 16),
    ],
    ids=["said", "merged by 2", "shuffled by 3", "odd sides", "two sides"],
)
def test_visual_tokens_of_towers_that_merge_patches(
    fields: dict[str, int], vision: dict[str, Any], tokens: int
) -> None:
    tree = {**fields, "text_config": TEXT, "vision_config": vision}
    assert Geometry.from_config(tree).visual_tokens == tokens


def test_the_published_llava_file_leaves_its_sizes_to_the_defaults() -> None:
    """llava-1.5-7b's own config.json names `llama` and a vocabulary, nothing else of the decoder."""
    sizes = Geometry.from_config(
        {
            "model_type": "llava",
            "text_config": {
                "model_type": "llama",
                "max_position_embeddings": 4096,
                "vocab_size": 32064,
            },
            "vision_config": {
                "image_size": 336,
                "patch_size": 14,
                "hidden_size": 1024,
                "num_attention_heads": 16,
            },
        },
        name="LLaVA-1.5-7B",
    )
    assert sizes == known_geometry("llava-1.5-7b")


def test_a_partial_file_derives_its_defaults_from_what_it_says() -> None:
    text = {
        key: value for key, value in TEXT.items() if "key_value" not in key and key != "head_dim"
    }
    text |= {"model_type": "llama", "num_attention_heads": 2}
    sizes = Geometry.from_config({"text_config": text})
    assert (sizes.kv_heads, sizes.head_dim) == (2, 4)


def test_gemma_heads_keep_their_own_width() -> None:
    text = {key: value for key, value in TEXT.items() if key != "head_dim"} | {
        "model_type": "gemma3_text"
    }
    assert Geometry.from_config({"text_config": text}).head_dim == 256


def test_from_transformers_llava() -> None:
    from transformers import LlavaConfig

    sizes = Geometry.from_config(LlavaConfig(), name="LLaVA-1.5-7B")
    assert sizes.vocab == 32000
    assert sizes == Geometry("LLaVA-1.5-7B", 32, 4096, 11008, 32, 32, 128, 32000)


def test_from_transformers_llava_next_and_video_llava() -> None:
    from transformers import LlavaNextConfig, VideoLlavaConfig

    assert (
        Geometry.from_config(LlavaNextConfig()).visual_tokens
        == known_geometry("llava-next-7b").visual_tokens
    )
    assert (
        Geometry.from_config(VideoLlavaConfig()).visual_tokens
        == known_geometry("video-llava-7b").visual_tokens
    )


def test_from_transformers_qwen() -> None:
    from transformers import Qwen2_5_VLConfig

    text = {
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    }
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config={"hidden_size": 1280, "num_heads": 16}
    )
    known = known_geometry("qwen2.5-vl-7b")
    assert Geometry.from_config(config, name=known.name, visual_tokens=1296) == known


def test_a_saved_transformers_config_reads_back_the_same(tmp_path: Path) -> None:
    from transformers import LlavaConfig, Qwen2_5_VLConfig

    for config in (LlavaConfig(), Qwen2_5_VLConfig()):
        config.save_pretrained(tmp_path)
        assert Geometry.from_config(tmp_path) == Geometry.from_config(config)


def test_missing_sizes_are_named() -> None:
    text = {
        key: value
        for key, value in TEXT.items()
        if key not in ("hidden_size", "num_attention_heads")
    }
    with pytest.raises(FamilyError, match="lacks hidden_size, num_attention_heads"):
        Geometry.from_config({"model_type": "mine", "text_config": text})


@pytest.mark.parametrize("wrong", ["8", 8.0, -1, True])
def test_a_size_that_is_no_positive_int_is_refused(wrong: object) -> None:
    with pytest.raises(FamilyError, match="hidden_size must be a positive whole number"):
        Geometry.from_config({"text_config": {**TEXT, "hidden_size": wrong}})


def test_what_transformers_refuses_is_refused_with_its_reason() -> None:
    with pytest.raises(FamilyError, match=r"'llama' configuration.*hidden_size"):
        Geometry.from_config({"text_config": {"model_type": "llama", "hidden_size": "big"}})


def test_a_mixture_of_experts_is_as_wide_as_what_one_token_visits() -> None:
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 5}
    sizes = Geometry.from_config({"text_config": {**TEXT, **experts}})
    # the router is 8 wide; two experts of gate, up and down
    assert sizes.intermediate == 10
    assert {layer.mlp for layer in sizes.by_layer} == {8 * 8 + 3 * 8 * 10}
    assert Geometry.from_config({"text_config": {**TEXT, "num_experts": None}}).by_layer == ()


def test_a_mixture_without_a_number_of_visited_experts_counts_all_of_them() -> None:
    sizes = Geometry.from_config({"text_config": {**TEXT, "num_local_experts": 4}})
    assert sizes.intermediate == 4 * 16


def test_a_layer_of_an_unknown_type_is_named() -> None:
    text = {**TEXT, "layer_types": ["full_attention", "mamba", "full_attention"]}
    with pytest.raises(FamilyError, match="decoder layer of type 'mamba'"):
        Geometry.from_config({"text_config": text})


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(FamilyError, match=r"got int.*model\.config"):
        Geometry.from_config(7)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot read"), ("{", "cannot read"), ("[]", "holds a list")]
)
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(FamilyError, match=message) as caught:
        Geometry.from_config(tmp_path / "config.json")
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("llava-1.5-7b", "LLaVA-1.5-7B"),
        ("LLaVA 1.5 13B", "LLaVA-1.5-13B"),
        ("llava-hf/llava-1.5-7b-hf", "LLaVA-1.5-7B"),
        ("liuhaotian/llava-v1.5-13b", "LLaVA-1.5-13B"),
        ("llava_next_7b", "LLaVA-NeXT-7B"),
        ("llava-hf/llava-v1.6-vicuna-7b-hf", "LLaVA-NeXT-7B"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL-7B"),
        ("LanguageBind/Video-LLaVA-7B-hf", "Video-LLaVA-7B"),
    ],
)
def test_names_are_forgiving(spelling: str, name: str) -> None:
    assert known_geometry(spelling).name == name


def test_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(
        UnknownFamily, match=r"no model 'lava-1.5-7b' by name\. Did you mean 'llava-1.5-7b'\?"
    ):
        known_geometry("lava-1.5-7b")


@pytest.mark.parametrize("other", ["llava-v1.6-mistral-7b", "qwen2.5-vl-72b", "llava", ""])
def test_a_different_model_is_not_guessed(other: str) -> None:
    with pytest.raises(UnknownFamily, match=r"Known: llava-1\.5-7b, "):
        known_geometry(other)


def test_keys_are_what_the_lookup_takes() -> None:
    assert len(GEOMETRIES) == 5
    assert all(known_geometry(key) is sizes for key, sizes in GEOMETRIES.items())
