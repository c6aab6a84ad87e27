"""LLaVA put together: the vision tower and the projector in front of the language model as it is.

The language model's weights and vocabulary stay untouched. Pictures stand where one of its reserved
tokens does, which text never contains; here it is called `<image>`.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from transprune.errors import CheckpointError
from transprune.smol.things import PATCH, SIDE
from transprune.smol.vision import GRID

RESERVED = "<empty_output>"  # the reserved token of SmolLM2 that pictures take the place of
IMAGE = "<image>"
EPSILON = 1e-5  # of the language model's norms; `nano.packed` computes with it
ANSWER = 24  # most tokens of an answer

# SmolLM2's own format; with a picture, the picture first and no system text
CHAT_TEMPLATE = (
    "{% set ns = namespace(image=false) %}"
    "{% for m in messages %}{% if m['content'] is not string %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}{% set ns.image = true %}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
    "{% for m in messages %}"
    "{% if loop.first and m['role'] != 'system' and not ns.image %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{% if part['type'] == 'image' %}{{ '<image>\n' }}{% endif %}"
    "{% endfor %}"
    "{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def assemble(language: Any, tower: Any, tokenizer: Any) -> LlavaForConditionalGeneration:
    """Put a LLaVA together; its projector is untrained.

    Args:
        language: a Llama-like causal language model; its weights are copied.
        tower: a CLIP vision tower, of `vision.new_tower`; its weights are copied.
        tokenizer: of `image_tokenizer`.

    Returns:
        The model in fp32, in evaluation mode; it answers greedily, with up to 24 tokens.

    Raises:
        CheckpointError: a language model whose norms have another epsilon.
    """
    text = language.config
    if abs(text.rms_norm_eps - EPSILON) > 1e-9:
        raise CheckpointError(
            f"expected a language model with rms_norm_eps {EPSILON}; got {text.rms_norm_eps}"
        )

    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )
    model: Any = LlavaForConditionalGeneration._from_config(config, dtype=torch.float32)

    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=ANSWER,
        do_sample=False,
    )
    return model.eval()


def image_tokenizer(tokenizer: Any) -> PreTrainedTokenizerFast:
    """The language model's tokenizer, in which a reserved token is called `<image>`.

    Ids stay as they are. Padding is on the left, as generation needs it.

    Raises:
        CheckpointError: the tokenizer has no such token.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    renamed = [token for token in content["added_tokens"] if token["content"] == RESERVED]
    if not renamed:
        raise CheckpointError(f"expected a tokenizer with the reserved token {RESERVED}")

    renamed[0]["content"] = IMAGE
    vocabulary = content["model"]["vocab"]
    if RESERVED in vocabulary:
        vocabulary[IMAGE] = vocabulary.pop(RESERVED)

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token,
        unk_token=tokenizer.unk_token,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        model_max_length=tokenizer.model_max_length,
        chat_template=CHAT_TEMPLATE,
    )


def new_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Make the processor, with the image processor that does not need torchvision."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,  # CLS, which the "default" strategy drops
        chat_template=CHAT_TEMPLATE,
    )
