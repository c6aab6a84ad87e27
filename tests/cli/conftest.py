"""The command line under test, and tiny random models of every family saved as real folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers as hf
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner

from transprune import nano
from transprune.cli import app

SPECIAL = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "<image>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
]
WORDS = [
    *SPECIAL,
    "USER",
    ":",
    "ASSISTANT",
    "what",
    "color",
    "is",
    "the",
    "circle",
    "?",
    "red",
    "blue",
]
TEMPLATE = (
    "{% for m in messages %}USER: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}PICTURE{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %} {% endfor %}ASSISTANT:"
)
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 14,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
    "projection_dim": 32,
}
CROP = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}


@pytest.fixture
def cli():
    """Call the command line in this process.

    The result has the exit code, stdout, stderr, and with --json the parsed document as `data`.
    """

    def call(*args, env=None):
        result = CliRunner().invoke(
            app, [str(arg) for arg in args], env={"COLUMNS": "100", **(env or {})}
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        data = json.loads(result.stdout) if "--json" in args and result.exit_code == 0 else None
        return SimpleNamespace(
            code=result.exit_code, out=result.stdout, err=result.stderr, data=data
        )

    return call


@pytest.fixture
def picture(tmp_path) -> Path:
    file = tmp_path / "picture.png"
    Image.linear_gradient("L").resize((60, 40)).convert("RGB").save(file)
    return file


@pytest.fixture
def nano_copy(tmp_path) -> Path:
    """The bundled model in a folder that may be damaged."""
    folder = tmp_path / "model"
    shutil.copytree(nano.path(), folder, ignore=shutil.ignore_patterns("clip"))
    return folder


@pytest.fixture(scope="session")
def llava(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(0)
    text = hf.AutoConfig.for_model("llama", **TEXT)
    config = hf.LlavaConfig(
        vision_config=CLIP, text_config=text, image_token_id=4, vision_feature_layer=-2
    )
    hf.LlavaForConditionalGeneration(config).save_pretrained(folder)
    hf.LlavaProcessor(
        hf.models.clip.image_processing_pil_clip.CLIPImageProcessorPil(**CROP),
        tokenizer(extra_special_tokens={"image_token": "<image>"}),
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("PICTURE", "<image>\n"),
    ).save_pretrained(folder)

    return folder


@pytest.fixture(scope="session")
def llava_next(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("llava_next")
    torch.manual_seed(0)
    pinpoints = [[28, 56], [56, 28], [56, 56]]
    config = hf.LlavaNextConfig(
        vision_config=CLIP,
        text_config=hf.AutoConfig.for_model("llama", **TEXT),
        image_token_id=4,
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-2,
    )

    hf.LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    pil = hf.models.llava_next.image_processing_pil_llava_next.LlavaNextImageProcessorPil
    hf.LlavaNextProcessor(
        pil(image_grid_pinpoints=pinpoints, **CROP),
        tokenizer(extra_special_tokens={"image_token": "<image>"}),
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)  # no chat template: the plain prompt is used

    return folder


@pytest.fixture(scope="session")
def qwen(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 64,
        "patch_size": 7,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 28,
        "fullatt_block_indexes": [1],
    }

    config = hf.Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=dict(TEXT, rope_parameters=rope),
        image_token_id=5,
        video_token_id=6,
        vision_start_token_id=7,
        vision_end_token_id=8,
    )

    hf.Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    pil = hf.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil
    pil(min_pixels=28 * 28, max_pixels=56 * 56, patch_size=7).save_pretrained(folder)
    words = tokenizer()
    words.chat_template = TEMPLATE.replace("PICTURE", "<|vision_start|><|image_pad|><|vision_end|>")
    words.save_pretrained(folder)
    return folder


def tokenizer(**names):
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.add_special_tokens(SPECIAL)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=words, **special, **names)
