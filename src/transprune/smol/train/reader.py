"""The language model learns to read visual tokens: the projector and a low-rank update together.

One picture serves several questions and descriptions, packed behind it (`packing`). At first the
language model is given a few tokens of a single thing, each in its own position, and is asked about
this thing: many pictures fit into a step, and nothing has to be found. Then it is given a few things
with some ground. The last stage has all 576 tokens, as the finished model has.

The update is held to what the language model said without pictures: now and then the divergence from
its own predictions on a dialogue (`dialogues`) is added to the loss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transprune.nano.packed import run_packed
from transprune.nano.train.language import compiled_layer
from transprune.nano.train.log import Metrics
from transprune.nano.train.loop import cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.smol.asker import Asker, Question
from transprune.smol.low_rank import LowRank
from transprune.smol.packing import Packed, answer_logits, pack, right_answers
from transprune.smol.questions import ask_all, asker_of
from transprune.smol.scenes import Scene, draw
from transprune.smol.train.describe import descriptions
from transprune.smol.world import World


@dataclass(frozen=True)
class ReaderSettings:
    """How a stage of the reader is trained.

    Attributes:
        name: of the stage, and of its files.
        steps, batch: number of steps, and pictures per step.
        views: prompts made of a picture, each showing other things: the tower sees it once.
        shown: things of a picture whose tokens the language model is given in a prompt, and which
            it is asked about; None: all.
        tokens: visual tokens that it is given, those of the ground included; None: all.
        first_scene: number of the first picture; stages share none.
        per_category: questions of each category in a prompt, where there are so many.
        described: single things that are described, besides all that are shown.
        slots: branches for them, see `packing.pack`.
        adam_lr, warmup, lr_floor: peak learning rate, steps to reach it, and the share of the peak
            left at the end.
        end_weight: of the end of an answer in the loss, against 1 for its words.
        talk_every, talks, talk_weight: steps from one look at dialogues to the next, how many
            dialogues, and the weight of their divergence.
        seed: of the ground tokens that are left out.
    """

    name: str
    steps: int
    batch: int = 2
    views: int = 1
    shown: int | None = None
    tokens: int | None = None
    first_scene: int = 20_000_000
    per_category: int = 3
    described: int = 4
    slots: tuple[tuple[int, int], ...] = ((12, 20), (8, 28), (4, 52))
    adam_lr: float = 1e-3
    warmup: int = 100
    lr_floor: float = 0.02
    end_weight: float = 0.2
    talk_every: int = 3
    talks: int = 1
    talk_weight: float = 1.0
    seed: int = 0


class ReaderBatch(NamedTuple):
    """The prompts of a step.

    Attributes:
        packed: pictures and branches.
        asked: the questions of each prompt.
        pictures: long [R], the picture of each prompt.
        kept: long [R, N], the visual tokens of each prompt.
    """

    packed: Packed
    asked: list[list[Question]]
    pictures: Tensor
    kept: Tensor


class ReaderStage:
    """One stage of the reader; it trains the projector of `model`, and `low_rank`, in place.

    Args:
        model: of `architecture.assemble`, with a language model in bfloat16.
        low_rank: the update of its language model.
        tokenizer: its tokenizer.
        dialogues: of `dialogues.make_dialogues`.
        world: what pictures are drawn from.
        settings: of the stage.
        device: where to train.
    """

    def __init__(
        self,
        model: Any,
        low_rank: LowRank,
        tokenizer: Any,
        dialogues: Tensor,
        world: World,
        settings: ReaderSettings,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.steps = settings.steps
        self.device = device
        self._world = world
        self._tokenizer = tokenizer
        self._dialogues = dialogues.to(device)

        self._model = model.to(device).requires_grad_(False)

        self._low_rank = low_rank.to(device)
        projector = model.model.multi_modal_projector.requires_grad_(True)
        self.module = nn.ModuleDict({"projector": projector, "low_rank": low_rank})
        self.optimizer = Optimizer(self.module, 0.0, settings.adam_lr)
        self._layer = compiled_layer()

    def rate(self, step: int) -> float:
        """Warm-up, then cosine."""
        return cosine(step, self.steps, self.settings.warmup, self.settings.lr_floor)

    def prepare(self, step: int) -> ReaderBatch:
        """Draw the pictures and questions of a step; no picture comes twice."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, step))
        first = settings.first_scene + step * settings.batch
        pixels = []
        asked = []
        kept = []
        for number in range(first, first + settings.batch):
            scene = draw(self._world, "train", number)
            pixels.append(torch.from_numpy(scene.pixels))
            asker = asker_of(self._world, scene, "train", number)
            for shown in self._shown(scene, rng):
                asked.append(self._ask(asker, shown))
                kept.append(self._kept(scene, shown, rng))

        packed = pack(torch.stack(pixels), asked, self._tokenizer, settings.slots)
        pictures = torch.arange(settings.batch).repeat_interleave(settings.views)
        return ReaderBatch(packed, asked, pictures, torch.stack(kept))

    def loss(self, batch: ReaderBatch, step: int) -> tuple[Tensor, Metrics]:
        """Cross-entropy of the answers, and the share of right ones per category."""
        packed = batch.packed
        weights = self._low_rank.weights
        logits = answer_logits(
            self._model,
            self._tokenizer,
            packed,
            self._layer,
            weights,
            kept=batch.kept,
            pictures=batch.pictures,
        )
        targets = packed.targets.to(logits.device)

        ends = targets == self._tokenizer.eos_token_id
        weight = torch.where(ends, self.settings.end_weight, 1.0)
        each = F.cross_entropy(logits, targets, reduction="none")
        loss = (each * weight).sum() / weight.sum()
        metrics = {"answers": loss.item(), **_shares(batch.asked, right_answers(logits, packed))}

        if step % self.settings.talk_every == 0:
            talk = self._talk(step // self.settings.talk_every)
            metrics["talk"] = talk.item()
            loss = loss + self.settings.talk_weight * talk
        return loss, metrics

    def _shown(self, scene: Scene, rng: np.random.Generator) -> list[list[int]]:
        """Numbers of the things that are shown, view by view; where they run out, from the first."""
        order = rng.permutation(len(scene.things)).tolist()
        count = len(order[: self.settings.shown])
        around = cycle(order)
        return [list(islice(around, count)) for _ in range(self.settings.views)]

    def _ask(self, asker: Asker, shown: list[int]) -> list[Question]:
        """Descriptions of things that are shown, then questions about them or what is not there."""
        settings = self.settings
        told = descriptions(asker.scene, asker.rng, settings.described, shown)

        # in any order: where slots are short, every category is left out as often
        asked = ask_all(asker, settings.per_category)
        fitting = [question for question in asked if set(question.things) <= set(shown)]
        return told + [fitting[place] for place in asker.rng.permutation(len(fitting))]

    def _kept(self, scene: Scene, shown: list[int], rng: np.random.Generator) -> Tensor:
        """Tokens of shown things first, then of the ground, none of other things. -> long [N]."""
        if self.settings.tokens is None:
            return torch.arange(len(scene.owner))

        ground = scene.owner < 0
        order = rng.random(len(scene.owner)) - ground - 2 * ~(ground | np.isin(scene.owner, shown))
        return torch.from_numpy(np.sort(np.argsort(-order)[: self.settings.tokens]))

    def _talk(self, number: int) -> Tensor:
        """Divergence from the language model's own predictions on dialogues, in nats a token."""
        talks = self.settings.talks
        places = (number * talks + torch.arange(talks)) % len(self._dialogues)
        ids = self._dialogues[places]  # [R, T]
        # padding is the token that ends a turn, which counts once
        padding = ids == self._tokenizer.pad_token_id
        real = ~(padding[:, 1:] & padding[:, :-1])

        with torch.no_grad():
            before = self._predict(ids, None)
        after = self._predict(ids, self._low_rank.weights)
        each = F.kl_div(after, before, reduction="none", log_target=True).sum(dim=-1)
        return each[real].mean()

    def _predict(self, ids: Tensor, weights: Callable[..., Any] | None) -> Tensor:
        """Logarithms of the next tokens' probabilities. [R, T] -> [R, T - 1, V]."""
        language = self._model.model.language_model
        prefix = language.embed_tokens(ids[:, :1]).float()
        (states,) = run_packed(
            language, prefix, [ids[:, None, 1:]], layer=self._layer, weights=weights
        )
        return self._model.lm_head(states[:, 0]).float().log_softmax(dim=-1)


def _shares(asked: list[list[Question]], verdicts: list[dict[int, bool]]) -> Metrics:
    """The share of right answers per category; a category without questions is left out."""
    found: dict[str, list[bool]] = defaultdict(list)
    for questions, right in zip(asked, verdicts, strict=True):
        for number, verdict in right.items():
            found[questions[number].category].append(verdict)
    return {category: sum(hits) / len(hits) for category, hits in found.items()}
