"""Tiny checkpoints that take videos, and video files, each made when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import tokenizers
import transformers as hf
from PIL import Image

from families.cases import IMAGE, MODELS, VIDEO, VISION_END, VISION_START, VOCAB, build

WORDS = {
    "<|image_pad|>": IMAGE,
    "<|video_pad|>": VIDEO,
    "<|vision_start|>": VISION_START,
    "<|vision_end|>": VISION_END,
}
PATCH, STEP = 7, 14  # sides of a patch and of a token
LIMITS = {"shortest_edge": STEP * STEP, "longest_edge": 16 * STEP * STEP}
TEMPLATE = (
    "{% for m in messages %}w5 {% for c in m['content'] %}"
    "{% if c['type'] == 'text' %} {{ c['text'] }}"
    "{% else %}<|vision_start|><|{{ c['type'] }}_pad|><|vision_end|>{% endif %}"
    "{% endfor %} w6{% endfor %}"
)


CROP = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
TILES = {"image_grid_pinpoints": [[28, 56], [56, 28], [56, 56]]}
PATCHES = {
    "patch_size": 7,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}


@dataclass(frozen=True)
class Llava:
    """Parts of a processor: its class, that of its pictures with their settings, and its own settings."""

    processor: str
    pictures: str
    options: dict[str, Any]
    settings: dict[str, Any]
    videos: dict[str, Any]


LLAVAS = {
    "llava_next_video": Llava(
        "LlavaNextVideoProcessor", "LlavaNextImageProcessorPil", {**CROP, **TILES}, PATCHES, CROP
    ),
    "llava_onevision": Llava(
        "LlavaOnevisionProcessor",
        "LlavaOnevisionImageProcessorPil",
        {"size": {"height": 28, "width": 28}, **TILES},
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
        {"size": {"height": 28, "width": 28}},
    ),
    "video_llava": Llava("VideoLlavaProcessor", "VideoLlavaImageProcessor", CROP, PATCHES, CROP),
}


def save_checkpoint(name: str, folder: Path) -> Path:
    """A tiny model that takes videos, with the parts of its processor that need no torchvision."""
    return _save_llava(name, folder) if name in LLAVAS else _save_qwen(name, folder)


def _save_llava(name: str, folder: Path) -> Path:
    """One of LLaVA's relatives, its settings as published checkpoints write them."""
    llava = LLAVAS[name]
    build(MODELS[name]).save_pretrained(folder)
    _tokenizer({"<image>": IMAGE, "<video>": VIDEO}).save_pretrained(folder)
    pictures = getattr(hf, llava.pictures)(**llava.options)
    settings = {
        **llava.settings,
        "processor_class": llava.processor,
        "image_processor": json.loads(pictures.to_json_string()),
        "video_processor": {
            "video_processor_type": llava.processor.replace("Processor", "VideoProcessor"),
            **llava.videos,
        },
    }
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def _save_qwen(name: str, folder: Path) -> Path:
    """A Qwen-VL that takes two pictures in a patch."""
    case = MODELS[name]
    config = case.config()
    config.vision_config.temporal_patch_size = 2
    build(type(case)(lambda: config, case.image)).save_pretrained(folder)

    pictures = hf.Qwen2VLImageProcessorPil(patch_size=PATCH, size=LIMITS)
    pictures.save_pretrained(folder)
    words = _tokenizer(WORDS)
    words.chat_template = TEMPLATE
    words.save_pretrained(folder)
    return folder


def _tokenizer(special_words: dict[str, int]) -> Any:
    """Numbered words, of which the special ones take the numbers of the configuration."""
    names = {number: name for name, number in special_words.items()}
    table = {names.get(number, f"w{number}"): number for number in range(VOCAB)}
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel(table, unk_token="w4"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    rules.add_special_tokens(list(special_words))
    special = {"pad_token": "w0", "bos_token": "w1", "eos_token": "w3", "unk_token": "w4"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=rules, **special)


def square(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Frame `number` of the film: a bright square that moves to the right over a grey ground."""
    width, height = size
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    left = min(2 * number, width - 8)
    pixels[8:24, left : left + 8] = (230, 60, 40)
    return Image.fromarray(pixels)


def write_film(
    file: Path, frames: int = 20, draw: Callable[[int], Image.Image] = square, fps: int = 10
) -> Path:
    """A video file of these frames, in MPEG-4."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps, bit_rate=4_000_000)
        stream.width, stream.height = draw(0).size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            packets = stream.encode(av.VideoFrame.from_image(draw(number)))
            container.mux(packets)
        container.mux(stream.encode())
    return file


def write_folder(folder: Path, frames: int = 6) -> Path:
    """The same frames as pictures, with a text file beside them."""
    folder.mkdir()
    for number in range(frames):
        square(number).save(folder / f"frame{number:03}.png")
    (folder / "readme.txt").write_text("no picture")
    return folder
