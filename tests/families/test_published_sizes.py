"""The number of visual tokens of a picture, with the true processors of published settings on a real picture.

Numbers by hand from the published rules: LLaVA's tiles are unpadded and end each row with a newline, InternVL's and
Idefics 3's tiles and their view of the whole are equally large, and Pixtral rounds each side up to whole tokens. The
processor's placeholders, the family and the model's own features must agree with them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers as hf
from PIL import Image

import transprune
from families.cases import MODELS, VOCAB, build
from families.listener import quick
from transprune import TransPrune, prune
from transprune.errors import MissingExtra
from transprune.families import find_family
from transprune.families.without_videos import load_with_or_without_videos
from transprune.models.checkpoint import load

PICTURES = Path(transprune.__file__).parent / "demo" / "pictures"
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


def _size(image: int, patch: int, **others: Any) -> Callable[[Any], None]:
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
        _size(384, 14, image_grid_pinpoints=_grid(384, 6)),
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
        _size(336, 14, image_grid_pinpoints=NEXT),
        {(672, 672): 576 + 48 * 49, LAPTOP: 576 + 36 * 49, WIDE: 576 + 24 * 49},
        names={"image_token": "<image>", "video_token": "<video>"},
        options=LLAVA,
    ),
    "video_llava": Published(
        "VideoLlavaProcessor",
        ("VideoLlavaImageProcessor", {}),
        _size(224, 14),
        {SQUARE: 256, LAPTOP: 256},
        options=LLAVA,
    ),
    # 256 for each of 1, 2 or 12 tiles, and for the view of the whole beside several
    "internvl": Published(
        "InternVLProcessor",
        ("GotOcr2ImageProcessorPil", {"size": {"height": 448, "width": 448}}),
        _size(448, 14),
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
        _size(364, 14),
        {SQUARE: 169 * 17, WIDE: 169 * 9, LAPTOP: 169 * 13},
        ("<image>", "<fake_token_around_image>", "<end_of_utterance>"),
    ),
    "gemma3": Published(
        "Gemma3Processor",
        ("Gemma3ImageProcessorPil", {"size": {"height": 896, "width": 896}}),
        _size(896, 14, mm_tokens_per_image=256),
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
HEAVY = 1000  # tokens from which on the tower takes its time
EACH = [
    pytest.param(
        name,
        size,
        marks=pytest.mark.slow if tokens > HEAVY else (),
        id=f"{name}-{size[0]}x{size[1]}",
    )
    for name, published in PUBLISHED.items()
    for size, tokens in published.tokens.items()
]


def save(name: str, folder: Path) -> Path:
    """A tiny model with the published tower's geometry, its tokenizer and its processor."""
    published, case = PUBLISHED[name], MODELS[name]
    config = case.config()
    published.tower(config)
    config.text_config.max_position_embeddings = 8192
    build(type(case)(lambda: config, case.image)).save_pretrained(folder)

    kind, settings = published.pil
    getattr(hf, kind)(**settings).save_pretrained(folder)
    _tokenizer(published).save_pretrained(folder)
    options = {"processor_class": published.processor, **published.options}
    (folder / "processor_config.json").write_text(json.dumps(options), encoding="utf-8")
    return folder


def _tokenizer(published: Published) -> Any:
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


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Model and processor of each family, loaded from a folder that is made once."""
    root = tmp_path_factory.mktemp("sizes")

    def opened(name: str) -> tuple[Any, Any]:
        try:
            getattr(hf, PUBLISHED[name].processor)
        except ModuleNotFoundError as missing:
            pytest.skip(f"this release of transformers has no such processor here: {missing}")
        # with all checks that processor and model fit each other
        checkpoint = load(save(name, root / name))
        return checkpoint.model, checkpoint.processor

    return cache(opened)


def photo(size: tuple[int, int]) -> Image.Image:
    return Image.open(PICTURES / "scene2.png").convert("RGB").resize(size)


def prepared(checkpoint: Any, name: str, size: tuple[int, int]) -> Any:
    """What the processor makes of a question about one picture."""
    text = f"w5 {PUBLISHED[name].prompt} w6 w7 w8"
    inputs = checkpoint[1](text=text, images=[photo(size)], return_tensors="pt")
    # the old name, which Video-LLaVA's processor still uses and its model does not
    takes = inspect.signature(type(checkpoint[0]).forward).parameters
    if "pixel_values_images" in inputs and "pixel_values" in takes:
        inputs["pixel_values"] = inputs.pop("pixel_values_images")
    return inputs


@pytest.mark.parametrize(("name", "size"), EACH)
def test_tokens_of_a_picture(checkpoints, name, size):
    checkpoint = checkpoints(name)
    inputs, expected = prepared(checkpoint, name, size), PUBLISHED[name].tokens[size]
    family, model = find_family(checkpoint[0]), checkpoint[0]
    base = family.base(model)
    assert int(family.visual_mask(base, inputs["input_ids"]).sum()) == expected
    assert sum(family.tokens_per_raw_image(base, dict(inputs), expected)) == expected

    keys = (
        "pixel_values",
        "pixel_values_images",
        "image_sizes",
        "image_position_ids",
        "batch_num_images",
    )
    given = {key: inputs[key] for key in (*keys, "pixel_attention_mask") if key in inputs}
    with torch.no_grad():
        features = base.get_image_features(**given, return_dict=True).pooler_output
    assert sum(len(rows) for rows in features) == expected


@pytest.mark.parametrize("name", quick(PUBLISHED, ["gemma4", "internvl", "llava_onevision"]))
def test_a_saved_checkpoint_answers_pruned(checkpoints, name):
    size = min(PUBLISHED[name].tokens, key=lambda size: PUBLISHED[name].tokens[size])
    model, inputs = checkpoints(name)[0], prepared(checkpoints(name), name, size)
    with prune(model, TransPrune({3: 0.5})) as session:
        run = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    tokens = PUBLISHED[name].tokens[size]
    assert run.shape[1] == inputs["input_ids"].shape[1] + 3
    assert session.trace.visual_tokens == (tokens,)
    assert abs(len(session.trace.stages[0].keep[0]) - tokens / 2) <= 1


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        pytest.param(SQUARE, 17, marks=pytest.mark.slow),
        (WIDE, 9),
        pytest.param(LAPTOP, 13, marks=pytest.mark.slow),
    ],
    ids=["square", "wide", "laptop"],
)
def test_tiles_of_smolvlm(zoo, size, tiles):
    """Its processor needs num2words, so only its image processor runs here: 64 tokens for each tile of 512 pixels."""
    longest = {"size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}
    pixels = hf.SmolVLMImageProcessorPil(**longest)([photo(size)], return_tensors="pt")
    assert pixels["pixel_values"].shape[:2] == (1, tiles)

    model = zoo.fresh("smolvlm")
    _size(512, 16, scale_factor=4)(model.config)
    lengths = find_family(model).tokens_per_image(model.model, dict(pixels), 64 * tiles)
    assert lengths == [64] * tiles


@pytest.mark.parametrize(
    ("size", "tokens"), [(SQUARE, 16 * 16), (WIDE, 23 * 12), (LAPTOP, 23 * 18), ((100, 30), 4 * 2)]
)
def test_pictures_of_mistral(zoo, size, tokens):
    """Its processor needs torchvision, so only the image processor runs here: sides are rounded up to 28 pixels."""
    processor = hf.PixtralImageProcessorPil(size={"longest_edge": 1540}, patch_size=28)
    inputs = processor([photo(size)], return_tensors="pt")
    model = zoo.fresh("mistral3")
    model.config.vision_config.patch_size = 14
    family = find_family(model)
    assert family.tokens_per_raw_image(model.model, dict(inputs), 0) == [tokens]
    grid = family.grid(model.config, inputs, 0, tokens, cropped=False)
    assert grid is not None and grid.cells == tokens
    assert (grid.columns > grid.rows) == (size[0] > size[1])


@pytest.mark.parametrize("name", ["internvl", "llava_onevision"])
def test_without_torchvision_the_processor_is_the_true_one_less_its_videos(checkpoints, name):
    processor = checkpoints(name)[1]
    assert isinstance(processor, getattr(hf, PUBLISHED[name].processor))
    assert processor.get_attributes()[:2] == ["image_processor", "tokenizer"]


def test_a_folder_without_an_image_processor(tmp_path):
    _tokenizer(PUBLISHED["internvl"]).save_pretrained(tmp_path)
    options = {"processor_class": "InternVLProcessor", "image_seq_length": 256}
    (tmp_path / "processor_config.json").write_text(json.dumps(options), encoding="utf-8")
    with pytest.raises((MissingExtra, OSError, ValueError)):
        load_with_or_without_videos(str(tmp_path), "InternVLProcessor")
