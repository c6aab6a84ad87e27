"""Conversations answered together, each as it would be alone."""

from __future__ import annotations

from collections.abc import Sequence

from transprune.integrations.messages import Conversation
from transprune.methods.common.method import Method
from transprune.models.checkpoint import Checkpoint
from transprune.models.together import Answers as Answers
from transprune.models.together import Generation as Generation
from transprune.models.together import generate_together
from transprune.session import prune


def answer_together(
    checkpoint: Checkpoint,
    conversations: Sequence[Conversation],
    method: Method | None,
    generation: Generation,
) -> Answers:
    """The answers to a batch of prompts that all have the same kinds of media.

    Args:
        checkpoint: the model.
        conversations: the prompts.
        method: what prunes; None is the unpruned model.
        generation: how answers are generated.

    Raises:
        LayoutError, ImageError: a prompt that the processor refuses.
        FamilyError: the model lacks what the method needs.
    """
    rows = [one.prepare(checkpoint) for one in conversations]
    session = None
    if method is not None:
        session = prune(checkpoint.model, method, text_tower=checkpoint.text_tower)
    return generate_together(checkpoint, rows, session, generation)
