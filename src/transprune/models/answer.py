"""Ask a model a question about pictures, pruned or not, and measure what the answer takes.

The processor's chat template makes the prompt; a processor without a template gets the plain prompt
of its family. Decoding is greedy. A stopping criterion reads the clock inside `generate`, so one run
gives both the time to the first token and the total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from transprune.cost.count import Convention, Cost
from transprune.cost.count import unpruned_cost as count_unpruned
from transprune.cost.geometry import Geometry
from transprune.errors import CheckpointError, ImageError, LayoutError
from transprune.families import find_family
from transprune.families.base import PLAIN_PROMPT
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.models.clock import clock
from transprune.models.source import first_line
from transprune.session import prune
from transprune.trace import Trace


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: the generated text, without special tokens.
        tokens: number of new tokens, the end-of-sequence token included.
        first_token: seconds until the first new token: vision tower, prefill and pruning.
        total: seconds of the whole `generate` call.
        trace: which tokens were kept; None without a method.
    """

    text: str
    tokens: int
    first_token: float
    total: float
    trace: Trace | None = None

    @property
    def per_token(self) -> float | None:
        """Seconds per new token after the first; None if there was only one."""
        if self.tokens < 2:
            return None
        return (self.total - self.first_token) / (self.tokens - 1)


def build_prompt(processor: Any, question: str, images: int = 1, plain: str = PLAIN_PROMPT) -> str:
    """The prompt for a question about `images` pictures, ready for `processor(text=, images=)`.

    Raises:
        CheckpointError: the chat template is broken.
    """
    # older checkpoints keep the template in the tokenizer
    template = getattr(processor, "chat_template", None)
    template = template or getattr(processor.tokenizer, "chat_template", None)
    if not template:
        token = getattr(processor, "image_token", "<image>")
        return plain.format(images=f"{token}\n" * images, question=question)

    # the pictures come first, as in the prompts the models were trained on
    content = [{"type": "image"}] * images + [{"type": "text", "text": question}]
    messages = [{"role": "user", "content": content}]
    try:
        prompt = processor.apply_chat_template(
            messages, chat_template=template, add_generation_prompt=True, tokenize=False
        )
    # a template is a program: it may raise anything that Jinja can raise
    except Exception as error:
        raise CheckpointError(f"the processor's chat template cannot be used: {error}") from error
    assert isinstance(prompt, str)
    return prompt


def prepare(checkpoint: Checkpoint, pictures: Sequence[Image.Image], question: str) -> Any:
    """The model's inputs for a question: token ids, pixels and masks, on the model's device.

    Raises:
        LayoutError: the prompt has another number of image placeholders than there are pictures,
            or of placeholder tokens than the model makes visual tokens of these pictures.
        ImageError: the processor refuses a picture.
        CheckpointError: the chat template leaves out the pictures.
    """
    processor = checkpoint.processor
    plain = find_family(checkpoint.model).plain_prompt
    prompt = build_prompt(processor, question, len(pictures), plain)

    _check_placeholders(processor, prompt, question, len(pictures))
    try:
        inputs = processor(text=prompt, images=list(pictures) or None, return_tensors="pt")
    # extreme shapes (thinner than a patch, an aspect ratio out of bounds) fail in many ways
    except Exception as error:
        sizes = ", ".join(f"{picture.width} x {picture.height}" for picture in pictures)
        raise ImageError(
            f"the processor of {checkpoint.source} refuses these pictures ({sizes}): "
            f"{first_line(error)}"
        ) from error

    _check_tokens(checkpoint, inputs)
    return inputs.to(checkpoint.model.device, checkpoint.model.dtype)


def _check_placeholders(processor: Any, prompt: str, question: str, pictures: int) -> None:
    """Raise unless the prompt has one image placeholder per picture."""
    token = getattr(processor, "image_token", None)
    if not token or prompt.count(token) == pictures:
        return

    found = f"the prompt has {prompt.count(token)} image placeholders for {pictures} pictures"
    # the processor would expand it to the tokens of a picture
    if token in question:
        raise LayoutError(
            f"{found}; leave {token!r} out of the question, the pictures are put in front of it"
        )
    raise CheckpointError(
        f"{found}: the chat template of the processor has to write {token!r} once for every "
        "content of type 'image'; correct chat_template.jinja, or fetch it again"
    )


def _check_tokens(checkpoint: Checkpoint, inputs: Any) -> None:
    """Raise where the prompt has no place for a visual token of these very pictures."""
    # `load` tried one picture; how many tokens a picture gets may depend on its shape
    placed = count_visual(checkpoint, inputs)
    made = sum(count_images(checkpoint, inputs)) if placed else 0
    if placed != made:
        raise LayoutError(
            f"the processor of {checkpoint.source} wrote {placed} placeholders for {made} visual "
            "tokens; compare the sizes in processor_config.json and preprocessor_config.json with "
            "config.json"
        )


def ask(
    checkpoint: Checkpoint,
    inputs: Any,
    method: Method | str | None = None,
    max_new_tokens: int = 64,
) -> Answer:
    """The greedy answer to a prepared prompt, pruned by `method`; None runs the model unpruned."""
    if method is None:
        return _generate(checkpoint, inputs, max_new_tokens)

    with prune(checkpoint.model, method, text_tower=checkpoint.text_tower) as session:
        answer = _generate(checkpoint, inputs, max_new_tokens)
    return replace(answer, trace=session.trace)


def prefill_seconds(checkpoint: Checkpoint, inputs: Any) -> float:
    """Seconds of one forward over the prompt that fills a cache and computes one row of logits."""
    device = checkpoint.model.device
    start = clock(device)
    with torch.no_grad():
        checkpoint.model(**inputs, use_cache=True, logits_to_keep=1)
    return clock(device) - start


def count_visual(checkpoint: Checkpoint, inputs: Any) -> int:
    """Number of visual tokens in a prepared prompt."""
    family = find_family(checkpoint.model)
    base = family.base(checkpoint.model)
    return int(family.visual_mask(base, inputs["input_ids"]).sum())


def count_images(checkpoint: Checkpoint, inputs: Any) -> list[int]:
    """Number of visual tokens of each image of a prepared prompt, in order."""
    family = find_family(checkpoint.model)
    base = family.base(checkpoint.model)
    return family.tokens_per_image(base, inputs, count_visual(checkpoint, inputs))


def unpruned_cost(checkpoint: Checkpoint, inputs: Any, convention: Convention) -> Cost:
    """The cost of a prepared prompt without pruning."""
    geometry = Geometry.from_config(checkpoint.model.config)
    visual = count_visual(checkpoint, inputs)
    text = int(inputs["attention_mask"].sum()) - visual
    dtype_bytes = checkpoint.model.dtype.itemsize
    return count_unpruned(geometry, visual, text, convention, dtype_bytes)


def _generate(checkpoint: Checkpoint, inputs: Any, max_new_tokens: int) -> Answer:
    from transformers import StoppingCriteriaList

    device = checkpoint.model.device
    first: list[float] = []  # the clock at the first new token

    def note_first_token(ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """A stopping criterion that never stops."""
        if not first:
            first.append(clock(device))
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    start = clock(device)
    with torch.no_grad():
        ids = checkpoint.model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            stopping_criteria=StoppingCriteriaList([note_first_token]),
        )
    total = clock(device) - start

    new = ids[0, inputs["input_ids"].shape[1] :]  # [1, L + new] -> [new]
    text = checkpoint.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    return Answer(text, len(new), first[0] - start, total)
