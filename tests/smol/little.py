"""A little world without the emoji font and without photographs, and a little model: random weights."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from transprune.smol.architecture import RESERVED, assemble, image_tokenizer, new_processor
from transprune.smol.kinds import SIDE, SPLITS, Kinds
from transprune.smol.vision import TowerSizes, new_tower
from transprune.smol.world import World

PAINTS = {
    "red": (215, 30, 30),
    "orange": (245, 150, 20),
    "yellow": (250, 215, 40),
    "green": (40, 150, 60),
    "blue": (40, 90, 200),
    "purple": (130, 60, 180),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
SHAPES = ("ball", "box", "kite", "cross", "bar")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", RESERVED)
SIZES = TowerSizes(width=32, mlp=64, layers=2, heads=2)


@cache
def little_world() -> World:
    """Forty kinds, textures, one font."""
    names = []
    pictures = []
    for paint, color in PAINTS.items():
        for shape in SHAPES:
            names.append(f"{paint} {shape}")
            pictures.append(picture(shape, color))

    (folder,) = importlib.util.find_spec("matplotlib").submodule_search_locations
    font = str(Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans-Bold.ttf")
    return World(
        Kinds(tuple(names), np.stack(pictures)),
        {split: [] for split in SPLITS},
        dict.fromkeys(SPLITS, (font,)),
        "little",
    )


def picture(shape: str, color: tuple[int, int, int]) -> np.ndarray:
    canvas = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    fill = (*color, 255)
    last = SIDE - 1
    half = SIDE // 2
    if shape == "ball":
        draw.ellipse((0, 0, last, last), fill=fill)
    elif shape == "box":
        draw.rectangle((0, 0, last, last), fill=fill)
    elif shape == "kite":
        draw.polygon([(half, 0), (last, half), (half, last), (0, half)], fill=fill)
    elif shape == "cross":
        draw.rectangle((0, half - 20, last, half + 20), fill=fill)
        draw.rectangle((half - 20, 0, half + 20, last), fill=fill)
    else:
        draw.rectangle((0, half - 25, last, half + 25), fill=fill)
    return np.asarray(canvas)


def little_tokenizer() -> PreTrainedTokenizerFast:
    """As SmolLM2's: special tokens, then bytes; every character is a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[2],
        unk_token=SPECIAL[0],
    )


def little_language(layers: int = 4, seed: int = 0) -> LlamaForCausalLM:
    """Random weights in SmolLM2's arrangement."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(little_tokenizer()),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=3,
        num_key_value_heads=1,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def write_little_model(folder: Path, layers: int = 4) -> None:
    """A finished model as `transprune smol` leaves it, at home in `folder`."""
    tokenizer = image_tokenizer(little_tokenizer())
    torch.manual_seed(1)
    model = assemble(little_language(layers), new_tower(SIZES), tokenizer)
    model.to(torch.bfloat16).save_pretrained(folder / "model")
    new_processor(tokenizer).save_pretrained(folder / "model")
