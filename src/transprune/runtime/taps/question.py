"""The question in CLIP's joint space, for methods that compare it with the patches."""

from __future__ import annotations

import torch

from transprune.core.layout import Layout
from transprune.core.signals import JointSpace, VisionSignals
from transprune.errors import MissingSignal
from transprune.runtime.forward_pass import Pass
from transprune.runtime.layer_inputs.call import LayerCall
from transprune.runtime.taps.base import PoolRows, Setup, Signals, Tap
from transprune.runtime.taps.text_tower import TextTower, find_text_tower

SIGNAL = "joint"


class QuestionTap(Tap):
    """Embeds the question that is in the ids of a prompt.

    Args:
        tower: embeds patches and question; None where the model's vision tower is not CLIP's.
    """

    def __init__(self, tower: TextTower | None) -> None:
        self._tower = tower

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
            return cls(find_text_tower(given, setup.base, setup.base.config))

        for step in readers:
            if step.reads.question == "required":
                raise MissingSignal(
                    f"{step.name} compares patches with the question in CLIP's space, but this "
                    "model's vision tower is not CLIP's, or its features come from several layers "
                    f"of it; use {step.name}:relevance=embedding"
                )

        # those that do not require CLIP's space compare by other means
        return cls(None)

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
                "in CLIP's space; use relevance=embedding"
            )

        prompt = layout.prompt
        if prompt.ids is None:
            raise MissingSignal(
                "this method compares patches with the question, but the call passes no input_ids "
                "to read it from"
            )

        # the question is the text behind the image, or all text if nothing stands behind it; the
        # ids are on the host, as the tokenizer needs them
        ids = prompt.ids[pool.sample]
        instruction = torch.from_numpy(ids[prompt.instruction[pool.sample]])
        text = torch.from_numpy(ids[prompt.text[pool.sample]])
        question = self._tower.embed_question(instruction, text, prompt.device)
        return JointSpace(self._tower.embed_patches(vision.states), question)
