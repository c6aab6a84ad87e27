"""The text half of a CLIP: it embeds the question in the space of a LLaVA model's vision tower.

LLaVA checkpoints carry only the vision half. The text half is found in `clip/` beside the
checkpoint (the bundled model has it) or given: for LLaVA-1.5 and LLaVA-NeXT it is
openai/clip-vit-large-patch14-336.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transprune.core.rows import upload
from transprune.errors import MethodError, MissingSignal
from transprune.families.base import PLAIN_PROMPT

FOLDER = "clip"
MARK = "zyzzyva"  # stands for the question in a rendered template

# benchmarks append such sentences to a question, and CDPruner's code removes them
SUFFIXES = ("Answer the question using a single word or phrase.",)


class TextTower:
    """Embeds questions and patch states in CLIP's joint space.

    Args:
        clip: a transformers `CLIPModel`; its text tower, projections and last vision norm are used.
        tokenizer: CLIP's own.
        prompts: the tokenizer of the vision-language model, which turns prompt ids back into text.
            Its chat template, if it has one, says what is not part of the question.
    """

    def __init__(self, clip: Any, tokenizer: Any, prompts: Any) -> None:
        self.clip = clip.eval()
        self._tokenizer = tokenizer
        self._prompts = prompts
        self._head, self._tail = _template_words(prompts)

    @torch.no_grad()
    def embed_patches(self, states: Tensor) -> Tensor:
        """Embed patch states [N, V] as CLIP embeds its CLS state. -> float32 [N, P]."""
        clip = self.clip.to(states.device)
        projection = clip.visual_projection
        # the text tower is kept in fp32, the model may be bf16
        states = states.detach().to(projection.weight.dtype)
        embedded: Tensor = projection(clip.vision_model.post_layernorm(states))
        return embedded.float()

    @torch.no_grad()
    def embed_question(
        self, instruction: Tensor, prompt: Tensor, device: torch.device | None = None
    ) -> Tensor:
        """Embed the question, one row per segment that fits the tower. -> float32 [M, P].

        Args:
            instruction: ids of the text behind the last image, long [T].
            prompt: ids of all text, for prompts whose question comes before the image, long [L].
            device: where to embed; by default that of `instruction`.
        """
        text = self.read(instruction, prompt)
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]

        # two places are taken by the begin and end tokens
        room = self.clip.config.text_config.max_position_embeddings - 2
        segments = [ids[start : start + room] for start in range(0, len(ids), room)]
        begin = self._tokenizer.bos_token_id
        end = self._tokenizer.eos_token_id

        device = instruction.device if device is None else device
        clip = self.clip.to(device)
        embedded = []
        for segment in segments or [[]]:  # an empty question still gives one row
            row = upload(np.array([[begin, *segment, end]], dtype=np.int64), device)
            embedded.append(clip.get_text_features(row, return_dict=True).pooler_output)

        return torch.cat(embedded).float()

    def read(self, instruction: Tensor, prompt: Tensor) -> str:
        """The question as text, without the chat template around it."""
        for ids in (instruction, prompt):
            words = self._prompts.decode(ids.tolist(), skip_special_tokens=True).split()
            words = _without(words, self._head, self._tail)
            for suffix in SUFFIXES:
                words = _without(words, [], suffix.split())
            if words:
                return " ".join(words)

        return ""


def find_text_tower(
    given: TextTower | str | os.PathLike[str] | None, base: Any, config: Any
) -> TextTower:
    """The text tower of a model: the given one, or the one beside its checkpoint.

    Args:
        given: a TextTower, a folder or hub id of a CLIPModel with its tokenizer, or None to look
            beside the checkpoint.
        base: the model's inner module; its `config` is that of the whole model.
        config: of the model; names the folder it was loaded from.

    Raises:
        MethodError: `given` is something else.
        MissingSignal: none was found, or one of another CLIP than the model's vision tower.
    """
    if isinstance(given, TextTower):
        tower = given
    elif given is not None and not isinstance(given, (str, os.PathLike)):
        raise MethodError(
            "text_tower is a TextTower, a folder or a hub id; got a " + type(given).__name__
        )
    else:
        tower = _load_for(given, str(getattr(config, "_name_or_path", "")))

    # another CLIP embeds into another space, and the cosines would mean nothing
    theirs = tower.clip.config.vision_config
    ours = base.config.vision_config
    if (theirs.hidden_size, theirs.num_hidden_layers) != (ours.hidden_size, ours.num_hidden_layers):
        raise MissingSignal(
            f"the text tower belongs to a CLIP of width {theirs.hidden_size} with "
            f"{theirs.num_hidden_layers} layers, but this model's vision tower has width "
            f"{ours.hidden_size} and {ours.num_hidden_layers}: give its own"
        )

    return tower


def _load_for(given: str | os.PathLike[str] | None, checkpoint: str) -> TextTower:
    """The tower at `given`, or in the folder beside `checkpoint`."""
    source = os.fspath(given) if given is not None else str(Path(checkpoint) / FOLDER)
    beside = bool(checkpoint) and Path(source).is_dir()
    if given is None and not beside:
        raise MissingSignal(
            "this method compares patches with the question in CLIP's space, but the checkpoint "
            "holds only the vision half of its CLIP. Give the other half: "
            "prune(model, method, text_tower=...) or --text-tower, which for LLaVA-1.5 and "
            "LLaVA-NeXT is 'openai/clip-vit-large-patch14-336'; or "
            f"put a CLIPModel with its tokenizer into {FOLDER}/ beside the weights; or do without: "
            "relevance=embedding of the method"
        )

    try:
        return _load(source, checkpoint)
    except (OSError, ValueError) as error:
        raise MissingSignal(
            f"the text tower {source!r} or the tokenizer of {checkpoint!r} cannot be loaded: "
            f"{error}. Pass a TextTower(clip, tokenizer, prompts) made of loaded ones."
        ) from error


# sessions are made anew for each method, and loading takes seconds
@lru_cache(maxsize=2)
def _load(source: str, checkpoint: str) -> TextTower:
    from transformers import AutoTokenizer, CLIPModel

    clip = CLIPModel.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    return TextTower(clip, tokenizer, AutoTokenizer.from_pretrained(checkpoint))


def _template_words(prompts: Any) -> tuple[list[str], list[str]]:
    """Words that the chat template puts in front of a question and behind it."""
    # rendered once with a word that no template contains, then cut at that word
    text = PLAIN_PROMPT.format(images="", question=MARK)
    if getattr(prompts, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": MARK}]
        message = [{"role": "user", "content": content}]
        text = prompts.apply_chat_template(message, add_generation_prompt=True, tokenize=False)

    head, _, tail = str(text).partition(MARK)
    return _plain_words(prompts, head), _plain_words(prompts, tail)


def _plain_words(prompts: Any, text: str) -> list[str]:
    """The words of a piece of a template as decoding gives them, without special tokens."""
    ids = prompts(text, add_special_tokens=False)["input_ids"]
    plain: str = prompts.decode(ids, skip_special_tokens=True)
    return plain.replace("<image>", " ").split()


def _without(words: Sequence[str], head: Sequence[str], tail: Sequence[str]) -> list[str]:
    """`words` without `head` at their beginning and `tail` at their end, if they are there."""
    words = list(words)
    if tail and words[len(words) - len(tail) :] == list(tail):
        words = words[: len(words) - len(tail)]
    if head and words[: len(head)] == list(head):
        words = words[len(head) :]
    return words
