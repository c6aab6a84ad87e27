"""Stage one: the vision tower learns what each patch shows, and CLIP's two halves learn to agree.

The features LLaVA reads (the layer before the last, patches only) are told per patch: object or ground, and on objects
colour, shape, size and character; besides, each patch's own row and column, without which positions cannot be read from
the features at all. CLS and the text tower are trained contrastively on captions of three objects. The heads are
dropped afterwards, and the tower is frozen.
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
from transprune.nano.captions import caption
from transprune.nano.scenes import GRID, Scene, draw, question_rng
from transprune.nano.train.loop import Metrics, cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.nano.words import CHARACTERS, COLOR_NAMES, EOS, PAD, SHAPES, SIZES, encode

ATTRIBUTES = {
    "color": len(COLOR_NAMES),
    "shape": len(SHAPES),
    "size": len(SIZES),
    "character": len(CHARACTERS) + 1,
}
_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's, as the image processor's
_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


class VisionBatch(NamedTuple):
    """pixels uint8 [B, 96, 96, 3]; labels int64 [B, 144, 5]: object (1/0), then the attributes, -1 on the ground;
    captions int64 [B, 40], padded on the right."""

    pixels: Tensor
    labels: Tensor
    captions: Tensor


@dataclass(frozen=True)
class VisionSettings:
    """How the tower is trained: pictures per step, peak learning rates, weights of the losses."""

    steps: int = 1400
    batch: int = 64
    muon: float = 0.02
    adam: float = 3e-3
    warmup: int = 50
    floor: float = 0.02
    object_weight: float = 2.0
    place_weight: float = 0.5
    contrast_weight: float = 0.5
    seed: int = 0


class VisionStage:
    """The stage; `module.clip` is what it leaves."""

    name = "vision"

    def __init__(self, sizes: Sizes, settings: VisionSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.steps, self.device = settings, settings.steps, device
        clip = new_clip(sizes)
        _add_places(clip.vision_model.embeddings.position_embedding.weight)
        heads = nn.Linear(sizes.width, 1 + sum(ATTRIBUTES.values()))
        self.module = nn.ModuleDict(
            {"clip": clip, "heads": heads, "places": nn.Linear(sizes.width, 2 * GRID)}
        )
        self.module.to(device).train()
        self.optimizer = Optimizer(self.module, settings.muon, settings.adam)

    def rate(self, step: int) -> float:
        """Warm-up and cosine."""
        return cosine(step, self.steps, self.settings.warmup, self.settings.floor)

    def prepare(self, step: int) -> VisionBatch:
        """The step's pictures; no picture comes twice."""
        return vision_batch(range(step * self.settings.batch, (step + 1) * self.settings.batch))

    def loss(self, batch: VisionBatch, step: int) -> tuple[Tensor, Metrics]:
        """All losses together, and per-patch accuracies."""
        clip: Any = self.module["clip"]
        seen = clip.vision_model(
            pixel_values=normalise(batch.pixels, self.device), output_hidden_states=True
        )
        patches = seen.hidden_states[-2][:, 1:].float()
        dense, metrics = self._dense(patches, batch.labels.to(self.device))
        place, metrics["place"] = self._place(patches)
        contrast, metrics["clip"] = self._contrast(
            seen.pooler_output, batch.captions.to(self.device)
        )
        s = self.settings
        return dense + s.place_weight * place + s.contrast_weight * contrast, metrics

    def _dense(self, patches: Tensor, labels: Tensor) -> tuple[Tensor, Metrics]:
        logits = self.module["heads"](patches)
        there = labels[..., 0] == 1
        loss = self.settings.object_weight * F.binary_cross_entropy_with_logits(
            logits[..., 0], there.float()
        )
        metrics = {"object": ((logits[..., 0] > 0) == there).float().mean().item()}
        parts = logits[there][:, 1:].split(tuple(ATTRIBUTES.values()), dim=-1)
        for name, part, target in zip(
            ATTRIBUTES, parts, labels[there][:, 1:].unbind(1), strict=True
        ):
            loss = loss + F.cross_entropy(part, target)
            metrics[name] = (part.argmax(-1) == target).float().mean().item()
        return loss, metrics

    def _place(self, patches: Tensor) -> tuple[Tensor, float]:
        """Row and column of each patch, as two choices of 12."""
        logits = self.module["places"](patches).unflatten(-1, (2, GRID)).flatten(0, 2)
        target = _rows_and_columns().to(self.device).expand(len(patches), -1, -1).reshape(-1)
        return F.cross_entropy(logits, target), (logits.argmax(-1) == target).float().mean().item()

    def _contrast(self, seen: Tensor, captions: Tensor) -> tuple[Tensor, float]:
        clip: Any = self.module["clip"]
        said = clip.text_model(input_ids=captions).pooler_output
        image = F.normalize(clip.visual_projection(seen).float(), dim=-1)
        text = F.normalize(clip.text_projection(said).float(), dim=-1)
        logits = clip.logit_scale.clamp(max=4.0).exp() * image @ text.T
        target = torch.arange(len(logits), device=logits.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return loss, (logits.argmax(-1) == target).float().mean().item()


def vision_batch(indices: range) -> VisionBatch:
    """Pictures of the training split with their labels and captions."""
    scenes = [draw("train", index) for index in indices]
    captions = [_caption_ids(scene, index) for scene, index in zip(scenes, indices, strict=True)]
    return VisionBatch(
        torch.from_numpy(np.stack([scene.pixels for scene in scenes])),
        torch.from_numpy(np.stack([patch_labels(scene) for scene in scenes])),
        torch.tensor(captions),
    )


def patch_labels(scene: Scene) -> NDArray[np.int64]:
    """What each patch shows. -> int64 [144, 5]."""
    of_object = [
        (
            1,
            COLOR_NAMES.index(thing.color),
            SHAPES.index(thing.shape),
            SIZES.index(thing.size),
            0 if thing.character is None else 1 + CHARACTERS.index(thing.character),
        )
        for thing in scene.objects
    ]
    return np.array([*of_object, (0, -1, -1, -1, -1)], dtype=np.int64)[scene.owner]


def normalise(pixels: Tensor, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], as the image processor does."""
    scaled = pixels.to(device).float() / 255
    return ((scaled - _MEAN.to(device)) / _STD.to(device)).permute(0, 3, 1, 2).contiguous()


def _caption_ids(scene: Scene, index: int) -> list[int]:
    ids = encode(["<s>", *caption(scene, question_rng("train", index)), "</s>"])
    assert ids[-1] == EOS
    return ids + [PAD] * (CAPTION - len(ids))


def _rows_and_columns() -> Tensor:
    """[144, 2]."""
    return torch.cartesian_prod(torch.arange(GRID), torch.arange(GRID))


@torch.no_grad()
def _add_places(table: Tensor, amplitude: float = 0.5) -> None:
    """A 2-D sinusoid on the position table [145, D], in random directions: rows and columns survive the first norm."""
    waves = torch.logspace(-1, 0.3, table.shape[1] // 4)
    rows, columns = (_rows_and_columns()[:, axis : axis + 1] * waves for axis in (0, 1))
    phases = torch.cat([rows.sin(), rows.cos(), columns.sin(), columns.cos()], dim=1)
    rotation = torch.linalg.qr(torch.randn(table.shape[1], table.shape[1]))[0]
    table[1:] += amplitude * (phases - phases.mean(dim=0)) @ rotation
