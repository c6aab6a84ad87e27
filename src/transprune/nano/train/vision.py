"""The vision stage: the tower learns what each patch shows, and CLIP to match images and captions.

The supervised features are those that LLaVA reads: the last layer but one, patches only. Each patch
predicts whether it shows an object and, if so, colour, shape, size and character. It also predicts
its own row and column; without that, positions cannot be decoded from the features at all. CLS and
the text tower are trained contrastively on captions of three objects. Afterwards the prediction
heads are dropped and the tower is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from transprune.nano.architecture import CAPTION, Sizes, new_clip
from transprune.nano.batches import normalise
from transprune.nano.captions import caption
from transprune.nano.scenes import GRID, Scene, SceneObject, draw, question_rng
from transprune.nano.train.log import Metrics
from transprune.nano.train.loop import cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.nano.words import CHARACTERS, COLOR_NAMES, EOS, PAD, SHAPES, SIZES, encode

# attribute -> number of classes; class 0 of "character" is "none"
ATTRIBUTES = {
    "color": len(COLOR_NAMES),
    "shape": len(SHAPES),
    "size": len(SIZES),
    "character": len(CHARACTERS) + 1,
}
_BACKGROUND = (0, -1, -1, -1, -1)  # labels of a patch without an object


class VisionBatch(NamedTuple):
    """Pictures with their labels and captions.

    Attributes:
        pixels: uint8 [B, 96, 96, 3].
        labels: int64 [B, 144, 5], object (1 or 0), then the attributes, -1 on the background.
        captions: int64 [B, 40], padded on the right.
    """

    pixels: Tensor
    labels: Tensor
    captions: Tensor


@dataclass(frozen=True)
class VisionSettings:
    """How the tower is trained.

    Attributes:
        steps, batch: number of steps, and pictures per step.
        muon_lr, adam_lr, warmup, lr_floor: peak learning rates, steps to reach them, and the share
            of the peak left at the end.
        object_weight, place_weight, contrast_weight: weights of the losses, against 1 for each
            attribute.
        seed: of the initial weights.
    """

    steps: int = 1400
    batch: int = 64
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    warmup: int = 50
    lr_floor: float = 0.02
    object_weight: float = 2.0
    place_weight: float = 0.5
    contrast_weight: float = 0.5
    seed: int = 0


class VisionStage:
    """The vision stage; its result is `module["clip"]`."""

    name = "vision"

    def __init__(self, sizes: Sizes, settings: VisionSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.steps = settings.steps
        self.device = device

        clip = new_clip(sizes)
        # so that places can be told apart from the first step on
        _add_places(clip.vision_model.embeddings.position_embedding.weight)
        self.module = nn.ModuleDict(
            {
                "clip": clip,
                "heads": nn.Linear(sizes.width, 1 + sum(ATTRIBUTES.values())),
                "places": nn.Linear(sizes.width, 2 * GRID),
            }
        )

        self.module.to(device).train()
        self.optimizer = Optimizer(self.module, settings.muon_lr, settings.adam_lr)

    def rate(self, step: int) -> float:
        """Warm-up, then cosine."""
        return cosine(step, self.steps, self.settings.warmup, self.settings.lr_floor)

    def prepare(self, step: int) -> VisionBatch:
        """Draw the pictures of a step; no picture comes twice."""
        first = step * self.settings.batch
        return vision_batch(range(first, first + self.settings.batch))

    def loss(self, batch: VisionBatch, step: int) -> tuple[Tensor, Metrics]:
        """The sum of all losses, and the accuracies of all predictions."""
        clip: Any = self.module["clip"]
        seen = clip.vision_model(
            pixel_values=normalise(batch.pixels, self.device), output_hidden_states=True
        )
        patches = seen.hidden_states[-2][:, 1:].float()  # [B, 144, D], without CLS
        captions = batch.captions.to(self.device)

        dense, metrics = self._dense(patches, batch.labels.to(self.device))
        place, metrics["place"] = self._place(patches)
        contrast, metrics["clip"] = self._contrast(seen.pooler_output, captions)

        settings = self.settings
        loss = dense + settings.place_weight * place + settings.contrast_weight * contrast
        return loss, metrics

    def _dense(self, patches: Tensor, labels: Tensor) -> tuple[Tensor, Metrics]:
        """Object or background for every patch, and the attributes on objects."""
        logits = self.module["heads"](patches)  # [B, 144, 1 + classes of all attributes]
        object_logit = logits[..., 0]
        is_object = labels[..., 0] == 1

        loss = F.binary_cross_entropy_with_logits(object_logit, is_object.float())
        loss = self.settings.object_weight * loss
        metrics = {"object": _accuracy((object_logit > 0) == is_object)}

        # only patches with an object: [B, 144, ...] -> [n, ...]
        parts = logits[is_object][:, 1:].split(tuple(ATTRIBUTES.values()), dim=-1)
        targets = labels[is_object][:, 1:].unbind(1)
        for name, part, target in zip(ATTRIBUTES, parts, targets, strict=True):
            loss = loss + F.cross_entropy(part, target)
            metrics[name] = _accuracy(part.argmax(-1) == target)

        return loss, metrics

    def _place(self, patches: Tensor) -> tuple[Tensor, float]:
        """Row and column of each patch, as two choices of 12."""
        # [B, 144, 24] -> [B, 144, 2, 12] -> [B * 144 * 2, 12]
        logits = self.module["places"](patches).unflatten(-1, (2, GRID)).flatten(0, 2)
        target = _rows_and_columns().to(self.device).expand(len(patches), -1, -1).reshape(-1)
        return F.cross_entropy(logits, target), _accuracy(logits.argmax(-1) == target)

    def _contrast(self, pooled: Tensor, captions: Tensor) -> tuple[Tensor, float]:
        """CLIP's symmetric loss between the pictures and the captions of a batch."""
        clip: Any = self.module["clip"]
        text_pooled = clip.text_model(input_ids=captions).pooler_output
        image = F.normalize(clip.visual_projection(pooled).float(), dim=-1)
        text = F.normalize(clip.text_projection(text_pooled).float(), dim=-1)

        logits = clip.logit_scale.clamp(max=4.0).exp() * image @ text.T  # [B, B]
        target = torch.arange(len(logits), device=logits.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return loss, _accuracy(logits.argmax(-1) == target)


def vision_batch(indices: range) -> VisionBatch:
    """Draw pictures of the training split, with their labels and captions."""
    scenes = [draw("train", index) for index in indices]
    pixels = np.stack([scene.pixels for scene in scenes])
    labels = np.stack([patch_labels(scene) for scene in scenes])
    captions = [_caption_ids(scene, index) for scene, index in zip(scenes, indices, strict=True)]

    return VisionBatch(torch.from_numpy(pixels), torch.from_numpy(labels), torch.tensor(captions))


def patch_labels(scene: Scene) -> NDArray[np.int64]:
    """The labels of each patch, as in `VisionBatch`. -> int64 [144, 5]."""
    labels = [_object_labels(thing) for thing in scene.objects]
    # the owner of a background patch is -1, which indexes the last row
    return np.array([*labels, _BACKGROUND], dtype=np.int64)[scene.owner]


def _object_labels(thing: SceneObject) -> tuple[int, int, int, int, int]:
    character = 0
    if thing.character is not None:
        character = 1 + CHARACTERS.index(thing.character)

    return (
        1,
        COLOR_NAMES.index(thing.color),
        SHAPES.index(thing.shape),
        SIZES.index(thing.size),
        character,
    )


def _accuracy(right: Tensor) -> float:
    return right.float().mean().item()


def _caption_ids(scene: Scene, index: int) -> list[int]:
    """Token ids of a caption, padded on the right to 40."""
    ids = encode(["<s>", *caption(scene, question_rng("train", index)), "</s>"])
    assert ids[-1] == EOS
    return ids + [PAD] * (CAPTION - len(ids))


def _rows_and_columns() -> Tensor:
    """Row and column of each patch. -> long [144, 2]."""
    return torch.cartesian_prod(torch.arange(GRID), torch.arange(GRID))


@torch.no_grad()
def _add_places(table: Tensor, amplitude: float = 0.5) -> None:
    """Add a 2-D sinusoid to the position table [145, D], in random directions.

    Random directions spread rows and columns over all channels, so they survive the first norm.
    """
    waves = torch.logspace(-1, 0.3, table.shape[1] // 4)  # radians per patch
    places = _rows_and_columns()
    rows = places[:, 0:1] * waves  # [144, D / 4]
    columns = places[:, 1:2] * waves

    phases = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=1)
    rotation = torch.linalg.qr(torch.randn(table.shape[1], table.shape[1]))[0]
    table[1:] += amplitude * (phases - phases.mean(dim=0)) @ rotation  # row 0 is CLS
