"""Qwen-VL and GLM-V with their true processors on real pictures, through saved folders.

Settings are those of the published `preprocessor_config.json` of Qwen2-VL, Qwen3-VL and Qwen3.5, and the defaults of
GLM's processor classes. The numbers of tokens follow from the published rule: both sides are rounded to a multiple of
one token's side, and a picture with more or fewer pixels than the limits is scaled to them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers as hf
from PIL import Image

import transprune
from families.cases import IMAGE, MODELS, VIDEO, VISION_END, VISION_START, VOCAB, build
from families.packed_towers import DENSE, quick
from transprune import TransPrune, VisionZip, prune
from transprune.families import find_family
from transprune.models.checkpoint import Checkpoint, load
from transprune.models.processor import load_processor

# GLM's processors of transformers read a tensor with np.array
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

DEMO = Path(transprune.__file__).parent / "demo"
OLD = {"min_pixels": 56 * 56, "max_pixels": 12845056, "patch_size": 14}
NEW = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16}
QWEN = {
    "<|image_pad|>": IMAGE,
    "<|video_pad|>": VIDEO,
    "<|vision_start|>": VISION_START,
    "<|vision_end|>": VISION_END,
}
GLM = {
    "<|image|>": IMAGE,
    "<|video|>": VIDEO,
    "<|begin_of_image|>": VISION_START,
    "<|end_of_image|>": VISION_END,
    "<|begin_of_video|>": 94,
    "<|end_of_video|>": 95,
}


@dataclass(frozen=True)
class Published:
    """Settings of the image processor, and tokens of pictures by width and height."""

    pil: str
    settings: dict[str, Any]
    words: dict[str, int]
    tokens: dict[tuple[int, int], int]


# 12845056 pixels are 16384 tokens of 28 x 28, and 16777216 are 16384 of 32 x 32
QWEN2 = Published(
    "Qwen2VLImageProcessorPil",
    OLD,
    QWEN,
    {
        (224, 224): 8 * 8,
        (640, 480): 23 * 17,
        (1008, 1008): 36 * 36,
        (480, 90): 17 * 3,
        (20, 20): 2 * 2,
    },
)
QWEN3 = Published(
    "Qwen2VLImageProcessorPil",
    NEW,
    QWEN,
    {
        (224, 224): 8 * 8,
        (640, 480): 20 * 15,
        (1024, 1024): 32 * 32,
        (480, 90): 19 * 4,
        (20, 20): 64,
    },
)
# the limits count the picture twice, as two frames: at least 6272 pixels
GLM4 = Published(
    "Glm4vImageProcessorPil",
    {},
    GLM,
    {(224, 224): 8 * 8, (640, 480): 23 * 17, (1008, 1008): 36 * 36, (480, 90): 17 * 3, (20, 20): 9},
)
PUBLISHED = {
    "glm46v": GLM4,
    "glm4v": GLM4,
    "glm4v_moe": GLM4,
    "qwen2_5_vl": QWEN2,
    "qwen2_vl": QWEN2,
    "qwen3_5": QWEN3,
    "qwen3_5_moe": QWEN3,
    "qwen3_vl": QWEN3,
    "qwen3_vl_moe": QWEN3,
}
LARGE = 1000  # pixels along a side from which on the tower takes its time
EACH = [
    pytest.param(
        name,
        size,
        marks=() if name in DENSE and max(size) < LARGE else pytest.mark.slow,
        id=f"{name}-{size[0]}x{size[1]}",
    )
    for name, published in PUBLISHED.items()
    for size in published.tokens
]


@cache
def photo() -> Image.Image:
    return Image.open(DEMO / "pictures" / "scene2.png").convert("RGB")


def save(name: str, folder: Path) -> Path:
    """A tiny model of the true patch size, its tokenizer and its image processor, as a checkpoint."""
    published, case = PUBLISHED[name], MODELS[name]
    config = case.config()
    config.vision_config.patch_size = published.settings.get("patch_size", 14)
    config.vision_config.temporal_patch_size = 2
    if hasattr(config.vision_config, "window_size"):
        config.vision_config.window_size = 112
    build(type(case)(lambda: config, case.image)).save_pretrained(folder)
    getattr(hf, published.pil)(**published.settings).save_pretrained(folder)

    token, _, start, end, *_ = published.words
    tokenizer = _tokenizer(published.words)
    tokenizer.chat_template = (
        "{% for m in messages %}w5 {% for c in m['content'] %}{% if c['type'] == 'image' %}"
        + start
        + token
        + end
        + "{% else %} {{ c['text'] }}{% endif %}{% endfor %} w6{% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(words: dict[str, int]) -> Any:
    """Numbered words, of which the special tokens take the numbers of the configuration."""
    names = {number: name for name, number in words.items()}
    table = {names.get(number, f"w{number}"): number for number in range(VOCAB)}
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel(table, unk_token="w4"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    rules.add_special_tokens(list(words))
    special = {"pad_token": "w0", "bos_token": "w1", "eos_token": "w3", "unk_token": "w4"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=rules, **special)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint folder per family, made once."""
    root = tmp_path_factory.mktemp("published")
    return cache(lambda name: save(name, root / name))


@pytest.fixture(scope="module")
def checkpoints(folders):
    return cache(lambda name: opened(name, folders(name)))


def opened(name: str, folder: Path) -> Checkpoint:
    """Loaded with all checks; GLM's without the one that takes its `image_size` for that of pictures."""
    if not name.startswith("glm"):
        return load(folder)
    model = hf.AutoModelForImageTextToText.from_pretrained(folder)
    return Checkpoint(str(folder), model, load_processor(folder, name), None)


def prepared(checkpoint: Any, *pictures: Image.Image) -> Any:
    """What the processor makes of a question about these pictures."""
    content = [{"type": "image"}] * len(pictures) + [{"type": "text", "text": "w7 w8 w9"}]
    processor = checkpoint.processor
    prompt = processor.apply_chat_template([{"role": "user", "content": content}])
    return processor(text=prompt, images=list(pictures), return_tensors="pt")


@pytest.mark.parametrize(("name", "size"), EACH)
def test_tokens_of_a_picture(checkpoints, name, size):
    """The rule, the placeholders of the processor, the family and the tower agree."""
    checkpoint = checkpoints(name)
    inputs = prepared(checkpoint, photo().resize(size))
    family, expected = find_family(checkpoint.model), PUBLISHED[name].tokens[size]
    base = family.base(checkpoint.model)
    grid = family.grid(base.config, inputs, 0, expected, cropped=False)

    assert int(family.visual_mask(base, inputs["input_ids"]).sum()) == expected
    assert family.tokens_per_raw_image(base, inputs, expected) == [expected]
    assert grid is not None and grid.cells == expected
    assert (grid.columns > grid.rows) == (size[0] > size[1])
    assert not family.has_fixed_size(base.config)
    with torch.no_grad():
        features = base.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
    assert [len(rows) for rows in features.pooler_output] == [expected]


@pytest.mark.parametrize("name", quick(PUBLISHED))
def test_a_saved_checkpoint_answers_pruned(checkpoints, name):
    """Two pictures of different size, through the processor, with and without signals of the tower."""
    checkpoint = checkpoints(name)
    sizes = [(224, 224), (480, 90)]
    inputs = prepared(checkpoint, *(photo().resize(size) for size in sizes))
    tokens = [PUBLISHED[name].tokens[size] for size in sizes]
    for method in (TransPrune({3: 0.5}), VisionZip(0.5)):
        with prune(checkpoint.model, method, pool="image") as session:
            run = checkpoint.model.generate(**inputs, max_new_tokens=3, do_sample=False)
        assert run.shape[1] == inputs["input_ids"].shape[1] + 3
        assert session.trace.visual_tokens == (sum(tokens),)
        kept = session.trace.stages[-1].keep[0]
        assert int((kept < tokens[0]).sum()) == tokens[0] // 2
        assert abs(int((kept >= tokens[0]).sum()) - tokens[1] / 2) <= 1


@pytest.mark.parametrize("name", quick(PUBLISHED))
def test_the_processor_reads_pictures_with_and_without_torchvision(checkpoints, name):
    """Without torchvision it is the true class less its videos, with the same token types."""
    processor = checkpoints(name).processor
    true = getattr(hf, find_family(checkpoints(name).model).processor)
    assert isinstance(processor, true)
    inputs = prepared(checkpoints(name), photo().resize((224, 224)))
    assert set(inputs) >= {"input_ids", "pixel_values", "image_grid_thw", "mm_token_type_ids"}
    visual = inputs["input_ids"] == IMAGE
    assert torch.equal(inputs["mm_token_type_ids"] == 1, visual)
    assert not (inputs["mm_token_type_ids"] == 2).any()
