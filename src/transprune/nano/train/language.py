"""Stage two: projector and language model learn to answer, in front of a frozen tower.

Trained plainly, a model this small reads the picture in its first two layers, and pruning at a depth a paper would
choose would measure nothing. So a shallower model is trained first; then it grows from below by layers that at first
change nothing, and in most steps of the stages that follow those layers may not look at the picture. The last stage
has no such rule, and the finished model is an ordinary one; it reads in the middle.
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

from transprune.nano.scenes import OBJECTS
from transprune.nano.train.asking import (
    ASKED,
    LanguageBatch,
    answer_tokens,
    language_batch,
    right_answers,
)
from transprune.nano.train.curriculum import Help, Mix
from transprune.nano.train.loop import Metrics, cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.nano.train.packed import layer_forward
from transprune.nano.words import EOS

FIRST = 10_000_000  # the first scene of these stages; the tower has seen those before it


@dataclass(frozen=True)
class LanguageSettings:
    """How a stage of the language model is trained.

    Attributes:
        name: of the stage.
        steps, batch: scenes per step.
        horizon: steps that all schedules are laid out for, `steps` if None; a stage may end before its schedules do.
        layers: decoder layers of the model.
        muon, adam, warmup, floor: peak learning rates, steps to reach them, and the share left at the end.
        source: what stands in front of the questions, the picture or the scene in words.
        trained: everything behind the tower, or the projector alone.
        blind: lowest layers that may not see the picture for a while.
        blind_until, sighted_from: shares of the stage: full use of the rule up to the first, none from the second on.
        leak, slant, gather: what makes learning easier at the start (see `curriculum.Help`).
        help_until: share of the stage at which all three have fallen to zero.
        objects_until: share of the stage in which the largest scene grows from 4 to 8 objects.
        first: number of the first scene.
        mix: what is asked.
    """

    name: str
    steps: int
    batch: int = 20
    horizon: int | None = None
    layers: int = 16
    muon: float = 0.014
    adam: float = 2e-3
    warmup: int = 60
    floor: float = 0.01
    source: Literal["picture", "words"] = "picture"
    trained: Literal["all", "projector"] = "all"
    blind: int = 0
    blind_until: float = 0.6
    sighted_from: float = 0.8
    leak: float = 0.0
    slant: float = 0.0
    gather: float = 0.0
    help_until: float = 0.33
    objects_until: float = 0.0
    first: int = FIRST
    seed: int = 0
    mix: Mix = field(default_factory=Mix)


class LanguageStage:
    """A stage; it trains `model` itself.

    Args:
        model: a LLaVA whose tower is trained already.
        settings: how.
        device: where.
        compiled: whether the layers run as one compiled function (a C++ compiler must be there on a CPU).
    """

    def __init__(
        self, model: Any, settings: LanguageSettings, device: torch.device, compiled: bool = True
    ) -> None:
        self.settings, self.name, self.steps, self.device = (
            settings,
            settings.name,
            settings.steps,
            device,
        )
        self.model = model.to(device)
        self.model.requires_grad_(False)
        inner = model.model
        parts = {
            "projector": inner.multi_modal_projector,
            "language": inner.language_model,
            "head": model.lm_head,
        }
        self.module = nn.ModuleDict(parts)
        (self.module if settings.trained == "all" else self.module["projector"]).requires_grad_(
            True
        )
        self.optimizer = Optimizer(self.module, settings.muon, settings.adam)
        self._layer = compiled_layer() if compiled else layer_forward

    def rate(self, step: int) -> float:
        """Warm-up and cosine."""
        return cosine(step, self._horizon, self.settings.warmup, self.settings.floor)

    @property
    def _horizon(self) -> int:
        return self.settings.horizon or self.steps

    def prepare(self, step: int) -> LanguageBatch:
        """The step's scenes and questions; no scene comes twice."""
        s, done = self.settings, step / self._horizon
        most = OBJECTS[1] if done >= s.objects_until else 4 + int(4 * done / s.objects_until)
        help = Help(
            *(share * max(0.0, 1 - done / s.help_until) for share in (s.leak, s.slant, s.gather))
        )
        first = s.first + step * s.batch
        return language_batch(range(first, first + s.batch), s.mix, help, (2, most), s.source)

    def loss(self, batch: LanguageBatch, step: int) -> tuple[Tensor, Metrics]:
        """Cross-entropy of the answers (their `</s>` counts little), and the share of right answers per family."""
        answers = answer_tokens(self.model, batch, range(self._blind_layers(step)), self._layer)
        weight = torch.where(answers.targets == EOS, 0.05, 1.0)
        each = F.cross_entropy(answers.logits, answers.targets, reduction="none")
        right = right_answers(answers, batch)
        families = batch.families.flatten().to(right.device)
        metrics = {
            name: right[families == number].float().mean().item()
            for number, name in enumerate(ASKED)
        }
        return (each * weight).sum() / weight.sum(), metrics

    def _blind_layers(self, step: int) -> int:
        """How many layers cannot see the picture in this step: chance, but the same chance whenever asked."""
        s, done = self.settings, step / self._horizon
        if s.blind == 0 or done >= s.sighted_from:
            return 0
        odds = (
            0.9
            if done < s.blind_until
            else 0.5 * (s.sighted_from - done) / (s.sighted_from - s.blind_until)
        )
        return s.blind if np.random.default_rng((s.seed, step)).random() < odds else 0


def compiled_layer() -> Callable[..., Tensor]:
    """The layer function, compiled where a compiler is there: about a third faster on a CPU."""
    if not torch.cuda.is_available() and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        return layer_forward
    return torch.compile(layer_forward, dynamic=False)
