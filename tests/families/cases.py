"""The families under test: tiny random models of the true Hugging Face classes, and prompts that fit them.

Hidden size 64, 8 decoder layers, weights scaled up so that attention is far from uniform. To add a family, add a row to
`CASES` of a file in `models/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from torch import Tensor

from families.case import IMAGE as IMAGE
from families.case import LAYERS as LAYERS
from families.case import PAD as PAD
from families.case import SPECIAL as SPECIAL
from families.case import VIDEO as VIDEO
from families.case import VISION_END as VISION_END
from families.case import VISION_START as VISION_START
from families.case import VOCAB as VOCAB
from families.case import FamilyCase as FamilyCase
from families.case import Image as Image
from families.case import Sample as Sample
from families.case import clip_config
from families.models import embedded, glm, llava, merged, onevision, patches, qwen
from families.models.llava import WINDOWED as WINDOWED

# all tests run on these; every further family has the contracts of `tests/families` in the suite, and
# everything else in `make test-all`
FAMILIES = {
    "llava": llava.CASES["llava"],
    "llava_next": llava.CASES["llava_next"],
    "qwen2_5_vl": qwen.CASES["qwen2_5_vl"],
    "vipllava": llava.CASES["vipllava"],
}
MODELS = {
    **embedded.CASES,
    **glm.CASES,
    **llava.CASES,
    **merged.CASES,
    **onevision.CASES,
    **patches.CASES,
    **qwen.CASES,
}


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
            build(MODELS[name]).save_pretrained(path)
            if MODELS[name].clip:
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
            elif name.endswith("A_log"):  # slow decay: else a recurrent layer forgets at once
                parameter.uniform_(-4, -1, generator=generator)
            elif name.endswith("dt_bias"):
                parameter.normal_(0, 0.5, generator=generator)
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
    config = transformers.CLIPConfig(
        text_config=text, vision_config=clip_config(), projection_dim=32
    )
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
