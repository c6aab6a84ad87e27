"""The projector's first stage: what each patch shows, said in the embeddings of words.

The language model has read words only, so a visual token begins as a mixture of them: the name of
the thing that the patch shows, its colour, the characters on it, and, as steps between two opposite
words, where the middle of the thing is and how large it is. Patches of the ground say so, and where
they are. No language model runs, so a step costs a tenth of one of the later stages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transprune.nano.train.ahead import made_ahead
from transprune.nano.train.log import Metrics
from transprune.nano.train.loop import cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.smol.palette import COLORS
from transprune.smol.scenes import draw
from transprune.smol.things import PATCH, SIDE
from transprune.smol.train.fitted import fit
from transprune.smol.train.labels import (
    BOX_UNIT,
    CHARACTERS,
    NOTHING,
    Labels,
    all_names,
    batch_labels,
    known_names,
)
from transprune.smol.vision import GRID, look
from transprune.smol.world import World

GROUND = "background"
ACROSS = ("left", "right")
DOWN = ("top", "bottom")
EXTENT = ("small", "large")
_SMALLEST, _LARGEST = 44, 160  # pixels

# shares of a token, against 1 for the name
_COLOR, _CHARACTERS, _PLACE, _SIZE = 0.5, 0.7, 0.6, 0.5

_SHARPNESS = 24.0  # of the choice among names


@dataclass(frozen=True)
class WordsSettings:
    """How the projector learns to say words.

    Attributes:
        name: of the stage, and of its files.
        scenes: pictures that are looked at.
        ground: patches of the ground that are taken from each; of things, all are.
        steps, batch: number of steps, and patches per step.
        first_scene: number of the first picture.
        adam_lr, warmup, lr_floor: peak learning rate, steps to reach it, and the share of the peak
            left at the end.
        seed: of the first weights, and of the draws.
    """

    name: str = "reader1_words"
    scenes: int = 3200
    ground: int = 12
    steps: int = 500
    batch: int = 1500
    first_scene: int = 10_000_000
    adam_lr: float = 3e-3
    warmup: int = 20
    lr_floor: float = 0.02
    seed: int = 0


class Patches(NamedTuple):
    """Patches that were looked at.

    Attributes:
        features: of the tower, float16 [n, D].
        wanted: what to say, in units of an ordinary embedding, float16 [n, E].
        names: long [n], places among the names of training; -100 on the ground.
    """

    features: Tensor
    wanted: Tensor
    names: Tensor


class Vocabulary(NamedTuple):
    """Directions of words among the embeddings of a language model, each of length 1.

    Attributes:
        names: of every name of the world, float [K, D].
        colors, characters: as in `palette.COLORS` and `labels.CHARACTERS`.
        ground: of patches without a thing, float [D].
        across, down, extent: half the step between two opposite words, float [D].
        scale: length of an ordinary embedding.
    """

    names: Tensor
    colors: Tensor
    characters: Tensor
    ground: Tensor
    across: Tensor
    down: Tensor
    extent: Tensor
    scale: float


@torch.no_grad()
def vocabulary(language: Any, tokenizer: Any, names: tuple[str, ...]) -> Vocabulary:
    """Look the words up in the embeddings of a LlamaModel; the mean of all is taken off.

    They lie on the CPU, where pictures are labelled.
    """
    table = language.embed_tokens.weight.float().cpu()
    mean = table.mean(dim=0)

    def directions(texts: tuple[str, ...] | str, space: str = " ") -> Tensor:
        found = []
        for text in texts:
            ids = tokenizer(space + text, add_special_tokens=False).input_ids
            found.append((table[ids] - mean).mean(dim=0))
        return F.normalize(torch.stack(found), dim=-1)

    def step(pair: tuple[str, str]) -> Tensor:
        less, more = directions(pair)
        return (more - less) / 2

    return Vocabulary(
        names=directions(names),
        colors=directions(tuple(COLORS)),
        characters=directions(CHARACTERS, space=""),
        ground=directions((GROUND,))[0],
        across=step(ACROSS),
        down=step(DOWN),
        extent=step(EXTENT),
        scale=(table - mean).norm(dim=-1).mean().item(),
    )


def spoken(words: Vocabulary, labels: Labels) -> Tensor:
    """What every patch says, in units of an ordinary embedding. -> float [B, N, E]."""
    on_thing = (labels.name != NOTHING)[..., None]
    name = torch.where(on_thing, words.names[labels.name.clamp(min=0)], words.ground)

    has_color = (labels.color != NOTHING)[..., None]
    color = torch.where(has_color, words.colors[labels.color.clamp(min=0)], 0.0)
    characters = labels.characters[..., :-1] @ words.characters

    # the middle of the thing, and on the ground that of the patch, from -1 to 1
    steps = (torch.arange(GRID) + 0.5) * PATCH
    own = torch.cartesian_prod(steps, steps).flip(-1).to(labels.box)  # [N, 2], x and y
    middle = 2 * (own + labels.box[..., :2] * BOX_UNIT) / SIDE - 1
    place = middle[..., :1] * words.across + middle[..., 1:] * words.down

    longer = labels.box[..., 2:].amax(dim=-1, keepdim=True) + math.log(BOX_UNIT)
    share = (longer - math.log(_SMALLEST)) / math.log(_LARGEST / _SMALLEST)
    size = torch.where(on_thing, (2 * share - 1) * words.extent, 0.0)

    mixture = name + _COLOR * color + _CHARACTERS * characters + _PLACE * place + _SIZE * size
    return mixture


class WordsStage:
    """The stage; it trains the projector of `model` in place.

    Args:
        model: of `architecture.assemble`, with a trained tower.
        tokenizer: its tokenizer.
        world: what pictures are drawn from.
        settings: of the stage.
        device: where to train.
        workers: processes that draw pictures; with 0 one thread does.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        world: World,
        settings: WordsSettings,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.steps = settings.steps
        self._world = world
        self._workers = workers
        self._model = model.to(device).requires_grad_(False)
        fit(model, world, settings.seed)

        projector = model.model.multi_modal_projector.requires_grad_(True)
        self.module = nn.ModuleDict({"projector": projector})
        self.optimizer = Optimizer(self.module, 0.0, settings.adam_lr)

        self._names = all_names(world.kinds.names)
        self._words = vocabulary(model.model.language_model, tokenizer, self._names)

        # only names of training can be chosen in training
        self._known = known_names(world.kinds)
        self._choices = self._words.names[self._known].to(device)

    def rate(self, step: int) -> float:
        """Warm-up, then cosine."""
        return cosine(step, self.steps, self.settings.warmup, self.settings.lr_floor)

    def prepare(self, step: int) -> Patches:
        """Draw the patches of a step."""
        rng = np.random.default_rng((self.settings.seed, step))
        drawn = rng.integers(len(self._pool.names), size=self.settings.batch)
        return Patches(*(part[torch.from_numpy(drawn)] for part in self._pool))

    def loss(self, batch: Patches, step: int) -> tuple[Tensor, Metrics]:
        """The squared error, as a share of a word's length, and the choice among names."""
        features, wanted, names = (part.to(self._model.device) for part in batch)
        said = self._model.model.multi_modal_projector(features.float()).float() / self._words.scale

        error = (said - wanted.float()).pow(2).sum(dim=-1)  # [n]
        on_thing = names != NOTHING
        things, ground = error[on_thing].mean(), error[~on_thing].mean()

        logits = _SHARPNESS * said[on_thing] @ self._choices.T
        chosen = F.cross_entropy(logits, names[on_thing])

        right = logits.argmax(dim=-1) == names[on_thing]
        metrics = {
            "things": things.item(),
            "ground": ground.item(),
            "name": right.float().mean().item(),
        }
        return things + ground + chosen, metrics

    @cached_property
    @torch.no_grad()
    def _pool(self) -> Patches:
        """Patches of all pictures; a finished stage never looks at them."""
        settings = self.settings
        numbers = {name: number for number, name in enumerate(self._names)}
        places = {number: place for place, number in enumerate(self._known)}
        rng = np.random.default_rng(settings.seed)
        device = self._model.device
        found = []

        def labels_of(number: int) -> Labels:
            return batch_labels([draw(self._world, "train", number)], numbers)

        pictures = range(settings.first_scene, settings.first_scene + settings.scenes)
        for labels in made_ahead(labels_of, pictures, self._workers):
            with torch.autocast(device.type, torch.bfloat16):
                patches = look(self._model.model.vision_tower, labels.pixels).patches[0].cpu()

            name = labels.name[0]
            ground = (name == NOTHING).nonzero()[:, 0].numpy()
            some = rng.permutation(ground)[: settings.ground]
            taken = torch.cat([(name != NOTHING).nonzero()[:, 0], torch.from_numpy(some)])

            chosen = [places.get(value, NOTHING) for value in name[taken].tolist()]
            said = spoken(self._words, labels)[0, taken]
            found.append((patches[taken].half(), said.half(), torch.tensor(chosen)))
        return Patches(*(torch.cat(parts) for parts in zip(*found, strict=True)))
