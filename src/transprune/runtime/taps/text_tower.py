"""The text half of a CLIP: it puts the question into the space in which a LLaVA model's vision tower sees.

LLaVA checkpoints carry only the vision half. The text half is looked for in `clip/` beside the checkpoint (the bundled
model has it) or given: for LLaVA-1.5 and LLaVA-NeXT it is that of openai/clip-vit-large-patch14-336.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transprune.errors import MissingSignal

FOLDER = "clip"
PLAIN = (
    "USER: {image}\n{question} ASSISTANT:"  # LLaVA-1.5's, where a checkpoint has no chat template
)
SUFFIXES = (
    "Answer the question using a single word or phrase.",
)  # benchmarks append it; CDPruner's code removes it
MARK = "zyzzyva"  # stands for the question in a rendered template


class TextTower:
    """Embeds questions and patch states in CLIP's joint space.

    Args:
        clip: a transformers `CLIPModel`; its text tower, projections and last vision norm are used.
        tokenizer: CLIP's own.
        prompts: the tokenizer of the vision-language model, which turns prompt ids back into text; its chat template,
            if it has one, says what is not part of the question.
    """

    def __init__(self, clip: Any, tokenizer: Any, prompts: Any) -> None:
        self.clip, self._tokenizer, self._prompts = clip.eval(), tokenizer, prompts
        self._head, self._tail = _wrapper(prompts)

    @torch.no_grad()
    def embed_patches(self, states: Tensor) -> Tensor:
        """Patch states of the vision tower, [N, V], as its CLS state would be embedded. -> float32 [N, P]."""
        clip = self._on(states)
        projection = clip.visual_projection
        normed = clip.vision_model.post_layernorm(states.detach().to(projection.weight.dtype))
        return projection(normed).float()

    @torch.no_grad()
    def embed_question(self, instruction: Tensor, prompt: Tensor) -> Tensor:
        """The question in the prompt. -> float32 [M, P], one row per segment that fits the text tower.

        Args:
            instruction: ids of the text behind the last image, long [T].
            prompt: ids of all text, for prompts whose question comes before the image, long [L].
        """
        ids = self._tokenizer(self.read(instruction, prompt), add_special_tokens=False)["input_ids"]
        room = self.clip.config.text_config.max_position_embeddings - 2
        segments = [ids[start : start + room] for start in range(0, len(ids), room)] or [[]]
        begin, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        clip = self._on(instruction)
        rows = [
            torch.tensor([[begin, *segment, end]], device=instruction.device)
            for segment in segments
        ]
        return torch.cat(
            [clip.get_text_features(row, return_dict=True).pooler_output for row in rows]
        ).float()

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

    def _on(self, like: Tensor) -> Any:
        return self.clip.to(like.device)


def find_text_tower(
    given: TextTower | str | os.PathLike[str] | None, base: Any, config: Any
) -> TextTower:
    """The text tower of a model: the given one, or the one beside its checkpoint.

    Args:
        given: a TextTower, a folder or hub id of a CLIPModel with its tokenizer, or None to look beside the checkpoint.
        base: the model's inner module; its `config` is that of the whole.
        config: of the model; names the folder it was loaded from.

    Raises:
        MissingSignal: none to be found, or one of another CLIP than the model's vision tower.
    """
    tower = (
        given
        if isinstance(given, TextTower)
        else _load_for(given, str(getattr(config, "_name_or_path", "")))
    )
    theirs, ours = tower.clip.config.vision_config, base.config.vision_config
    if (theirs.hidden_size, theirs.num_hidden_layers) != (ours.hidden_size, ours.num_hidden_layers):
        raise MissingSignal(
            f"the text tower belongs to a CLIP of width {theirs.hidden_size} with {theirs.num_hidden_layers} layers, "
            f"but this model's vision tower has width {ours.hidden_size} and {ours.num_hidden_layers}: give its own"
        )
    return tower


def _load_for(given: str | os.PathLike[str] | None, home: str) -> TextTower:
    source = os.fspath(given) if given is not None else str(Path(home) / FOLDER)
    if given is None and not (home and Path(source).is_dir()):
        raise MissingSignal(
            "this method compares patches with the question in CLIP's space, but the checkpoint holds only the vision "
            "half of its CLIP. Give the other half: prune(model, method, text_tower=...) or --text-tower, which for "
            "LLaVA-1.5 and LLaVA-NeXT is 'openai/clip-vit-large-patch14-336'; or put a CLIPModel with its tokenizer "
            f"into {FOLDER}/ beside the weights; or do without: cdpruner:relevance=embedding"
        )
    try:
        return _load(source, home)
    except (OSError, ValueError) as error:
        raise MissingSignal(
            f"the text tower {source!r} or the tokenizer of {home!r} cannot be loaded: {error}. Pass a "
            "transprune.runtime.taps.text_tower.TextTower(clip, tokenizer, prompts) made of loaded ones."
        ) from error


@lru_cache(maxsize=2)
def _load(source: str, home: str) -> TextTower:
    from transformers import AutoTokenizer, CLIPModel

    clip = CLIPModel.from_pretrained(source, dtype=torch.float32)
    return TextTower(
        clip, AutoTokenizer.from_pretrained(source), AutoTokenizer.from_pretrained(home)
    )


def _wrapper(prompts: Any) -> tuple[list[str], list[str]]:
    """Words that the chat template puts in front of a question and behind it."""
    text = PLAIN.format(image="", question=MARK)
    if getattr(prompts, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": MARK}]
        message = [{"role": "user", "content": content}]
        text = str(prompts.apply_chat_template(message, add_generation_prompt=True, tokenize=False))
    head, _, tail = text.partition(MARK)
    return _plain(prompts, head), _plain(prompts, tail)


def _plain(prompts: Any, text: str) -> list[str]:
    """The words of a piece of a template as decoding a prompt would give them, without special tokens."""
    ids = prompts(text, add_special_tokens=False)["input_ids"]
    words: list[str] = prompts.decode(ids, skip_special_tokens=True).replace("<image>", " ").split()
    return words


def _without(words: Sequence[str], head: Sequence[str], tail: Sequence[str]) -> list[str]:
    words = list(words)
    if tail and words[len(words) - len(tail) :] == list(tail):
        words = words[: len(words) - len(tail)]
    if head and words[: len(head)] == list(head):
        words = words[len(head) :]
    return words
