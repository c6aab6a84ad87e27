"""Listening to the prompt's ids, only for methods that want the question in CLIP's space."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from transprune.core.layout import Layout
from transprune.core.signals import JointSpace, VisionSignals
from transprune.errors import MissingSignal
from transprune.runtime.taps.text_tower import TextTower


class QuestionReader:
    """Notes the ids of each call of one model, and embeds what they ask."""

    def __init__(self, base: nn.Module, tower: TextTower) -> None:
        self._base, self._tower = base, tower
        self._local = threading.local()

    def attach(self, stack: ExitStack) -> None:
        """Register the tap; leaving `stack` removes it."""
        stack.callback(
            self._base.register_forward_pre_hook(self._hear_ids, with_kwargs=True).remove
        )

    def joint(self, layout: Layout, sample: int, vision: VisionSignals) -> JointSpace:
        """Patches and question of one sample; `layout` is that of the unpruned prompt."""
        if vision.states is None:
            raise MissingSignal(
                "this model's features come from several layers of the tower, which have no place in CLIP's space; use "
                "cdpruner:relevance=embedding"
            )
        ids: Tensor = self._local.ids[sample]
        instruction = ids[layout.instruction[sample]]
        text = ids[layout.valid[sample] & ~layout.visual[sample]]
        return JointSpace(
            self._tower.embed_patches(vision.states),
            self._tower.embed_question(instruction, text).to(ids.device),
        )

    def _hear_ids(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._local.ids = kwargs.get("input_ids", args[0] if args else None)
