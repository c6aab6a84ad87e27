"""The models `transprune` of lmms-eval: any supported checkpoint, pruned by any recipe.

    lmms-eval --model transprune --model_args pretrained=MODEL,method=transprune-high --tasks mme

lmms-eval (https://github.com/EvolvingLMMs-Lab/lmms-eval, 0.7) splits its arguments at commas, so a
recipe with several settings is written with semicolons: `method=fastv:layer=3;keep_ratio=0.25`.
Without `method` the model runs unpruned. The costs of a run are in `throughput` of its results.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lmms_eval.api.instance import Instance
from lmms_eval.protocol import ChatMessages

from transprune.integrations.lmms_base import TransPruneModel
from transprune.integrations.messages import Conversation, is_video, read_messages


class TransPruneChat(TransPruneModel):
    """Tasks that give a list of messages."""

    is_simple: ClassVar[bool] = False

    def _read(self, request: Instance) -> Conversation:
        _, to_messages, _, _, _, _ = request.args
        messages = ChatMessages(messages=to_messages(self._document(request)))
        found = [message.model_dump() for message in messages.messages]
        return read_messages(self.checkpoint, found, self.frames, stills=self.keeper is not None)

    def _options(self, request: Instance) -> dict[str, Any]:
        return dict(request.args[2])


class TransPruneSimple(TransPruneModel):
    """Tasks that give a text and pictures; pictures come first in the prompt."""

    is_simple: ClassVar[bool] = True

    def _read(self, request: Instance) -> Conversation:
        text, _, to_visual, _, _, _ = request.args
        content: list[dict[str, Any]] = []
        for medium in to_visual(self._document(request)) or ():
            kind = "video" if is_video(medium) else "image"
            content.append({"type": kind, kind: medium})
        content.append({"type": "text", "text": text.replace("<image>", "").strip()})
        return read_messages(self.checkpoint, [{"role": "user", "content": content}], self.frames)

    def _options(self, request: Instance) -> dict[str, Any]:
        return dict(request.args[1])
