"""The prompt for a question about pictures: its text, and the model's inputs.

The processor's chat template makes the prompt; a processor without a template gets the plain prompt
of its family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from transprune.core.shown import shown
from transprune.errors import CheckpointError, ImageError, LayoutError
from transprune.families import find_family
from transprune.families.base import PLAIN_PROMPT
from transprune.models.checkpoint import Checkpoint
from transprune.models.source import first_line


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
        LayoutError: the question is no text; the prompt has another number of image placeholders
            than there are pictures, or of placeholder tokens than these pictures have visual tokens.
        ImageError: the processor refuses a picture.
        CheckpointError: the chat template leaves out the pictures.
    """
    processor = checkpoint.processor
    plain = find_family(checkpoint.model).plain_prompt
    prompt = build_prompt(processor, question, len(pictures), plain)

    _check_text(question)
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


def _check_text(question: str) -> None:
    """Raise for bytes of a command line that are no text: no tokenizer takes them."""
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LayoutError(
            f"the question {shown(question)} is no UTF-8 text; write it in UTF-8"
        ) from error


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
