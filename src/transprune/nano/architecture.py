"""The parts of the bundled model, untrained, as true Hugging Face classes: LLaVA, CLIP, processor.

96 x 96 pixels in patches of 8 make 12 x 12 visual tokens; a Llama of 16 narrow layers answers in
one word. Everything here is made from configuration classes, so the trained model is exactly the
one that `from_pretrained` loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from transprune.nano.scenes import GRID, PATCH, SIDE
from transprune.nano.words import BOS, EOS, IDS, IMAGE, PAD, SPECIAL, WORDS

CAPTION = 40  # tokens of the longest caption
HEAD_WIDTH = 32  # of every attention head

# LLaVA-1.5's conversation format, with one image token per picture in front of the text
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %} "
    "{% else %}ASSISTANT: "
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}</s>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True)
class Sizes:
    """Widths and depths. Defaults: the bundled model.

    Attributes:
        width: of vision tower, projector and language model; a multiple of 32, the head width.
        mlp: hidden width of their MLPs.
        vision_layers, text_layers, layers: of the vision tower, of CLIP's text tower and of the
            language model.
    """

    width: int = 128
    mlp: int = 384
    vision_layers: int = 6
    text_layers: int = 2
    layers: int = 16

    @property
    def heads(self) -> int:
        """Attention heads of every part."""
        return self.width // HEAD_WIDTH


def clip_config(sizes: Sizes) -> CLIPConfig:
    """Configure a CLIP whose vision half is LLaVA's tower."""
    vision = CLIPVisionConfig(
        hidden_size=sizes.width,
        intermediate_size=sizes.mlp,
        num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.heads,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=sizes.width,
        hidden_act="quick_gelu",
    )

    # captions are short, so the text half can be small
    text = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=sizes.width,
        intermediate_size=2 * sizes.width,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.heads,
        max_position_embeddings=CAPTION,
        projection_dim=sizes.width,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )

    return CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=sizes.width
    )


def llava_config(sizes: Sizes) -> LlavaConfig:
    """Configure a LLaVA as LLaVA-1.5 is: features of the last layer but one, without CLS."""
    text = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=sizes.width,
        intermediate_size=sizes.mlp,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        tie_word_embeddings=False,
    )

    return LlavaConfig(
        vision_config=clip_config(sizes).vision_config,
        text_config=text,
        image_token_index=IMAGE,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=False,
    )


def new_clip(sizes: Sizes) -> CLIPModel:
    """Make an untrained CLIP; its attention is eager, which trains faster here on a CPU."""
    return CLIPModel._from_config(
        clip_config(sizes), attn_implementation="eager", dtype=torch.float32
    )


def new_llava(sizes: Sizes) -> LlavaForConditionalGeneration:
    """Make an untrained LLaVA that decodes greedily, up to eight words."""
    model: Any = LlavaForConditionalGeneration._from_config(
        llava_config(sizes), dtype=torch.float32
    )
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, max_new_tokens=8, do_sample=False
    )
    return model


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Make the word-level tokenizer; `?`, `,` and `.` are words too, and `<s>` comes first."""
    tokenizer = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))

    # a word in front of a comma is the same word
    marks = pre_tokenizers.Split(Regex(r"[?,.]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), marks])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    # the checkpoint knows these by number
    assert [tokenizer.token_to_id(word) for word in SPECIAL] == list(range(len(SPECIAL)))

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        model_max_length=512,
    )


def new_processor() -> LlavaProcessor:
    """Make the processor, with the image processor that does not need torchvision."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=new_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,  # CLS, which the "default" strategy drops
        chat_template=CHAT_TEMPLATE,
    )


def save(model: LlavaForConditionalGeneration, clip: CLIPModel, folder: Path) -> None:
    """Write a checkpoint in bf16: model and processor, and CLIP with its tokenizer in `clip/`."""
    for part, where in ((model, folder), (clip, folder / "clip")):
        half = {}
        for name, value in part.state_dict().items():
            half[name] = value.to(torch.bfloat16).contiguous()

        # only the file is bf16; the model in memory keeps its own dtype
        config = part.config
        config.dtype = torch.bfloat16
        part.save_pretrained(where, state_dict=half)

    processor = new_processor()
    processor.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder / "clip")
