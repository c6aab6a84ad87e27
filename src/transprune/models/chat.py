"""The model's inputs for a conversation: messages of several roles, with pictures among the text.

`prompt.py` prepares one question; here whole conversations go through the same chat template and
the same checks. A conversation of one question with its pictures in front gives the same prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from transprune.errors import CheckpointError, LayoutError
from transprune.models.checkpoint import Checkpoint
from transprune.models.prompt import chat_template, conversation_prompt, prepare_prompt, render

PICTURE = None  # stands for a picture among the parts of a turn


@dataclass(frozen=True)
class Turn:
    """One message.

    Attributes:
        role: `"system"`, `"user"` or `"assistant"`.
        parts: texts and pictures in the order they were written; `PICTURE` is a picture.
    """

    role: str
    parts: tuple[str | None, ...]

    @property
    def text(self) -> str:
        """All text of the message, a part per line."""
        return "\n".join(part for part in self.parts if part is not None)

    def to_message(self) -> dict[str, Any]:
        """The message as chat templates take it."""
        content = []
        for part in self.parts:
            is_text = part is not None
            content.append({"type": "text", "text": part} if is_text else {"type": "image"})
        return {"role": self.role, "content": content}


def prepare_chat(
    checkpoint: Checkpoint, turns: Sequence[Turn], pictures: Sequence[Image.Image]
) -> Any:
    """The model's inputs for a conversation, on the model's device.

    Raises:
        LayoutError: the chat template refuses these turns; a text is no text or names a picture's
            placeholder; the checkpoint has no template, so it takes one question only.
        ImageError: the processor refuses a picture.
        CheckpointError: the template leaves a picture out.
    """
    written = "\n".join(turn.text for turn in turns)
    messages = [turn.to_message() for turn in turns]
    try:
        prompt = conversation_prompt(checkpoint, messages, len(pictures))
    # one question was rendered when the server started, so it is these turns
    except CheckpointError as error:
        raise LayoutError(f"these messages do not fit the model: {error}") from error

    return prepare_prompt(checkpoint, prompt, written, pictures)


def knows_system(processor: Any) -> bool:
    """Whether the chat template has a place of its own for a system message."""
    if not chat_template(processor):
        return False

    mark = "obey"
    prompts = []
    # a template without that role may write it as if the model had said it
    for role in ("system", "assistant"):
        turns = (Turn(role, (mark,)), Turn("user", ("go",)))
        try:
            prompts.append(render(processor, [turn.to_message() for turn in turns]))
        except CheckpointError:
            prompts.append("")

    as_system, as_answer = prompts
    return mark in as_system and as_system != as_answer
