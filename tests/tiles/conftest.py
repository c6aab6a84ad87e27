"""Checkpoints, and pictures large enough for a pyramid."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from cli.conftest import CLIP, CROP, TEMPLATE, TEXT, cli, llava, llava_next, qwen, tokenizer
from transprune.models.checkpoint import LoadOptions, load

__all__ = ["cli", "llava", "llava_next", "qwen"]  # fixtures of the command line's tests

# as `families.cases.FAMILIES`, by the fixtures that save them with a processor
FOLDERS = {
    "llava": "llava",
    "llava_next": "llava_next",
    "qwen2_5_vl": "qwen",
    "vipllava": "vipllava",
}


@pytest.fixture(scope="session")
def vipllava(tmp_path_factory) -> Path:
    """A tiny ViP-LLaVA with its processor."""
    folder = tmp_path_factory.mktemp("vipllava")
    torch.manual_seed(0)
    config = hf.VipLlavaConfig(
        vision_config=CLIP,
        text_config=hf.AutoConfig.for_model("llama", **TEXT),
        image_token_index=4,
        vision_feature_layers=[-2, -3, 1],
    )
    hf.VipLlavaForConditionalGeneration(config).save_pretrained(folder)
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
def checkpoints():
    """(folder or "nano", attention) -> the loaded checkpoint, kept for the session."""

    def opened(place: str, attention: str = "sdpa"):
        return load(place, LoadOptions(dtype="float32", device="cpu", attention=attention))

    return cache(opened)


@pytest.fixture(params=FOLDERS)
def checkpoint(request, checkpoints):
    """A checkpoint of every family."""
    folder = request.getfixturevalue(FOLDERS[request.param])
    return checkpoints(str(folder))


def gradient(width: int, height: int) -> Image.Image:
    """A picture that is another one everywhere."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([255 * x / width, 255 * y / height, (x + y) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def wide(tmp_path) -> Path:
    """A picture of 500 x 300 pixels."""
    file = tmp_path / "wide.png"
    gradient(500, 300).save(file)
    return file
