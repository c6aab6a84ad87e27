"""The prompt for a question about pictures and videos: its text, and the model's inputs.

The processor's chat template makes the prompt; a processor without a template gets the plain prompt
of its family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from transprune.core.shown import shown
from transprune.errors import CheckpointError, ImageError, LayoutError, PruneError
from transprune.families import find_family
from transprune.families.base import PLAIN_PROMPT
from transprune.families.videos import let_read_videos
from transprune.models.checkpoint import Checkpoint
from transprune.models.source import first_line, locate
from transprune.video.clip import Clip


def build_prompt(
    processor: Any, question: str, images: int = 1, plain: str = PLAIN_PROMPT, videos: int = 0
) -> str:
    """The prompt for a question about so many pictures and videos, ready for `processor(text=)`.

    Raises:
        CheckpointError: the chat template is broken.
    """
    if not chat_template(processor):
        picture = getattr(processor, "image_token", "<image>")
        video = getattr(processor, "video_token", "<video>")
        media = f"{picture}\n" * images + f"{video}\n" * videos
        return plain.format(images=media, question=question)

    # what is shown comes first, as in the prompts the models were trained on
    shown_first = [{"type": "image"}] * images + [{"type": "video"}] * videos
    content = [*shown_first, {"type": "text", "text": question}]
    return render(processor, [{"role": "user", "content": content}])


def chat_template(processor: Any) -> str | None:
    """The template of a processor, or None; older checkpoints keep it in the tokenizer."""
    template = getattr(processor, "chat_template", None)
    return template or getattr(processor.tokenizer, "chat_template", None) or None


def render(processor: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    """The prompt that the chat template makes of messages, with the beginning of an answer.

    Raises:
        CheckpointError: the template cannot be used for them.
    """
    template = chat_template(processor)
    try:
        prompt = processor.apply_chat_template(
            list(messages), chat_template=template, add_generation_prompt=True, tokenize=False
        )
    # a template is a program: it may raise anything that Jinja can raise
    except Exception as error:
        raise CheckpointError(f"the processor's chat template cannot be used: {error}") from error

    assert isinstance(prompt, str)
    return prompt


def conversation_prompt(
    checkpoint: Checkpoint, messages: Sequence[Mapping[str, Any]], pictures: int, videos: int = 0
) -> str:
    """The prompt for messages with `role` and a list of parts as `content`.

    A processor without a chat template takes one message of a user, all media first.

    Raises:
        LayoutError: other messages, and no template.
        CheckpointError: the template cannot be used for them.
    """
    processor = checkpoint.processor
    if chat_template(processor):
        return render(processor, messages)

    if len(messages) != 1 or messages[0]["role"] != "user":
        raise LayoutError(
            f"{checkpoint.source} has no chat template, so it takes one message of role 'user'; "
            f"got {len(messages)} messages"
        )

    texts = [part["text"] for part in messages[0]["content"] if part["type"] == "text"]
    plain = find_family(checkpoint.model).plain_prompt
    return build_prompt(processor, "\n".join(texts), pictures, plain, videos)


def prepare(
    checkpoint: Checkpoint,
    pictures: Sequence[Image.Image],
    question: str,
    clips: Sequence[Clip] = (),
) -> Any:
    """The model's inputs for a question: token ids, pixels and masks, on the model's device.

    Pictures come first in the prompt, then videos, then the question.

    Raises:
        LayoutError: the question is no text; the model takes no videos; the prompt has another
            number of image placeholders than there are pictures, or of placeholder tokens than
            these pictures have visual tokens.
        ImageError: the processor refuses a picture or a video.
        CheckpointError: the chat template leaves out the pictures or videos.
        MissingExtra: videos of this model cannot be read without torchvision.
    """
    plain = find_family(checkpoint.model).plain_prompt
    prompt = build_prompt(checkpoint.processor, question, len(pictures), plain, len(clips))
    return prepare_prompt(checkpoint, prompt, question, pictures, clips)


def prepare_prompt(
    checkpoint: Checkpoint,
    prompt: str,
    question: str,
    pictures: Sequence[Image.Image],
    clips: Sequence[Clip] = (),
) -> Any:
    """The same for a finished prompt; `question` is all text in it that a user wrote.

    Raises:
        LayoutError, ImageError, CheckpointError, MissingExtra: as `prepare`.
    """
    if clips:
        _check_takes_videos(checkpoint)

    processor = checkpoint.processor
    _check_text(question)
    _check_placeholders(processor, prompt, question, len(pictures), "image")
    _check_placeholders(processor, prompt, question, len(clips), "video")
    videos = _video_options(checkpoint, clips) if clips else {}
    try:
        inputs = processor(
            text=prompt, images=list(pictures) or None, return_tensors="pt", **videos
        )
    except PruneError:
        raise
    # extreme shapes (thinner than a patch, an aspect ratio out of bounds) fail in many ways
    except Exception as error:
        shapes = [*pictures, *(clip.frames[0] for clip in clips)]
        sizes = ", ".join(f"{shape.width} x {shape.height}" for shape in shapes)
        raise ImageError(
            f"the processor of {checkpoint.source} refuses these pictures ({sizes}): "
            f"{first_line(error)}"
        ) from error

    _check_tokens(checkpoint, inputs)
    return inputs.to(checkpoint.model.device, checkpoint.model.dtype)


def takes_videos(checkpoint: Checkpoint) -> bool:
    """Whether a model has a placeholder for videos."""
    import torch

    family = find_family(checkpoint.model)
    base = family.base(checkpoint.model)
    no_ids = torch.zeros(1, 1, dtype=torch.long)
    return "video" in family.visual_masks(base, no_ids)


def _check_takes_videos(checkpoint: Checkpoint) -> None:
    """Raise for a model without a placeholder for videos."""
    if not takes_videos(checkpoint):
        title = find_family(checkpoint.model).title
        raise LayoutError(
            f"{checkpoint.source} ({title}) has no video token, so it takes pictures only; "
            "show it single frames as pictures"
        )


def _video_options(checkpoint: Checkpoint, clips: Sequence[Clip]) -> dict[str, Any]:
    """What a processor takes of videos whose frames have been chosen already."""
    from transformers.video_utils import VideoMetadata

    let_read_videos(
        checkpoint.processor, locate(checkpoint.source), checkpoint.model.config.model_type
    )
    metadata = []
    for clip in clips:
        indices = list(clip.indices)
        metadata.append(VideoMetadata(clip.total, clip.fps, frames_indices=indices))

    return {
        "videos": [clip.pixels for clip in clips],
        "video_metadata": metadata,
        "do_sample_frames": False,
    }


def _check_text(question: str) -> None:
    """Raise for bytes of a command line that are no text: no tokenizer takes them."""
    try:
        question.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LayoutError(
            f"the question {shown(question)} is no UTF-8 text; write it in UTF-8"
        ) from error


def _check_placeholders(
    processor: Any, prompt: str, question: str, expected: int, medium: str
) -> None:
    """Raise unless the prompt has one placeholder for each picture, or each video."""
    token = getattr(processor, f"{medium}_token", None)
    if not token or prompt.count(token) == expected:
        return

    media = "pictures" if medium == "image" else "videos"
    found = f"the prompt has {prompt.count(token)} {medium} placeholders for {expected} {media}"
    # the processor would expand it to the tokens of a picture
    if token in question:
        raise LayoutError(
            f"{found}; leave {token!r} out of the question, the {media} are put in front of it"
        )

    raise CheckpointError(
        f"{found}: the chat template of the processor has to write {token!r} once for every "
        f"content of type {medium!r}; correct chat_template.jinja, or fetch it again"
    )


def _check_tokens(checkpoint: Checkpoint, inputs: Any) -> None:
    """Raise where the prompt has no place for a visual token of these very pictures."""
    # `load` tried one picture; how many tokens a picture gets may depend on its shape
    placed = count_visual(checkpoint, inputs)
    made = sum(count_parts(checkpoint, inputs)) if placed else 0
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


def count_behind(checkpoint: Checkpoint, inputs: Any) -> int:
    """Number of tokens behind the last visual one of a prepared prompt; all without a picture."""
    family = find_family(checkpoint.model)
    base = family.base(checkpoint.model)
    places = family.visual_mask(base, inputs["input_ids"])[0].nonzero()  # bool [1, L] -> [N, 1]
    length = int(inputs["input_ids"].shape[1])
    return length - int(places[-1]) - 1 if len(places) else length


def count_images(checkpoint: Checkpoint, inputs: Any) -> list[int]:
    """Number of visual tokens of each image of a prepared prompt, in order."""
    family = find_family(checkpoint.model)
    base = family.base(checkpoint.model)
    return family.tokens_per_image(base, inputs, count_visual(checkpoint, inputs))


def count_parts(checkpoint: Checkpoint, inputs: Any) -> list[int]:
    """The same of each image, and then of each video."""
    family = find_family(checkpoint.model)
    base = family.base(checkpoint.model)
    counts = []
    for medium, mask in family.visual_masks(base, inputs["input_ids"]).items():
        placed = int(mask.sum())
        if placed:
            own = family.of_medium(medium, inputs)
            counts += family.tokens_per_image(base, own, placed)

    return counts
