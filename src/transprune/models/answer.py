"""Ask a model a question about pictures, pruned or not, and note what it took.

The prompt is made by the processor's chat template; a processor without one gets LLaVA-1.5's plain prompt. Answers are
greedy. The time to the first token and the total are read by a clock inside `generate`, so one run gives both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from transprune.cost.count import Convention, Cost
from transprune.cost.count import unpruned_cost as count_unpruned
from transprune.cost.geometry import Geometry
from transprune.errors import CheckpointError, ImageError, LayoutError
from transprune.families import find_family
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.models.clock import clock
from transprune.session import prune
from transprune.trace import Trace

PLAIN = "USER: {images}{question} ASSISTANT:"


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: what the model said.
        tokens: new tokens, the end-of-sequence token included.
        first_token: seconds until the first new token: vision tower, prefill and pruning.
        total: seconds of the whole `generate` call.
        trace: what was kept; None without a method.
    """

    text: str
    tokens: int
    first_token: float
    total: float
    trace: Trace | None = None

    @property
    def per_token(self) -> float | None:
        """Seconds per new token after the first; None if there was only one."""
        return (self.total - self.first_token) / (self.tokens - 1) if self.tokens > 1 else None


def build_prompt(processor: Any, question: str, images: int = 1) -> str:
    """The prompt for a question about `images` pictures, ready for `processor(text=..., images=...)`.

    Raises:
        CheckpointError: the chat template is broken.
    """
    template = getattr(processor, "chat_template", None) or getattr(
        processor.tokenizer, "chat_template", None
    )
    if not template:
        token = getattr(processor, "image_token", "<image>")
        return PLAIN.format(images=f"{token}\n" * images, question=question)
    content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    try:
        prompt = processor.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False
        )
    except Exception as error:  # templates are programs: they may raise whatever Jinja can
        raise CheckpointError(f"the processor's chat template cannot be used: {error}") from error
    assert isinstance(prompt, str)
    return prompt


def prepare(checkpoint: Checkpoint, pictures: Sequence[Image.Image], question: str) -> Any:
    """What the model takes: token ids, pixels, and what else its processor makes, on the model's device.

    Raises:
        LayoutError: prompt and pictures do not fit each other, or the prompt is longer than the model can read.
        ImageError: a picture the processor refuses.
    """
    processor, model = checkpoint.processor, checkpoint.model
    prompt = build_prompt(processor, question, len(pictures))
    token = getattr(processor, "image_token", None)
    if token and prompt.count(token) != len(pictures):
        raise LayoutError(
            f"the prompt has {prompt.count(token)} image placeholders for {len(pictures)} pictures; leave {token!r} "
            "out of the question, the pictures are put in front of it"
        )
    try:
        inputs = processor(text=prompt, images=list(pictures) or None, return_tensors="pt")
    except (ValueError, TypeError, IndexError) as error:
        sizes = ", ".join(f"{p.width} x {p.height}" for p in pictures)
        raise ImageError(
            f"the processor of {checkpoint.source} refuses these pictures ({sizes}): {error}"
        ) from error
    return inputs.to(model.device, model.dtype)


def ask(
    checkpoint: Checkpoint,
    inputs: Any,
    method: Method | str | None = None,
    max_new_tokens: int = 64,
) -> Answer:
    """The greedy answer to a prepared prompt, pruned by `method`; None runs the model as it is."""
    if method is None:
        return _generate(checkpoint, inputs, max_new_tokens)
    with prune(checkpoint.model, method, text_tower=checkpoint.text_tower) as session:
        answer = _generate(checkpoint, inputs, max_new_tokens)
    return Answer(answer.text, answer.tokens, answer.first_token, answer.total, session.trace)


def prefill_seconds(checkpoint: Checkpoint, inputs: Any) -> float:
    """Seconds of one plain forward over the prompt, a cache being filled."""
    start = clock(checkpoint.model.device)
    with torch.no_grad():
        checkpoint.model(**inputs, use_cache=True, logits_to_keep=1)
    return clock(checkpoint.model.device) - start


def count_visual(checkpoint: Checkpoint, inputs: Any) -> int:
    """Visual tokens of a prepared prompt."""
    family = find_family(checkpoint.model)
    return int(family.visual(family.base(checkpoint.model), inputs["input_ids"]).sum())


def count_images(checkpoint: Checkpoint, inputs: Any) -> list[int]:
    """Visual tokens of each image of a prepared prompt, in order."""
    family = find_family(checkpoint.model)
    return family.image_lengths(
        family.base(checkpoint.model), inputs, count_visual(checkpoint, inputs)
    )


def unpruned_cost(checkpoint: Checkpoint, inputs: Any, convention: Convention) -> Cost:
    """The cost of a prepared prompt without pruning."""
    visual = count_visual(checkpoint, inputs)
    geometry = Geometry.from_config(checkpoint.model.config)
    text = int(inputs["attention_mask"].sum()) - visual
    dtype_bytes = checkpoint.model.dtype.itemsize
    return count_unpruned(geometry, visual, text, convention, dtype_bytes)


def _generate(checkpoint: Checkpoint, inputs: Any, max_new_tokens: int) -> Answer:
    from transformers import StoppingCriteriaList

    first: list[float] = []
    start = clock(checkpoint.model.device)

    def note_first(ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """A stopping criterion that never stops; it notes when the first token is there."""
        if not first:
            first.append(clock(checkpoint.model.device))
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    with torch.no_grad():
        ids = checkpoint.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            stopping_criteria=StoppingCriteriaList([note_first]),
        )
    total = clock(checkpoint.model.device) - start
    new = ids[0, inputs["input_ids"].shape[1] :]
    text = checkpoint.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    return Answer(text, len(new), first[0] - start, total)
