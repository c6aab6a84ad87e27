"""The body of a chat request: the fields of OpenAI's API that are answered here, and no others.

`fields.py` says what becomes of the others.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transprune.serve.fields import check_others
from transprune.serve.limits import Limits
from transprune.serve.refusal import Refusal

MOST_STOPS = 4


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Part):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImageUrl(_Part):
    """Where a picture is. `detail` is accepted; every picture has the model's own resolution."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Part):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(_Part):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None
    refusal: None = None

    @property
    def parts(self) -> list[TextPart | ImagePart]:
        """The content as parts."""
        if isinstance(self.content, str):
            return [TextPart(type="text", text=self.content)]
        return list(self.content)


class StreamOptions(_Part):
    """Options of a streamed answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(BaseModel):
    """A request to /v1/chat/completions.

    Attributes:
        model: a name of `/v1/models`.
        messages: the conversation, oldest first.
        pruning: a method of this server, or "unpruned"; not part of OpenAI's API, as all fields
            down to `reuse`.
        pruning_budget: the share of the unpruned prefill that the method is scaled to, in whole
            percents; None leaves it as it is offered.
        pruning_trace: whether the answer says what each stage kept, and of which place.
        reuse: False computes everything anew, whatever earlier requests have left.
        temperature: 0, and None, answer greedily.
        top_p, seed: only used with a temperature above 0.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    model: str
    messages: list[Message] = Field(min_length=1)
    pruning: str | None = None
    pruning_budget: float | None = Field(None, ge=0.01, le=0.99, allow_inf_nan=False)
    pruning_trace: bool | None = None
    reuse: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: str | list[str] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end an answer."""
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        """Whether a streamed answer ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def new_tokens(self, limits: Limits) -> int:
        """How long the answer may be: a bound above the server's own ends it there.

        As at OpenAI it is an upper bound, and `finish_reason` says "length" where it was reached.
        Clients send large ones (2,048, 4,096) whatever they need; a refusal would lose the answer.
        """
        asked = self.max_completion_tokens or self.max_tokens or limits.new_tokens
        return min(asked, limits.new_tokens)


def parse(body: bytes, limits: Limits) -> ChatRequest:
    """The request in a body.

    Raises:
        Refusal: no JSON, a field that is wrong, unknown or not supported, or a bound that is
            exceeded.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refuse(error) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the body cannot be read as JSON: {type(error).__name__}") from None

    check_others(request.model_extra or {}, list(ChatRequest.model_fields))
    _check_budget(request.pruning_budget)
    _check_sizes(request, limits)
    return request


def _refuse(error: ValidationError) -> Refusal:
    """A mistake by its place, without the value that was sent."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    # of the alternatives of a union, the one that fits farthest is what was meant
    first = max(errors, key=lambda mistake: len(mistake["loc"]))
    # names of the alternatives of a union are of no use to a client
    steps = [str(step) for step in first["loc"] if not str(step).startswith(("list[", "tagged"))]
    param = ".".join(step for step in steps if step not in ("str", "text", "image_url"))
    if first["type"] == "json_invalid":
        return Refusal(f"the body is no valid JSON: {first['msg']}", code="invalid_json")
    return Refusal(f"{param or 'the body'}: {first['msg']}", param=param or None)


def _check_budget(budget: float | None) -> None:
    """Refuse what is no whole percent: a server keeps the settings it has found for each."""
    if budget is not None and abs(100 * budget - round(100 * budget)) > 1e-6:
        raise Refusal(
            f"a budget has whole percents, as 0.41; got {budget!r}", param="pruning_budget"
        )


def _check_sizes(request: ChatRequest, limits: Limits) -> None:
    """Refuse what exceeds a bound of the server."""
    parts = [part for message in request.messages for part in message.parts]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    # looked at before anything is fetched, decoded or tokenised
    counts = {
        "messages": (len(request.messages), limits.messages, "messages"),
        "characters": (sum(map(len, texts)), limits.text_chars, "messages"),
        "pictures": (len(parts) - len(texts), limits.pictures, "messages"),
        "stop sequences": (len(request.stops), MOST_STOPS, "stop"),
        "characters of stop sequences": (sum(map(len, request.stops)), 1024, "stop"),
    }

    for what, (count, most, param) in counts.items():
        if count > most:
            raise Refusal(f"at most {most:,} {what}; got {count:,}", param=param, code="too_large")
    if "" in request.stops:
        raise Refusal("an empty stop sequence would end every answer", param="stop")
    if not any(text.strip() for text in texts):
        raise Refusal("the messages have no text; ask something", param="messages")
    if request.max_tokens and request.max_completion_tokens:
        raise Refusal("give max_tokens or max_completion_tokens, not both", param="max_tokens")
