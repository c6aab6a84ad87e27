"""The projector stage: between a frozen tower and a frozen language model, only the projector learns.

One picture serves some twenty questions, packed behind it (`packing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transprune.nano.packed import layer_forward
from transprune.nano.train.log import Metrics
from transprune.nano.train.loop import cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.smol.asker import Question
from transprune.smol.packing import IGNORE, Packed, answer_logits, pack, right_answers
from transprune.smol.questions import CATEGORIES, ask_all, asker_of
from transprune.smol.scenes import Scene, draw
from transprune.smol.vision import look
from transprune.smol.world import World

_FIT_SCENE = 9_999_984  # first of the sixteen training scenes that fit the projector
_FIT_SCENES = 16


@dataclass(frozen=True)
class ProjectorSettings:
    """How the projector is trained.

    Attributes:
        name: of the stage, and of its files.
        steps, batch: number of steps, and pictures per step.
        per_category: questions of each category about a picture, where it has so many.
        first_scene: number of the first picture.
        adam_lr, warmup, lr_floor: peak learning rate, steps to reach it, and the share of the peak
            left at the end.
        end_weight: of the end of an answer in the loss, against 1 for its words.
        seed: of the first weights.
    """

    name: str = "projector"
    steps: int = 3000
    batch: int = 2
    per_category: int = 3
    first_scene: int = 10_000_000
    adam_lr: float = 2e-3
    warmup: int = 100
    lr_floor: float = 0.02
    end_weight: float = 0.2
    seed: int = 0


class ProjectorBatch(NamedTuple):
    """The pictures of a step with their questions; categories are numbers, -1 for padding [B, K]."""

    packed: Packed
    categories: Tensor


class ProjectorStage:
    """The projector stage; it trains the projector of `model` in place.

    Args:
        model: of `architecture.assemble`; its language model is turned into bfloat16.
        tokenizer: its tokenizer.
        world: what pictures are drawn from.
        settings: of the stage.
        device: where to train.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        world: World,
        settings: ProjectorSettings,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.steps = settings.steps
        self.device = device
        self._world = world
        self._tokenizer = tokenizer

        self._model = model.to(device).requires_grad_(False)
        fit(model, world, settings.seed)
        # frozen weights, which autocast would otherwise round again in every step
        self._model.model.language_model.to(torch.bfloat16)
        self._model.lm_head.to(torch.bfloat16)

        projector = model.model.multi_modal_projector.requires_grad_(True)
        self.module = nn.ModuleDict({"projector": projector})
        self.optimizer = Optimizer(self.module, 0.0, settings.adam_lr)

    def rate(self, step: int) -> float:
        """Warm-up, then cosine."""
        return cosine(step, self.steps, self.settings.warmup, self.settings.lr_floor)

    def prepare(self, step: int) -> ProjectorBatch:
        """Draw the pictures and questions of a step; no picture comes twice."""
        settings = self.settings
        first = settings.first_scene + step * settings.batch
        scenes = []
        asked = []
        for number in range(first, first + settings.batch):
            scene = draw(self._world, "train", number)
            asker = asker_of(self._world, scene, "train", number)
            scenes.append(scene)
            asked.append(ask_all(asker, settings.per_category))
        return _batch(scenes, asked, self._tokenizer)

    def loss(self, batch: ProjectorBatch, step: int) -> tuple[Tensor, Metrics]:
        """Cross-entropy of the answers, and the share of right ones per category."""
        logits = answer_logits(self._model, self._tokenizer, batch.packed, _recomputed)
        targets = batch.packed.targets[batch.packed.targets != IGNORE].to(logits.device)

        ends = targets == self._tokenizer.eos_token_id
        weight = torch.where(ends, self.settings.end_weight, 1.0)
        each = F.cross_entropy(logits, targets, reduction="none")
        loss = (each * weight).sum() / weight.sum()

        right = right_answers(logits, batch.packed)
        metrics = {}
        for number, name in enumerate(CATEGORIES):
            # NaN, which the log leaves out, where no question is of the category
            metrics[name] = right[batch.categories == number].float().mean().item()
        return loss, metrics


@torch.no_grad()
def fit(model: Any, world: World, seed: int = 0) -> None:
    """Draw the projector's first weights: what comes out is as large as embeddings of words are."""
    scenes = [draw(world, "train", _FIT_SCENE + number) for number in range(_FIT_SCENES)]
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes]))
    features = look(model.model.vision_tower, pixels).patches.flatten(0, 1)  # [B * N, D]
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-3

    projector = model.model.multi_modal_projector
    generator = torch.Generator().manual_seed(seed)
    for linear in (projector.linear_1, projector.linear_2):
        weight = torch.randn(linear.weight.shape, generator=generator)
        linear.weight.copy_(weight * linear.weight.shape[1] ** -0.5)
        linear.bias.zero_()

    # W (x - mean) / deviation, written as one linear layer
    projector.linear_1.weight.div_(deviation)
    projector.linear_1.bias.copy_(-projector.linear_1.weight @ mean)
    words = model.model.language_model.embed_tokens.weight.float().std()
    projector.linear_2.weight.mul_(words / projector(features).std())


def _batch(scenes: list[Scene], asked: list[list[Question]], tokenizer: Any) -> ProjectorBatch:
    """Pack pictures and questions, with the number of each question's category."""
    pixels = torch.from_numpy(np.stack([scene.pixels for scene in scenes]))
    packed = pack(pixels, asked, tokenizer)

    categories = torch.full(packed.ids.shape[:2], -1)
    for row, questions in enumerate(asked):
        numbers = [CATEGORIES.index(question.category) for question in questions]
        categories[row, : len(numbers)] = torch.tensor(numbers)
    return ProjectorBatch(packed, categories)


def _recomputed(*arguments: Any) -> Tensor:
    """A layer that keeps its input only, and runs again on the way back: a fifth of the memory."""
    return checkpoint(layer_forward, *arguments, use_reentrant=False)
