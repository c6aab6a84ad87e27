"""The question in CLIP's joint space, for methods that compare it with the patches."""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor, nn

from transprune.core.layout import Layout
from transprune.core.rows import rows_where
from transprune.core.signals import JointSpace, VisionSignals
from transprune.errors import MissingSignal
from transprune.runtime.forward_pass import Pass
from transprune.runtime.hooks import Hooks
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import PoolRows, Setup, Signals, Tap
from transprune.runtime.taps.text_tower import TextTower, find_text_tower

SIGNAL = "joint"


class QuestionTap(Tap):
    """Notes the ids of each call of one model, and embeds the question in them.

    Args:
        base: the module that is called with the ids.
        tower: embeds patches and question; None where the model's vision tower is not CLIP's.
    """

    def __init__(self, base: nn.Module, tower: TextTower | None) -> None:
        self._base = base
        self._tower = tower
        self._local = threading.local()

    @classmethod
    def needed(cls, setup: Setup) -> QuestionTap | None:
        """If some part reads the question.

        Raises:
            MissingSignal: it requires CLIP's space, and this model's patches have no place there.
        """
        readers = [step for step in setup.method.steps if step.reads.question]
        if not readers:
            return None
        if setup.family.has_clip_tower(setup.base):
            given = setup.options.get("text_tower")
            return cls(setup.base, find_text_tower(given, setup.base, setup.base.config))

        for step in readers:
            if step.reads.question == "required":
                raise MissingSignal(
                    f"{step.name} compares patches with the question in CLIP's space, but this "
                    "model's vision tower is not CLIP's, or its features come from several layers "
                    f"of it; use {step.name}:relevance=embedding"
                )
        return cls(setup.base, None)

    def attach(self, hooks: Hooks) -> None:
        """Note the ids before the model embeds them."""
        if self._tower is None:
            return

        def note_ids(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            # per thread: sessions may run one model in several
            self._local.ids = kwargs.get("input_ids", args[0] if args else None)

        hooks.before(self._base, note_ids)

    def offer(self, state: Pass, call: LayerCall, signals: Signals) -> None:
        """In front of the language model, where patches are still patches."""
        if call.index > 0:
            return
        if self._tower is None:
            signals[SIGNAL] = lambda pool: None
            return

        # patch states come from the vision tap, which stands in front of this one in TAPS
        vision = signals.get("vision")
        if vision is not None:
            signals[SIGNAL] = lambda pool: self._joint(pool.layout, pool, vision(pool))

    def _joint(self, layout: Layout, pool: PoolRows, vision: VisionSignals) -> JointSpace:
        """Patches and question of one sample; `layout` is that of the unpruned prompt."""
        assert self._tower is not None
        if vision.states is None:
            raise MissingSignal(
                "this model's features come from several layers of the tower, which have no place "
                "in CLIP's space; use cdpruner:relevance=embedding"
            )

        if self._local.ids is None:
            raise MissingSignal(
                "this method compares patches with the question, but the call passes no input_ids "
                "to read it from"
            )
        ids: Tensor = self._local.ids[pool.sample]
        # the question is the text behind the image, or all text if nothing stands behind it
        instruction = ids[layout.instruction_rows(pool.sample)]
        text = ids[rows_where(layout.prompt.text[pool.sample], ids.device)]
        question = self._tower.embed_question(instruction, text)
        return JointSpace(self._tower.embed_patches(vision.states), question.to(ids.device))
