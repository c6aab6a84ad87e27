"""The families under test: tiny random models of the true Hugging Face classes, and prompts that fit them.

Hidden size 64, 8 decoder layers, weights scaled up so that attention is far from uniform. To add a family, add a row to
`FAMILIES`: its configuration, and three images as its processor would hand them over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from torch import Tensor

PAD, IMAGE, VIDEO, VISION_START, VISION_END = 0, 90, 91, 92, 93
SPECIAL = [IMAGE, VIDEO, VISION_START, VISION_END]
VOCAB, LAYERS = 100, 8


@dataclass(frozen=True)
class Image:
    """One image: the visual tokens it becomes, and the model inputs that carry it (first dimension joins images)."""

    tokens: int
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Sample:
    """One prompt: token ids and the images in it, in order."""

    ids: tuple[int, ...]
    images: tuple[Image, ...] = ()

    @property
    def visual_tokens(self) -> int:
        return sum(image.tokens for image in self.images)


@dataclass(frozen=True)
class FamilyCase:
    """One family.

    Attributes:
        config: makes the tiny configuration.
        image: makes image number 0, 1 or 2; image 0 and 2 become equally many tokens, image 1 fewer.
        brackets: the chat template puts start and end tokens around an image.
        token_types: the processor also returns `mm_token_type_ids`.
        positions: the policies that have a definition; M-RoPE positions cannot be renumbered.
        clip: one layer of a CLIP tower becomes the features, and CLIP's text half lies beside the
            checkpoint.
        packing: how patches become tokens: `"patches"` one by one, `"tiles"` with newlines between
            their rows, `"merged"` four by four.
    """

    config: Callable[[], Any]
    image: Callable[[int], Image]
    brackets: bool = False
    token_types: bool = False
    positions: tuple[str, ...] = ("keep", "renumber")
    clip: bool = False
    packing: str = "patches"

    def sample(self, images: Sequence[int], text: Sequence[int], seed: int = 0) -> Sample:
        """Text, image, text, image, ..., text; `text` gives the number of words in each gap."""
        generator = torch.Generator().manual_seed(seed)
        pictures = tuple(self.image(number) for number in images)
        ids: list[int] = []
        for gap, words in enumerate(text):
            ids += torch.randint(5, 80, (words,), generator=generator).tolist()
            if gap < len(pictures):
                block = [IMAGE] * pictures[gap].tokens
                ids += [VISION_START, *block, VISION_END] if self.brackets else block
        return Sample(tuple(ids), pictures)

    def ragged(self) -> list[Sample]:
        """Two prompts of different length with different numbers of visual tokens; the second gets padded."""
        return [self.sample([0, 1], [3, 2, 6]), self.sample([1], [1, 4], seed=1)]

    def even(self) -> list[Sample]:
        """Two prompts of one shape: no padding."""
        return [self.sample([0], [3, 6]), self.sample([2], [3, 6], seed=1)]

    def level(self) -> list[Sample]:
        """Two prompts of one length with different numbers of visual tokens: ragged once pruned, but no padding."""
        long, short = self.sample([0, 1], [3, 2, 6]), self.sample([1], [1, 4], seed=1)
        return [long, self.sample([1], [1, 4 + len(long.ids) - len(short.ids)], seed=1)]

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Model inputs of a left-padded batch."""
        length = max(len(sample.ids) for sample in samples)
        ids = torch.tensor(
            [[PAD] * (length - len(sample.ids)) + list(sample.ids) for sample in samples]
        )
        inputs = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
        images = [image for sample in samples for image in sample.images]
        for key in images[0].tensors if images else ():
            inputs[key] = torch.cat([image.tensors[key] for image in images])
        if self.token_types:
            inputs["mm_token_type_ids"] = (ids == IMAGE).int()
        return inputs

    def text_turn(self, ids: Tensor) -> dict[str, Tensor]:
        """Inputs of a later turn that brings no image: all tokens so far and the new ones, as `generate` takes them."""
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return (
            {**inputs, "mm_token_type_ids": torch.zeros_like(ids).int()}
            if self.token_types
            else inputs
        )


def greedy(model: Any, inputs: dict[str, Tensor], steps: int = 9, **options: Any) -> Any:
    """Run `generate`; by default greedily, for the prefill and eight decode steps, with raw logits."""
    settings = {
        "max_new_tokens": steps,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    with torch.no_grad():
        return model.generate(**inputs, **{**settings, **options})


class Zoo:
    """Tiny models by family and attention, saved once and loaded back with `from_pretrained`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._loaded = folder, {}

    def __call__(self, name: str, attn: str = "eager") -> Any:
        """The shared model: loaded once."""
        if (name, attn) not in self._loaded:
            self._loaded[name, attn] = self.fresh(name, attn)
        return self._loaded[name, attn]

    def fresh(self, name: str, attn: str = "eager") -> Any:
        """A model of the caller's own."""
        path = self._folder / name
        if not path.exists():
            build(FAMILIES[name]).save_pretrained(path)
            if FAMILIES[name].clip:
                save_text_half(path)
        return transformers.AutoModelForImageTextToText.from_pretrained(
            path, attn_implementation=attn
        ).eval()


def build(case: FamilyCase) -> Any:
    """A random model of the family's class."""
    config = case.config()
    with torch.random.fork_rng():
        torch.manual_seed(0)  # for what is not set below: biases, the CLS and newline embeddings
        model = transformers.AutoModelForImageTextToText.from_config(config)
    generator = torch.Generator().manual_seed(7)
    with (
        torch.no_grad()
    ):  # default weights are so small that attention is uniform and every bug stays invisible
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.5 if "embed_tokens" in name else 0.12, generator=generator)
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = None
    model.generation_config.suppress_tokens = SPECIAL  # a random model samples the image id
    return model


def save_text_half(path: Path) -> None:
    """A tokenizer of numbered words for the model, and in `clip/` the text half of its vision tower's CLIP."""
    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    text |= {
        "vocab_size": VOCAB,
        "max_position_embeddings": 16,
        "bos_token_id": 1,
        "eos_token_id": 3,
    }
    config = transformers.CLIPConfig(text_config=text, vision_config=_clip(), projection_dim=32)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        clip = transformers.CLIPModel(config)
    clip.save_pretrained(path / "clip")
    words = {f"w{number}": number for number in range(VOCAB)}
    rules = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w4"))
    rules.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="w0", bos_token="w1", eos_token="w3", unk_token="w4"
    )
    for folder in (path, path / "clip"):
        tokenizer.save_pretrained(folder)


def _text(kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "model_type": kind,
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "pad_token_id": PAD,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **changes,
    }


def _clip() -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 28,
        "patch_size": 7,
        "projection_dim": 32,
    }


def _llava() -> Any:
    return transformers.LlavaConfig(
        vision_config=_clip(),
        text_config=_text("llama"),
        image_token_id=IMAGE,
        vision_feature_layer=-2,
    )


def _vipllava() -> Any:
    return transformers.VipLlavaConfig(
        vision_config=_clip(),
        text_config=_text("llama"),
        image_token_index=IMAGE,
        vision_feature_layers=[-2, -3, 1],
    )


def _llava_next() -> Any:
    return transformers.LlavaNextConfig(
        vision_config=_clip(),
        text_config=_text("llama"),
        image_token_id=IMAGE,
        image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]],
        vision_feature_layer=-2,
    )


def _qwen2_5_vl() -> Any:
    vision = {
        "depth": 4,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 64,
        "patch_size": 7,
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        "window_size": 28,
        "fullatt_block_indexes": [3],
        "in_channels": 3,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    text = _text("qwen2_5_vl_text", num_key_value_heads=2, rope_parameters=rope)
    return transformers.Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
    )


def _noise(number: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(100 + number))


def _llava_image(number: int) -> Image:
    return Image(16, {"pixel_values": _noise(number, 1, 3, 28, 28)})


def _llava_next_image(number: int) -> Image:
    # 16 for the overview; 8 x 8 patches of four tiles, unpadded to 6 x 8, or 4 x 8 of two; a newline for each row
    size, tokens = ([28, 56], 16 + 4 * 9) if number == 1 else ([42, 56], 16 + 6 * 9)
    return Image(
        tokens,
        {"pixel_values": _noise(number, 1, 5, 3, 28, 28), "image_sizes": torch.tensor([size])},
    )


def _qwen_image(number: int) -> Image:
    grid = torch.tensor([[1, 6, 8] if number == 1 else [1, 8, 8]])
    patches = int(grid.prod())
    return Image(
        patches // 4, {"pixel_values": _noise(number, patches, 3 * 7 * 7), "image_grid_thw": grid}
    )


def _llava_mistral() -> Any:
    text = _text("mistral", num_key_value_heads=2, sliding_window=12)
    return transformers.LlavaConfig(
        vision_config=_clip(), text_config=text, image_token_id=IMAGE, vision_feature_layer=-2
    )


# a language model that attends to the newest 12 tokens only
WINDOWED = FamilyCase(_llava_mistral, _llava_image)

FAMILIES = {
    "llava": FamilyCase(_llava, _llava_image, clip=True),
    "llava_next": FamilyCase(_llava_next, _llava_next_image, clip=True, packing="tiles"),
    "qwen2_5_vl": FamilyCase(
        _qwen2_5_vl,
        _qwen_image,
        brackets=True,
        token_types=True,
        positions=("keep",),
        packing="merged",
    ),
    "vipllava": FamilyCase(_vipllava, _llava_image),
}
