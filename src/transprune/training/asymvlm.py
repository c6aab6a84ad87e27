"""AsymVLM's training: the scorer learns the attention that the frozen model's instruction pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from transprune.bench.data.tasks.base import Item
from transprune.bench.run.answers import to_device
from transprune.bench.run.prepared import PreparedQuestions
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.errors import TrainingError
from transprune.families.layers import LayerKind
from transprune.methods.asymvlm import AsymVLM
from transprune.methods.common.cross_attention import rate
from transprune.methods.common.method import LayerPruner
from transprune.session import prune

COVERED = 0.25  # share of the tokens whose part of the attention is shown while training


@dataclass(frozen=True, eq=False)
class Watching(LayerPruner):
    """Keep everything, and note what enters layer 0 and the attention of every layer that has any.

    Args:
        boundaries: behind the layers that are read.
    """

    boundaries: tuple[int, ...]
    rows: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    attention: dict[int, list[Tensor]] = field(default_factory=dict)

    name: ClassVar[str] = "asymvlm"
    reads: ClassVar[Reads] = Reads(rows="instruction", source="previous", embeddings=True)

    def schedule(self, num_layers: int) -> Schedule:
        """Everything stays everywhere."""
        return Schedule([(boundary, 1.0) for boundary in self.boundaries])

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """The attention of the layer that has just run, of the next sample."""
        if view.boundary == self.boundaries[0]:
            self.rows.append(view.embeddings)
        received = view.mean_attention("instruction")  # [N]
        self.attention.setdefault(view.boundary, []).append(received)
        return {"score": received}

    def targets(self) -> list[Tensor]:
        """For each sample the shares of the attention, summed over the layers. [N] each."""
        samples = zip(*self.attention.values(), strict=True)
        sums = [torch.stack(list(layers)).sum(dim=0) for layers in samples]
        return [received / received.sum() for received in sums]


class AsymVLMTrainee:
    """The scorer of AsymVLM and its loss on a batch.

    Args:
        method: not used but for its kind: mass and bounds matter at inference only.
        modules: the scorer at boundary 0, weights that require gradients.
        questions: prepared for the frozen model.
        seed: nothing is drawn here.
    """

    def __init__(
        self,
        method: AsymVLM,
        modules: dict[int, dict[str, Tensor]],
        questions: PreparedQuestions,
        seed: int,
    ) -> None:
        self.modules = modules
        self._questions = questions
        self._model: Any = questions.checkpoint.model
        self._boundaries = _behind_attention(questions)

    def loss(
        self, items: Sequence[Item], step: int, done: float
    ) -> tuple[Tensor, dict[str, float]]:
        """KL divergence of the scorer's shares from those of the attention, mean over the batch."""
        watching = Watching(self._boundaries)
        inputs = to_device(self._questions.batch(items, encoded=True), self._model)
        with torch.no_grad(), prune(self._model, watching):
            self._model(**inputs, use_cache=False, logits_to_keep=1)

        losses = []
        covered = []
        for (rows, words), target in zip(watching.rows, watching.targets(), strict=True):
            logits = rate(self.modules[0], rows, words)[:, 0]
            losses.append(divergence(target, logits))
            best = logits.detach().topk(max(1, int(COVERED * len(target)))).indices
            covered.append(float(target[best].sum()))

        loss = torch.stack(losses).mean()
        return loss, {"attention kept at 25 %": sum(covered) / len(covered)}


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target || softmax(logits)), in nats. [N], [N] -> scalar."""
    known = target.clamp(min=torch.finfo(torch.float32).tiny).log()
    return (target * (known - logits.log_softmax(dim=0))).sum()


def _behind_attention(questions: PreparedQuestions) -> tuple[int, ...]:
    """Boundaries behind the decoder layers that have attention of their own.

    Raises:
        TrainingError: no layer has.
    """
    kinds: list[LayerKind] = questions.family.layer_kinds(questions.base)
    found = [index + 1 for index, kind in enumerate(kinds[:-1]) if kind.stores_keys]
    if not found:
        raise TrainingError("this model has no attention between its layers to learn from")
    return tuple(found)
