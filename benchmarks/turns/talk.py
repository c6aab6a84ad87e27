"""A conversation about one picture with the bundled model."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from transprune.core.library import cache_argument, cache_of_output
from transprune.models.checkpoint import Checkpoint
from transprune.nano.scenes import Scene

NEW_TOKENS = 6  # the longest answer, and its end


class Talk:
    """Questions about one picture, each on the cache of those before it.

    Args:
        checkpoint: the model.
        scene: the picture.

    Attributes:
        seconds: CPU time of this thread from the last question to its first token.
    """

    def __init__(self, checkpoint: Checkpoint, scene: Scene) -> None:
        self._checkpoint = checkpoint
        self._scene = scene
        self._ids: Tensor | None = None  # of all turns so far
        self._cache: Any = None
        self.seconds = 0.0

    @torch.no_grad()
    def ask(self, question: str) -> str:
        """Put a question; returns the greedy answer."""
        inputs = self._first_turn(question) if self._ids is None else self._next_turn(question)
        start = time.thread_time()
        out = self._generate(inputs, 1)
        self.seconds = time.thread_time() - start

        asked = inputs["input_ids"].shape[1]
        if not self._ended(out.sequences):
            out = self._generate(_text(out.sequences), NEW_TOKENS - 1)
        self._ids = out.sequences
        answer = self._checkpoint.processor.decode(self._ids[0, asked:], skip_special_tokens=True)
        return str(answer).strip()

    def _first_turn(self, question: str) -> dict[str, Any]:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        processor = self._checkpoint.processor
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return dict(processor(images=self._scene.image(), text=prompt, return_tensors="pt"))

    def _next_turn(self, question: str) -> dict[str, Any]:
        processor = self._checkpoint.processor
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "text", "text": question}]}],
            add_generation_prompt=True,
        )
        new = processor.tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        assert self._ids is not None
        return _text(torch.cat([self._ids, new], dim=1))

    def _generate(self, inputs: dict[str, Any], tokens: int) -> Any:
        model = self._checkpoint.model
        given = {} if self._cache is None else cache_argument(model, self._cache)
        out = model.generate(
            **inputs,
            **given,
            max_new_tokens=tokens,
            do_sample=False,
            return_dict_in_generate=True,
        )
        self._cache = cache_of_output(out)
        return out

    def _ended(self, ids: Tensor) -> bool:
        return bool(ids[0, -1] == self._checkpoint.processor.tokenizer.eos_token_id)


def _text(ids: Tensor) -> dict[str, Any]:
    """Inputs of a call that brings no picture."""
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
