"""LVPruning's training: decisions are drawn, and act as an attention mask; no token is removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from transprune.bench.data.tasks.base import Item
from transprune.bench.run.prepared import PreparedQuestions
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.errors import TrainingError
from transprune.methods.common.cross_attention import Module, rate
from transprune.methods.common.method import LayerPruner
from transprune.methods.lvpruning import LVPruning
from transprune.session import prune
from transprune.training.lessons import Answers

WEIGHT = 2.0  # of the ratio loss
HOT, COLD = 1.0, 0.1  # temperature at the first and the last step
# a dropped token keeps this share of its attention: nothing, but for the gradient of its decision
FLOOR = 1e-8


@dataclass(frozen=True, eq=False)
class Masking(LayerPruner):
    """LVPruning with all tokens left in place: those that are dropped are masked as keys.

    A decision d in {0, 1} adds log d to the logits of its key, so softmax weights are multiplied
    by d, and the gradient with respect to d is that of the multiplication. What a token was dropped
    by at one boundary holds at all later ones, because the logarithms add up.

    Args:
        modules: boundary -> module that is being trained.
        answer_rows: rows of each sample's answer, which the words must not include.
        temperature: of the Gumbel-softmax.
        generator: of its noise.
    """

    modules: Mapping[int, Module]
    answer_rows: tuple[int, ...]
    temperature: float
    generator: torch.Generator
    kept: dict[int, list[Tensor]] = field(default_factory=dict)

    name: ClassVar[str] = "lvpruning"
    reads: ClassVar[Reads] = Reads(signals=("instruction_rows",))

    def schedule(self, num_layers: int) -> Schedule:
        """Everything stays everywhere."""
        return Schedule([(boundary, 1.0) for boundary in sorted(self.modules)])

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """The logits of the next sample at this boundary."""
        number = len(self.kept.setdefault(view.boundary, []))
        words = view.read("instruction_rows")
        words = words[: len(words) - self.answer_rows[number]]
        if not len(words):
            raise TrainingError(
                "a prompt ends with its picture, so there is no instruction to prune by; put the "
                "question behind the picture"
            )

        logits = rate(self.modules[view.boundary], view.hidden, words)  # [N, 2]
        return {"score": logits[:, 0] - logits[:, 1]}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """All tokens, weighed by what was decided."""
        scores = self.score(view, carry)
        decision = draw_decisions(scores["score"], self.temperature, self.generator)

        boundaries = sorted(self.modules)
        place = boundaries.index(view.boundary)
        number = len(self.kept[view.boundary])
        # a token that an earlier boundary dropped stays dropped
        still = decision
        if place:
            still = decision * self.kept[boundaries[place - 1]][number]

        self.kept[view.boundary].append(still)

        # nothing is dropped in training: a token that goes gets a bias on its key, which has a
        # gradient
        keep = torch.arange(len(decision), device=decision.device)
        bias = (FLOOR + (1 - FLOOR) * decision).log()
        detached = {name: score.detach() for name, score in scores.items()}
        return Selection(keep, scores=detached, key_bias=bias)


def draw_decisions(score: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Keep (1) or drop (0), drawn with the Gumbel-softmax. [N] -> [N].

    The straight-through estimator: the value is the decision, the gradient that of its probability
    at this temperature. The difference of two Gumbel variables is logistic.
    """
    uniform = torch.rand(score.shape, generator=generator, dtype=torch.float32)
    noise = torch.logit(uniform, eps=1e-6).to(score.device)
    soft = torch.sigmoid((score + noise) / temperature)
    hard = (soft > 0.5).float()
    return hard + (soft - soft.detach())


class LVPruningTrainee:
    """The modules of LVPruning and their loss on a batch.

    Args:
        method: with the ratios that are aimed at.
        modules: boundary -> weights that require gradients.
        questions: prepared for the frozen model.
        seed: of the noise.
    """

    def __init__(
        self,
        method: LVPruning,
        modules: dict[int, dict[str, Tensor]],
        questions: PreparedQuestions,
        seed: int,
    ) -> None:
        self.modules = modules
        self._model: Any = questions.checkpoint.model
        self._answers = Answers(questions)
        self._targets = dict(method.schedule(questions.geometry.layers))
        self._seed = seed

    def loss(
        self, items: Sequence[Item], step: int, done: float
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of the answers, and of the shares that stay.

        Args:
            items: the questions.
            step: number of the step, which seeds the noise.
            done: share of the training that is done, 0..1.
        """
        lesson = self._answers.lesson(items)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        temperature = HOT * (COLD / HOT) ** done
        masking = Masking(self.modules, lesson.answer_rows, temperature, generator)

        rows = lesson.targets.shape[1]
        with prune(self._model, masking):
            given = self._model(**lesson.inputs, use_cache=False, logits_to_keep=rows)

        logits = given.logits[:, -rows:].float()  # [B, R, V]
        answers = F.cross_entropy(logits.flatten(0, 1), lesson.targets.flatten())

        shares = {}
        for at, kept in masking.kept.items():
            shares[at] = torch.stack([one.mean() for one in kept])

        ratio = self._ratio_loss(shares)
        figures = {f"kept at {at}": float(share.detach().mean()) for at, share in shares.items()}
        return answers + WEIGHT * ratio, {"answers": float(answers.detach()), **figures}

    def _ratio_loss(self, shares: dict[int, Tensor]) -> Tensor:
        """Sum over the boundaries of the mean squared distance from the target."""
        losses = [(share - self._targets[at]).square().mean() for at, share in shares.items()]
        return torch.stack(losses).sum()
