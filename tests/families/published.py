"""Published settings of checkpoints, and tiny models with them: of InternVL, the LLaVAs, Gemma and Idefics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers
import transformers as hf

from families.cases import MODELS, VOCAB, build

SQUARE, WIDE, LAPTOP = (448, 448), (640, 320), (640, 480)


@dataclass(frozen=True)
class Published:
    """Settings of one published checkpoint.

    Attributes:
        processor: its class.
        pil: class of the image processor, and its settings.
        tower: what changes in the tiny model's configuration.
        tokens: of a picture by width and height.
        words: special tokens, which take the ids from 90 on; the first is the placeholder.
        names: what the tokenizer calls them.
        options: entries of processor_config.json.
        prompt: where the picture goes.
    """

    processor: str
    pil: tuple[str, dict[str, Any]]
    tower: Callable[[Any], None]
    tokens: dict[tuple[int, int], int]
    words: tuple[str, ...] = ("<image>", "<video>")
    names: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    prompt: str = "<image>"


def size_of(image: int, patch: int, **others: Any) -> Callable[[Any], None]:
    """A tower for pictures of that size; `others` are set on the whole configuration."""

    def change(config: Any) -> None:
        vision = config.vision_config
        square = isinstance(vision.image_size, int)
        vision.image_size = image if square else [image, image]
        vision.patch_size = patch if square else [patch, patch]
        for name, value in others.items():
            setattr(config, name, value)

    return change


def _gemma4(config: Any) -> None:
    config.vision_config.patch_size = 16
    config.vision_config.pooling_kernel_size = 3
    config.vision_config.position_embedding_size = 10240


def _grid(side: int, rows: int) -> list[list[int]]:
    """Resolutions of up to `rows` by `rows` tiles."""
    return [[side * r, side * c] for r in range(1, rows + 1) for c in range(1, rows + 1)]


NEXT = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
LLAVA = {
    "patch_size": 14,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
}

PUBLISHED = {
    # 27 x 27 for the whole; 2 x 2 tiles of 27 x 27, unpadded to 40 or 28 rows of 54 and a newline
    "llava_onevision": Published(
        "LlavaOnevisionProcessor",
        ("LlavaOnevisionImageProcessorPil", {"image_grid_pinpoints": _grid(384, 6)}),
        size_of(384, 14, image_grid_pinpoints=_grid(384, 6)),
        {(384, 384): 729 + 27 * 28, LAPTOP: 729 + 40 * 55, WIDE: 729 + 27 * 55},
        options={"num_image_tokens": 729, "vision_feature_select_strategy": "full"},
    ),
    # 24 x 24 for the whole; 2 x 2 tiles of 24 x 24, unpadded to 36 rows of 48 and a newline
    "llava_next_video": Published(
        "LlavaNextVideoProcessor",
        (
            "LlavaNextImageProcessorPil",
            {"size": {"shortest_edge": 336}, "crop_size": 336, "image_grid_pinpoints": NEXT},
        ),
        size_of(336, 14, image_grid_pinpoints=NEXT),
        {(672, 672): 576 + 48 * 49, LAPTOP: 576 + 36 * 49, WIDE: 576 + 24 * 49},
        names={"image_token": "<image>", "video_token": "<video>"},
        options=LLAVA,
    ),
    "video_llava": Published(
        "VideoLlavaProcessor",
        ("VideoLlavaImageProcessor", {}),
        size_of(224, 14),
        {SQUARE: 256, LAPTOP: 256},
        options=LLAVA,
    ),
    # 256 for each of 1, 2 or 12 tiles, and for the view of the whole beside several
    "internvl": Published(
        "InternVLProcessor",
        ("GotOcr2ImageProcessorPil", {"size": {"height": 448, "width": 448}}),
        size_of(448, 14),
        {SQUARE: 256, WIDE: 256 * 3, LAPTOP: 256 * 13},
        ("<IMG_CONTEXT>", "<video>", "<img>", "</img>"),
        {
            "context_image_token": "<IMG_CONTEXT>",
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "video_token": "<video>",
        },
        prompt="<IMG_CONTEXT>",
    ),
    # 169 for each of 4 x 4, 4 x 2 or 4 x 3 tiles of 364 pixels, and for the view of the whole
    "idefics3": Published(
        "Idefics3Processor",
        ("Idefics3ImageProcessorPil", {}),
        size_of(364, 14),
        {SQUARE: 169 * 17, WIDE: 169 * 9, LAPTOP: 169 * 13},
        ("<image>", "<fake_token_around_image>", "<end_of_utterance>"),
    ),
    "gemma3": Published(
        "Gemma3Processor",
        ("Gemma3ImageProcessorPil", {"size": {"height": 896, "width": 896}}),
        size_of(896, 14, mm_tokens_per_image=256),
        {LAPTOP: 256},
        ("<image_soft_token>", "<start_of_image>", "<end_of_image>"),
        {
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        prompt="<start_of_image>",
    ),
    # at most 280 tokens of 48 x 48 pixels in the picture's shape
    "gemma4": Published(
        "Gemma4Processor",
        ("Gemma4ImageProcessorPil", {}),
        _gemma4,
        {SQUARE: 16 * 16, WIDE: 23 * 11, LAPTOP: 19 * 14},
        ("<image>", "<video>", "<boi>", "<eoi>", "<audio>", "<boa>", "<eoa>"),
        {
            "image_token": "<image>",
            "boi_token": "<boi>",
            "eoi_token": "<eoi>",
            "audio_token": "<audio>",
            "boa_token": "<boa>",
            "eoa_token": "<eoa>",
        },
    ),
}


def save(name: str, folder: Path) -> Path:
    """A tiny model with the published tower's geometry, its tokenizer and its processor."""
    published, case = PUBLISHED[name], MODELS[name]
    config = case.config()
    published.tower(config)
    config.text_config.max_position_embeddings = 8192
    build(type(case)(lambda: config, case.image)).save_pretrained(folder)

    kind, settings = published.pil
    getattr(hf, kind)(**settings).save_pretrained(folder)
    tokenizer_of(published).save_pretrained(folder)
    options = {"processor_class": published.processor, **published.options}
    (folder / "processor_config.json").write_text(json.dumps(options), encoding="utf-8")
    return folder


def tokenizer_of(published: Published) -> Any:
    """Numbered words, behind which the special tokens have ids of their own."""
    table = {f"w{number}": number for number in range(VOCAB)}
    for number, word in enumerate(published.words):
        del table[f"w{90 + number}"]
        table[word] = 90 + number
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel(table, unk_token="w4"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    rules.add_special_tokens(list(published.words))
    special = {"pad_token": "w0", "bos_token": "w1", "eos_token": "w3", "unk_token": "w4"}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=rules, extra_special_tokens=published.names, **special
    )
