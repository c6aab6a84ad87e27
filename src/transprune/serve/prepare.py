"""From a checked request to a job: decode its pictures and make the model's inputs.

This runs in one thread of its own, beside the one that runs the model: tokenizers and image
processors serve one thread at a time.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from transprune.errors import ImageError, LayoutError
from transprune.models.chat import PICTURE, Turn, knows_system, prepare_chat
from transprune.models.checkpoint import Checkpoint
from transprune.models.context import context_of
from transprune.models.prompt import count_behind, count_visual
from transprune.serve.budgets import Counts
from transprune.serve.job import Sampling
from transprune.serve.limits import Limits
from transprune.serve.pictures import decode_data_url, read_picture
from transprune.serve.refusal import Refusal
from transprune.serve.request import ChatRequest, ImagePart, TextPart


@dataclass(frozen=True)
class Source:
    """Where a picture of a request is.

    Attributes:
        url: a data URL or an address.
        param: the field it stands in.
    """

    url: str
    param: str

    @property
    def is_data(self) -> bool:
        """Whether the picture itself is in the URL."""
        return self.url[:5].lower() == "data:"


@dataclass(frozen=True)
class Prepared:
    """The inputs of a request.

    Attributes:
        inputs: of the model, one sample.
        pictures: hash of the file of each picture.
        visual: visual tokens.
        behind: tokens behind the last visual one; all of them without a picture.
        new_tokens: the longest answer that fits.
    """

    inputs: dict[str, Tensor]
    pictures: tuple[str, ...]
    visual: int
    behind: int
    new_tokens: int

    @property
    def counts(self) -> Counts:
        """Its tokens by kind."""
        length = int(self.inputs["input_ids"].shape[1])
        return Counts(self.visual, length - self.visual, self.behind)


def sources(request: ChatRequest) -> list[Source]:
    """The pictures of a request, in order."""
    found = []
    for i, message in enumerate(request.messages):
        for k, part in enumerate(message.parts):
            if isinstance(part, ImagePart):
                param = f"messages.{i}.content.{k}.image_url"
                found.append(Source(part.image_url.url, param))
    return found


def sampling(request: ChatRequest) -> Sampling:
    """How the tokens of an answer are chosen; without a seed one is drawn, and used again if the
    answer has to be computed a second time.
    """
    seed = secrets.randbits(63) if request.seed is None else request.seed
    top_p = 1.0 if request.top_p is None else request.top_p
    return Sampling(request.temperature or 0.0, top_p, seed)


class Preparer:
    """Prepares requests for one model.

    Raises:
        CheckpointError: the chat template cannot be used at all.
    """

    def __init__(self, checkpoint: Checkpoint, limits: Limits) -> None:
        self._checkpoint = checkpoint
        self._limits = limits
        self._system = knows_system(checkpoint.processor)
        self._context = context_of(checkpoint.model)

    def turns(self, request: ChatRequest) -> list[Turn]:
        """The messages as turns of a conversation.

        Raises:
            Refusal: roles that the model does not know, or a picture that no user sent.
        """
        turns = []
        for number, message in enumerate(request.messages):
            # OpenAI's newer name of the same
            role = "system" if message.role == "developer" else message.role
            where = f"messages.{number}"
            if role == "system" and not self._system:
                raise Refusal(
                    "this model's chat template has no system messages; put the text in front of "
                    "the question",
                    param=f"{where}.role",
                    code="unsupported_role",
                )

            turn = Turn(role, tuple(map(_text_or_picture, message.parts)))
            if role != "user" and PICTURE in turn.parts:
                raise Refusal("pictures belong into messages of the user", param=where)

            turns.append(turn)

        if turns[-1].role != "user":
            raise Refusal("the last message is the user's", param=f"messages.{len(turns) - 1}.role")
        return turns

    def prepare(
        self, request: ChatRequest, turns: Sequence[Turn], fetched: Mapping[str, bytes]
    ) -> Prepared:
        """The inputs of a request; `fetched` are the files of those pictures that have an address.

        Raises:
            Refusal: a picture or a text that cannot be used, or a prompt that is too long.
        """
        files = []
        pictures = []
        for source in sources(request):
            data = fetched.get(source.param) or decode_data_url(source.url, source.param)
            files.append(data)
            pictures.append(read_picture(data, source.param, self._limits))

        try:
            inputs = dict(prepare_chat(self._checkpoint, turns, pictures))
        except (ImageError, LayoutError) as error:
            raise Refusal(str(error), param="messages", code="cannot_prepare") from None

        new_tokens = self._check_length(request, int(inputs["input_ids"].shape[1]))

        # the same picture is known again by its bytes, whoever sends it
        hashes = tuple(hashlib.sha256(data).hexdigest() for data in files)
        visual = count_visual(self._checkpoint, inputs)
        behind = count_behind(self._checkpoint, inputs)
        return Prepared(inputs, hashes, visual, behind, new_tokens)

    def _check_length(self, request: ChatRequest, length: int) -> int:
        """How many tokens the answer may have behind a prompt of `length`: what fits the context.

        Raises:
            Refusal: the prompt is too long, or leaves no room for an answer.
        """
        room = request.new_tokens(self._limits)
        # the model's own bound, which may be lower than that of the server
        if self._context is not None:
            room = min(room, self._context - length)

        if length > self._limits.prompt_tokens or room < 1:
            most = f"{self._limits.prompt_tokens:,} tokens of prompt"
            if self._context is not None:
                most += f", and {self._context:,} with the answer"
            raise Refusal(
                f"the prompt has {length:,} tokens, pictures included; this server takes {most}",
                param="messages",
                code="context_length_exceeded",
            )

        return room


def _text_or_picture(part: TextPart | ImagePart) -> str | None:
    return part.text if isinstance(part, TextPart) else PICTURE
