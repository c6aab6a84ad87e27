"""Stages of the language model: it learns to answer, with the projector, behind a frozen tower.

Trained plainly, a model this small extracts the image content in its first two layers. Pruning at
the depths of the papers would then measure nothing. So a shallower model is trained first. Then
new layers, which change nothing at first, are added at its bottom, and in most steps of the next
stages these layers cannot attend to the image. Later in each stage the mask is lifted, so the
finished model is an ordinary one; it uses the image in its middle layers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transprune.nano.batches import answer_tokens, right_answers
from transprune.nano.packed import layer_forward
from transprune.nano.scenes import OBJECTS
from transprune.nano.train.batches import TRAINING_CATEGORIES, LanguageBatch, language_batch
from transprune.nano.train.curriculum import Mix, Scaffold
from transprune.nano.train.log import Metrics
from transprune.nano.train.loop import cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.nano.words import EOS

# first scene of the language stages; the scenes before it belong to the vision stage
FIRST_SCENE = 10_000_000

_MASK_ODDS = 0.9  # share of steps that mask the image, while the mask is in full use
_EOS_WEIGHT = 0.05  # of `</s>` in the loss; every other token has weight 1


@dataclass(frozen=True)
class LanguageSettings:
    """How a stage of the language model is trained. "Share" means a share of `schedule_steps`.

    Attributes:
        name: of the stage, and of its files.
        steps: number of steps.
        batch: scenes per step.
        schedule_steps: steps that all schedules are laid out for, `steps` if None; a stage may end
            before its schedules do.
        layers: decoder layers of the model.
        muon_lr, adam_lr: peak learning rates.
        warmup: steps to reach them.
        lr_floor: share of the peak left at the end.
        source: the form in which the model gets a scene, a picture or a description.
        trained: everything behind the tower, or the projector alone.
        mask_image_layers: number of lowest layers that cannot attend to the image in masked steps.
        mask_image_until: share up to which 90 % of the steps are masked.
        image_visible_from: share from which no step is masked.
        reveal_answer, drop_inverse, object_sum: aids at the start, see `curriculum.Scaffold`.
        scaffold_until: share at which all three have fallen to zero.
        full_scenes_from: share from which scenes have up to 8 objects; before it, the maximum
            grows from 4 to 8.
        first_scene: number of the first scene.
        seed: of the masked steps and of new weights.
        mix: the questions.
    """

    name: str
    steps: int
    batch: int = 20
    schedule_steps: int | None = None
    layers: int = 16
    muon_lr: float = 0.014
    adam_lr: float = 2e-3
    warmup: int = 60
    lr_floor: float = 0.01
    source: Literal["picture", "words"] = "picture"
    trained: Literal["all", "projector"] = "all"
    mask_image_layers: int = 0
    mask_image_until: float = 0.6
    image_visible_from: float = 0.8
    reveal_answer: float = 0.0
    drop_inverse: float = 0.0
    object_sum: float = 0.0
    scaffold_until: float = 0.33
    full_scenes_from: float = 0.0
    first_scene: int = FIRST_SCENE
    seed: int = 0
    mix: Mix = field(default_factory=Mix)


class LanguageStage:
    """One stage of the language model; it trains `model` in place.

    Args:
        model: a LLaVA whose tower is trained already.
        settings: of the stage.
        device: where to train.
        compiled: whether to compile the layer function (on a CPU this needs a C++ compiler).
    """

    def __init__(
        self, model: Any, settings: LanguageSettings, device: torch.device, compiled: bool = True
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.steps = settings.steps
        self.device = device
        self.model = model.to(device)

        self.module = nn.ModuleDict(
            {
                "projector": model.model.multi_modal_projector,
                "language": model.model.language_model,
                "head": model.lm_head,
            }
        )

        # the tower stays frozen in every stage, the rest only where the projector learns alone
        self.model.requires_grad_(False)
        trained = self.module if settings.trained == "all" else self.module["projector"]
        trained.requires_grad_(True)

        self.optimizer = Optimizer(self.module, settings.muon_lr, settings.adam_lr)
        self._layer = compiled_layer() if compiled else layer_forward

    def rate(self, step: int) -> float:
        """Warm-up, then cosine."""
        settings = self.settings
        return cosine(step, self._schedule_steps, settings.warmup, settings.lr_floor)

    @property
    def _schedule_steps(self) -> int:
        return self.settings.schedule_steps or self.steps

    def prepare(self, step: int) -> LanguageBatch:
        """Draw the scenes and questions of a step; no scene comes twice."""
        settings = self.settings
        done = step / self._schedule_steps

        most = OBJECTS[1]
        if done < settings.full_scenes_from:
            most = 4 + int(4 * done / settings.full_scenes_from)

        left = max(0.0, 1 - done / settings.scaffold_until)
        scaffold = Scaffold(
            settings.reveal_answer * left, settings.drop_inverse * left, settings.object_sum * left
        )

        first = settings.first_scene + step * settings.batch
        scenes = range(first, first + settings.batch)
        return language_batch(scenes, settings.mix, scaffold, (2, most), settings.source)

    def loss(self, batch: LanguageBatch, step: int) -> tuple[Tensor, Metrics]:
        """Cross-entropy at the supervised tokens, and the share of right answers per category."""
        masked = range(self._masked_layers(step))
        answers = answer_tokens(self.model, batch.packed, masked, self._layer)

        weight = torch.where(answers.targets == EOS, _EOS_WEIGHT, 1.0)
        each = F.cross_entropy(answers.logits, answers.targets, reduction="none")
        loss = (each * weight).sum() / weight.sum()

        right = right_answers(answers, batch.packed)  # [B * K]
        categories = batch.categories.flatten().to(right.device)
        metrics = {}
        for number, name in enumerate(TRAINING_CATEGORIES):
            # NaN where the batch has no such question; the log leaves those out
            metrics[name] = right[categories == number].float().mean().item()

        return loss, metrics

    def _masked_layers(self, step: int) -> int:
        """How many of the lowest layers cannot attend to the image in this step.

        It is random, but a function of the step, so that a resumed run repeats it.
        """
        settings = self.settings
        done = step / self._schedule_steps
        if settings.mask_image_layers == 0 or done >= settings.image_visible_from:
            return 0

        odds = _MASK_ODDS
        if done >= settings.mask_image_until:
            # from half of the steps down to none
            ramp = settings.image_visible_from - settings.mask_image_until
            odds = 0.5 * (settings.image_visible_from - done) / ramp

        masked = np.random.default_rng((settings.seed, step)).random() < odds
        return settings.mask_image_layers if masked else 0


def compiled_layer() -> Callable[..., Tensor]:
    """The layer function, compiled if a compiler is installed: a third faster on a CPU."""
    has_compiler = any(shutil.which(name) for name in ("g++", "c++", "clang++"))
    if not torch.cuda.is_available() and not has_compiler:
        return layer_forward
    return torch.compile(layer_forward, dynamic=False)
