"""The number of visual tokens of a picture, with the true processors of published settings on a real picture.

Numbers by hand from the published rules: LLaVA's tiles are unpadded and end each row with a newline, InternVL's and
Idefics 3's tiles and their view of the whole are equally large, and Pixtral rounds each side up to whole tokens. The
processor's placeholders, the family and the model's own features must agree with them.
"""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

import transprune
from families.listener import quick
from families.published import LAPTOP, PUBLISHED, SQUARE, WIDE, save, size_of, tokenizer_of
from transprune import TransPrune, prune
from transprune.errors import MissingExtra
from transprune.families import find_family
from transprune.families.without_videos import load_with_or_without_videos
from transprune.models.checkpoint import load

PICTURES = Path(transprune.__file__).parent / "demo" / "pictures"
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
    size_of(512, 16, scale_factor=4)(model.config)
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
    tokenizer_of(PUBLISHED["internvl"]).save_pretrained(tmp_path)
    options = {"processor_class": "InternVLProcessor", "image_seq_length": 256}
    (tmp_path / "processor_config.json").write_text(json.dumps(options), encoding="utf-8")
    with pytest.raises((MissingExtra, OSError, ValueError)):
        load_with_or_without_videos(str(tmp_path), "InternVLProcessor")
