"""Stages of the vision tower: each patch learns what it shows, CLS which names occur.

The supervised features are those that LLaVA reads. Each patch predicts whether it shows a thing,
its own row and column, and of the thing it shows: the name, among all names of training, the colour,
the characters, and where the thing's middle and edges are. Names are matched with vectors that the
language model makes of them (`names`), so the classifier extends to names never trained on.

The first stage has pictures of 112 x 112 pixels with one or two things. They cost a ninth of an
ordinary picture, and are treated as parts of it: their patches take the places of a window of 8 x 8
among the 24 x 24.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transprune.nano.train.log import Metrics
from transprune.nano.train.loop import cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.smol.scenes import draw
from transprune.smol.things import Canvas
from transprune.smol.train.heads import HEADS
from transprune.smol.train.labels import (
    NOTHING,
    Labels,
    all_names,
    batch_labels,
    known_names,
    names_in,
)
from transprune.smol.vision import GRID, look
from transprune.smol.world import World


@dataclass(frozen=True)
class TowerSettings:
    """How a stage of the tower is trained.

    Attributes:
        name: of the stage, and of its files.
        steps, batch: number of steps, and pictures per step.
        canvas: size and contents of the pictures.
        first_scene: number of the first picture; stages of a recipe share none.
        muon_lr, adam_lr, warmup, lr_floor: peak learning rates, steps to reach them, and the share
            of the peak left at the end.
        thing_weight, color_weight, character_weight, place_weight, cls_weight: weights of these
            losses, against 1 for names and boxes.
        heads: whether the heads are trained too. If not, features keep their meaning, and whatever
            has learnt to read them can go on.
        seed: of the windows.
    """

    name: str
    steps: int
    batch: int
    canvas: Canvas = field(default_factory=Canvas)
    first_scene: int = 0
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    warmup: int = 100
    lr_floor: float = 0.02
    thing_weight: float = 2.0
    color_weight: float = 0.5
    character_weight: float = 1.0
    place_weight: float = 0.3
    cls_weight: float = 0.5
    heads: bool = True
    seed: int = 0


class TowerBatch(NamedTuple):
    """The pictures of a step.

    Attributes:
        labels: of their patches.
        present: float [B, K], equal shares of the names that occur in each picture.
        corner: row and column of the window.
    """

    labels: Labels
    present: Tensor
    corner: tuple[int, int]


class TowerStage:
    """One stage of the tower; it trains `module` in place.

    Args:
        settings: of the stage.
        world: what pictures are drawn from.
        module: of `heads.new_module`.
        vectors: of all names, float [K, E].
        device: where to train.
    """

    def __init__(
        self,
        settings: TowerSettings,
        world: World,
        module: nn.ModuleDict,
        vectors: Tensor,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.steps = settings.steps
        self.device = device
        self.module = module.to(device).train().requires_grad_(settings.heads)
        self.module["tower"].requires_grad_(True)
        self.optimizer = Optimizer(self.module, settings.muon_lr, settings.adam_lr)

        # only names of training can be answered in training
        self._world = world
        names = all_names(world.kinds.names)
        known = known_names(world.kinds)
        self._vectors = vectors[known].to(device)
        self._numbers = {names[number]: place for place, number in enumerate(known)}

    def rate(self, step: int) -> float:
        """Warm-up, then cosine."""
        return cosine(step, self.steps, self.settings.warmup, self.settings.lr_floor)

    def prepare(self, step: int) -> TowerBatch:
        """Draw the pictures of a step; no picture comes twice."""
        settings = self.settings
        first = settings.first_scene + step * settings.batch
        numbers = range(first, first + settings.batch)
        scenes = [draw(self._world, "train", number, settings.canvas) for number in numbers]

        present = torch.zeros(len(scenes), len(self._numbers))
        for row, scene in enumerate(scenes):
            found = names_in(scene, self._numbers)
            present[row, found] = 1 / max(1, len(found))

        rng = np.random.default_rng((settings.seed, step))
        corner = rng.integers(GRID - settings.canvas.grid + 1, size=2).tolist()
        labels = batch_labels(scenes, self._numbers)
        return TowerBatch(labels, present, (corner[0], corner[1]))

    def loss(self, batch: TowerBatch, step: int) -> tuple[Tensor, Metrics]:
        """The sum of all losses, and how right all predictions are."""
        labels = Labels(*(part.to(self.device) for part in batch.labels))
        seen = look(self.module["tower"], labels.pixels, batch.corner)

        dense, metrics = self._dense(seen.patches, labels)
        place, metrics["place"] = self._place(seen.patches, batch.corner)
        cls, metrics["cls"] = self._cls(seen.cls, batch.present.to(self.device))

        settings = self.settings
        return dense + settings.place_weight * place + settings.cls_weight * cls, metrics

    def _dense(self, patches: Tensor, labels: Labels) -> tuple[Tensor, Metrics]:
        """Thing or ground for every patch, and the rest on things."""
        parts = self.module["heads"](patches).float().split(tuple(HEADS.values()), dim=-1)
        thing_logit = parts[0][..., 0]
        on_thing = labels.name != NOTHING  # [B, N]

        thing = F.binary_cross_entropy_with_logits(thing_logit, on_thing.float())
        loss = self.settings.thing_weight * thing
        metrics = {"thing": _share((thing_logit > 0) == on_thing)}

        # only patches that show a thing: [B, N, ...] -> [n, ...]
        color, characters, box = (part[on_thing] for part in parts[1:])
        logits = self.module["patch_names"](patches[on_thing], self._vectors)  # [n, K]
        names = labels.name[on_thing]
        loss = loss + F.cross_entropy(logits, names)
        metrics["name"] = _share(logits.argmax(-1) == names)

        for part, metric in (
            self._color(color, labels.color[on_thing]),
            self._characters(characters, labels.characters[on_thing]),
            self._box(box, labels.box[on_thing]),
        ):
            loss = loss + part
            metrics |= metric
        return loss, metrics

    def _color(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Metrics]:
        """Of the patches whose thing has a colour; the sum is 0 where none has."""
        has = target != NOTHING
        each = F.cross_entropy(logits, target, ignore_index=NOTHING, reduction="sum")
        loss = self.settings.color_weight * each / has.sum().clamp(min=1)
        return loss, {"color": _share((logits.argmax(-1) == target)[has])}

    def _characters(self, logits: Tensor, shares: Tensor) -> tuple[Tensor, Metrics]:
        """Right where the likeliest character is one of those on the patch."""
        loss = self.settings.character_weight * F.cross_entropy(logits, shares)
        best = logits.argmax(-1, keepdim=True)
        written = shares[:, -1] == 0
        return loss, {"character": _share((shares.gather(1, best)[:, 0] > 0)[written])}

    def _box(self, told: Tensor, target: Tensor) -> tuple[Tensor, Metrics]:
        """Error in units of 112 pixels; those of width and height are logarithms."""
        error = (told - target).abs().mean().item()
        return F.smooth_l1_loss(told, target, beta=0.1), {"box": error}

    def _place(self, patches: Tensor, corner: tuple[int, int]) -> tuple[Tensor, float]:
        """Row and column of each patch, as two choices of 24."""
        # [B, N, 48] -> [B, N, 2, 24] -> [B * N * 2, 24]
        logits = self.module["places"](patches).float().unflatten(-1, (2, GRID)).flatten(0, 2)
        steps = torch.arange(self.settings.canvas.grid, device=patches.device)
        places = torch.cartesian_prod(corner[0] + steps, corner[1] + steps)  # [N, 2]
        target = places.expand(len(patches), -1, -1).reshape(-1)
        return F.cross_entropy(logits, target), _share(logits.argmax(-1) == target)

    def _cls(self, cls: Tensor, present: Tensor) -> tuple[Tensor, float]:
        """Names that occur, from CLS; right where the likeliest one does."""
        some = present.sum(dim=1) > 0
        logits = self.module["cls_names"](cls, self._vectors)[some]
        shares = present[some]
        best = logits.argmax(-1, keepdim=True)
        return F.cross_entropy(logits, shares), _share(shares.gather(1, best) > 0)


def _share(right: Tensor) -> float:
    """NaN, which the log leaves out, where there is nothing to be right about."""
    return right.float().mean().item()
