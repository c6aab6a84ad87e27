"""Answers in OpenAI's own types, so that their shape is the client's."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from openai.types import CompletionUsage, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from pydantic import BaseModel

from transprune.serve.job import Finished
from transprune.serve.usage import Usage

OWNER = "transprune"


class PruningUsage(BaseModel):
    """What pruning did to a request; `transprune.serve.usage.Usage` explains the fields."""

    method: str
    visual_tokens_before: int
    visual_tokens_after: int
    prefill_flops_share: float
    first_token_seconds: float
    queued_seconds: float
    total_seconds: float
    batch_size: int
    reused: str
    budget: float | None = None


class PrunedUsage(CompletionUsage):
    """OpenAI's usage with ours beside it."""

    pruning: PruningUsage


def to_usage(usage: Usage) -> PrunedUsage:
    """The bill as it is sent."""
    # a field that nobody set is not sent
    scaled = {} if usage.budget is None else {"budget": usage.budget}
    pruning = PruningUsage(
        method=usage.method,
        visual_tokens_before=usage.visual_before,
        visual_tokens_after=usage.visual_after,
        prefill_flops_share=round(usage.flops_share, 6),
        first_token_seconds=round(usage.first_token_seconds, 6),
        queued_seconds=round(usage.queued_seconds, 6),
        total_seconds=round(usage.total_seconds, 6),
        batch_size=usage.batch,
        reused=usage.reused,
        **scaled,
    )

    return PrunedUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.new_tokens,
        total_tokens=usage.prompt_tokens + usage.new_tokens,
        pruning=pruning,
    )


@dataclass(frozen=True)
class Completion:
    """Makes the parts of one answer, which share an id.

    Attributes:
        model: the name the client asked for.
        wants_usage: a stream ends with its usage.
    """

    model: str
    wants_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Finished) -> dict[str, Any]:
        """A whole answer."""
        message = ChatCompletionMessage(role="assistant", content=answer.text, refusal=None)
        choice = Choice(index=0, message=message, finish_reason=answer.reason, logprobs=None)
        completion = ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            object="chat.completion",
            choices=[choice],
        )

        # OpenAI's type would drop our part of the usage
        whole = {**_to_dict(completion), "usage": _to_dict(to_usage(answer.usage))}
        return whole | _kept(answer)

    def opening(self) -> dict[str, Any]:
        """The first part of a stream, which names the role."""
        return self._chunk(ChoiceDelta(role="assistant", content=""))

    def piece(self, text: str) -> dict[str, Any]:
        """A part with text."""
        return self._chunk(ChoiceDelta(content=text))

    def closing(self, answer: Finished) -> dict[str, Any]:
        """The part that says why the answer ends, and what was kept where that was asked for."""
        return self._chunk(ChoiceDelta(), answer.reason) | _kept(answer)

    def bill(self, answer: Finished) -> dict[str, Any]:
        """The last part of a stream that was asked to include its usage."""
        return {**_to_dict(self._make([])), "usage": _to_dict(to_usage(answer.usage))}

    def _chunk(self, delta: ChoiceDelta, reason: Any = None) -> dict[str, Any]:
        choice = ChunkChoice(index=0, delta=delta, finish_reason=reason, logprobs=None)
        part = _to_dict(self._make([choice]))
        # with its usage at the end, a stream has the field in every part
        return {**part, "usage": None} if self.wants_usage else part

    def _make(self, choices: list[ChunkChoice]) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            object="chat.completion.chunk",
            choices=choices,
        )


def _kept(answer: Finished) -> dict[str, Any]:
    """The field of what each stage kept; none where nobody asked."""
    return {} if answer.kept is None else {"pruning_trace": answer.kept}


def model_list(names: list[str], created: int) -> dict[str, Any]:
    """The models of /v1/models."""
    models = [Model(id=name, created=created, object="model", owned_by=OWNER) for name in names]
    return {"object": "list", "data": [_to_dict(model) for model in models]}


def _to_dict(value: BaseModel) -> dict[str, Any]:
    """As JSON, with the fields that were given."""
    return value.model_dump(mode="json", exclude_unset=True)
