"""Stage two: projector and language model learn to answer, in front of a frozen tower.

Trained plainly, a model this small reads the picture in its first two layers, and pruning at a depth a paper would
choose would measure nothing. So a shallower model is trained first; then it grows from below by layers that at first
change nothing, and in most steps those layers may not look at the picture until the last fifth of the training. The
finished model is an ordinary one without any such rule; it reads in the middle.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transprune.nano.captions import description
from transprune.nano.questions import FAMILIES, Question
from transprune.nano.scenes import OBJECTS, Scene, draw, question_rng
from transprune.nano.train.curriculum import CHOICE_TOKENS, IGNORE, SHORT_TOKENS, Mix, draw_questions, pack
from transprune.nano.train.loop import Metrics, cosine
from transprune.nano.train.optimizer import Optimizer
from transprune.nano.train.packed import layer_forward, run_packed
from transprune.nano.train.vision import normalise
from transprune.nano.words import BOS, EOS, USER, encode

FIRST = 10_000_000  # the first scene of these stages; the tower has seen those before it
WORDS_LENGTH = 84  # tokens of the longest description, and a full stop or more behind it
_ASKED = (*FAMILIES, "place")


class LanguageBatch(NamedTuple):
    """seen: uint8 pixels [B, 96, 96, 3] or long ids of descriptions [B, 84]; per kind of branch ids and targets long
    [B, K, T]; families long [B, K of all kinds], numbers of `_ASKED`."""

    seen: Tensor
    ids: tuple[Tensor, Tensor]
    targets: tuple[Tensor, Tensor]
    families: Tensor


@dataclass(frozen=True)
class LanguageSettings:
    """How a stage of the language model is trained.

    Attributes:
        name: of the stage.
        steps, batch: scenes per step.
        layers: decoder layers of the model.
        muon, adam, warmup, floor: peak learning rates, steps to reach them, and the share left at the end.
        source: what stands in front of the questions, the picture or the scene in words.
        trained: everything behind the tower, or the projector alone.
        blind: lowest layers that may not see the picture for a while.
        blind_until, sighted_from: shares of the stage: full use of the rule up to the first, none from the second on.
        leak, leak_until: share of leaked multiple choices at the start, and where it has fallen to zero.
        objects_until: share of the stage in which the largest scene grows from 4 to 8 objects.
        first: number of the first scene.
        mix: what is asked.
    """

    name: str
    steps: int
    batch: int = 20
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
    leak_until: float = 0.33
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

    def __init__(self, model: Any, settings: LanguageSettings, device: torch.device, compiled: bool = True) -> None:
        self.settings, self.name, self.steps, self.device = settings, settings.name, settings.steps, device
        self.model = model.to(device)
        self.model.requires_grad_(False)
        inner = model.model
        parts = {"projector": inner.multi_modal_projector, "language": inner.language_model, "head": model.lm_head}
        self.module = nn.ModuleDict(parts)
        (self.module if settings.trained == "all" else self.module["projector"]).requires_grad_(True)
        self.optimizer = Optimizer(self.module, settings.muon, settings.adam)
        self._layer = compiled_layer() if compiled else layer_forward

    def rate(self, step: int) -> float:
        """Warm-up and cosine."""
        return cosine(step, self.steps, self.settings.warmup, self.settings.floor)

    def prepare(self, step: int) -> LanguageBatch:
        """The step's scenes and questions; no scene comes twice."""
        s, done = self.settings, step / self.steps
        most = OBJECTS[1] if done >= s.objects_until else 4 + int(4 * done / s.objects_until)
        leak = s.leak * max(0.0, 1 - done / s.leak_until)
        first = s.first + step * s.batch
        return language_batch(range(first, first + s.batch), s.mix, leak, (2, most), s.source)

    def loss(self, batch: LanguageBatch, step: int) -> tuple[Tensor, Metrics]:
        """Cross-entropy of the answers (their `</s>` counts little), and the share of right answers per family."""
        answers = answer_tokens(self.model, batch, range(self._blind_layers(step)), self._layer)
        weight = torch.where(answers.targets == EOS, 0.05, 1.0)
        each = F.cross_entropy(answers.logits, answers.targets, reduction="none")
        right = right_answers(answers, batch)
        families = batch.families.flatten()
        metrics = {name: right[families == number].float().mean().item() for number, name in enumerate(_ASKED)}
        return (each * weight).sum() / weight.sum(), metrics

    def _blind_layers(self, step: int) -> int:
        """How many layers cannot see the picture in this step: chance, but the same chance whenever asked."""
        s, done = self.settings, step / self.steps
        if s.blind == 0 or done >= s.sighted_from:
            return 0
        odds = 0.9 if done < s.blind_until else 0.5 * (s.sighted_from - done) / (s.sighted_from - s.blind_until)
        return s.blind if np.random.default_rng((s.seed, step)).random() < odds else 0


class Answers(NamedTuple):
    """logits float32 [n, V] and targets long [n] of the supervised tokens; where: bool [B, all branch tokens]."""

    logits: Tensor
    targets: Tensor
    where: Tensor


def answer_tokens(model: Any, batch: LanguageBatch, hidden: Container[int], layer: Callable[..., Tensor]) -> Answers:
    """What the model says at every supervised token, the picture hidden from the questions in some layers."""
    device = model.device
    states = run_packed(model.model.language_model, prefix_of(model, batch.seen), _to(batch.ids, device), hidden, layer)
    targets = torch.cat([part.flatten(1) for part in _to(batch.targets, device)], dim=1)
    where = targets != IGNORE
    rows = torch.cat([part.flatten(1, 2) for part in states], dim=1)[where]
    return Answers(model.lm_head(rows).float(), targets[where], where)


def right_answers(answers: Answers, batch: LanguageBatch) -> Tensor:
    """Whether each question is answered right, `</s>` aside. -> bool [B * K of all kinds]."""
    good = torch.ones_like(answers.where)
    good[answers.where] = (answers.logits.argmax(-1) == answers.targets) | (answers.targets == EOS)
    sizes = [part.shape[1] * part.shape[2] for part in batch.ids]
    parts = good.split(sizes, dim=1)
    return torch.cat(
        [part.unflatten(1, ids.shape[1:]).all(-1) for part, ids in zip(parts, batch.ids, strict=True)], dim=1
    ).flatten()


def prefix_of(model: Any, seen: Tensor) -> Tensor:
    """Embeddings in front of the questions: `<s> USER:`, then the projected picture or the words. -> [B, P, D]."""
    embed = model.model.language_model.embed_tokens
    start = embed(torch.tensor([BOS, USER], device=model.device)).expand(len(seen), -1, -1)
    if seen.dtype == torch.uint8:
        with torch.no_grad():
            tower = model.model.vision_tower(pixel_values=normalise(seen, model.device), output_hidden_states=True)
        body = model.model.multi_modal_projector(tower.hidden_states[-2][:, 1:].float()).float()
    else:
        body = embed(seen.to(model.device))
    return torch.cat([start, body], dim=1)


def language_batch(
    indices: range, mix: Mix, leak: float, objects: tuple[int, int], source: str, split: Any = "train"
) -> LanguageBatch:
    """Scenes of a split with their questions, packed."""
    rows = []
    for index in indices:
        scene, rng = draw(split, index, objects), question_rng(split, index)
        short, choice = draw_questions(scene, mix, leak, rng)
        seen = torch.from_numpy(scene.pixels) if source == "picture" else _description_ids(scene, rng)
        rows.append((seen, *pack(short, SHORT_TOKENS), *pack(choice, CHOICE_TOKENS), _families(short + choice)))
    seen, short_ids, short_targets, choice_ids, choice_targets, families = (
        torch.stack(part) for part in zip(*rows, strict=True)
    )
    return LanguageBatch(seen, (short_ids, choice_ids), (short_targets, choice_targets), families)


def grow(young: Any, grown: Any) -> None:
    """Give `grown` the weights of the shallower `young`; its extra layers lie at the bottom and change nothing yet."""
    old, new = young.model.language_model, grown.model.language_model
    extra = len(new.layers) - len(old.layers)
    with torch.no_grad():
        for layer in new.layers[:extra]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    for source, target in zip(old.layers, new.layers[extra:], strict=True):
        target.load_state_dict(source.state_dict())
    new.embed_tokens.load_state_dict(old.embed_tokens.state_dict())
    new.norm.load_state_dict(old.norm.state_dict())
    grown.lm_head.load_state_dict(young.lm_head.state_dict())
    grown.model.multi_modal_projector.load_state_dict(young.model.multi_modal_projector.state_dict())


@torch.no_grad()
def initialise(model: Any, seed: int = 0) -> None:
    """Widths that Muon likes: unit-size rows everywhere, residual branches small, loud embeddings, a quiet head."""
    generator = torch.Generator().manual_seed(seed)

    def fill(weight: Tensor, deviation: float) -> None:
        weight.copy_(torch.randn(weight.shape, generator=generator) * deviation)

    language = model.model.language_model
    depth = (2 * len(language.layers)) ** -0.5
    for layer in language.layers:
        for name, weight in layer.named_parameters():
            if weight.ndim == 2:
                fill(weight, weight.shape[1] ** -0.5 * (depth if "o_proj" in name or "down_proj" in name else 1.0))
    fill(language.embed_tokens.weight, 0.5)
    fill(model.lm_head.weight, 0.02)


@torch.no_grad()
def standardise(model: Any, scenes: int = 64) -> None:
    """Start the projector so that every channel of the tower's features arrives with mean 0 and deviation 1."""
    pixels = torch.from_numpy(np.stack([draw("train", FIRST - 1 - number).pixels for number in range(scenes)]))
    tower = model.model.vision_tower(pixel_values=normalise(pixels, model.device), output_hidden_states=True)
    features = tower.hidden_states[-2][:, 1:].flatten(0, 1)
    mean, deviation = features.mean(dim=0), features.std(dim=0) + 1e-3
    first, second = model.model.multi_modal_projector.linear_1, model.model.multi_modal_projector.linear_2
    generator = torch.Generator().manual_seed(scenes)
    for linear in (first, second):
        linear.weight.copy_(torch.randn(linear.weight.shape, generator=generator) * linear.weight.shape[1] ** -0.5)
        linear.bias.zero_()
    first.weight.div_(deviation)
    first.bias.copy_(-first.weight @ mean)


def compiled_layer() -> Callable[..., Tensor]:
    """The layer function, compiled where a compiler is there: about a third faster on a CPU."""
    if not torch.cuda.is_available() and not any(map(shutil.which, ("g++", "c++", "clang++"))):
        return layer_forward
    return torch.compile(layer_forward, dynamic=False)


def _description_ids(scene: Scene, rng: np.random.Generator) -> Tensor:
    words = description(scene, rng)
    return torch.tensor(encode([*words, *["."] * (WORDS_LENGTH - len(words))]))


def _families(questions: list[Question]) -> Tensor:
    return torch.tensor([_ASKED.index(question.family) for question in questions])


def _to(parts: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    return tuple(part.to(device) for part in parts)
