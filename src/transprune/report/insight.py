"""Measure the model on the images of the run: transitions, both criteria, keep rates.

One unpruned pass per batch gives all values of all layers: TransPrune with every keep ratio at 1
drops nothing, and its trace then has the change made by every module and both criteria at every
boundary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from transprune.bench.data.tasks import Item
from transprune.bench.run.prepared import PreparedQuestions
from transprune.core.schedule import Schedule
from transprune.methods.transprune import TransPrune
from transprune.report.overlay import Grid
from transprune.report.progress import Progress, named, silent
from transprune.session import prune
from transprune.trace import Trace

QUESTIONS_PER_PASS = 32  # the trace of a pass holds every layer of all its samples
MODULES = ("attention", "mlp")

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Insight:
    """Measurements per question (Q), decoder layer (L, the first is 1) and visual token (N).

    Attributes:
        magnitude, cosine: of attention and MLP, [Q, L, 2, N].
        ttv: token transition variation, sum of both modules, [Q, L, N].
        iga: instruction-guided attention at boundaries 1..L-1, sums to 1 over the tokens,
            [Q, L - 1, N].
    """

    magnitude: Floats
    cosine: Floats
    ttv: Floats
    iga: Floats

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return int(self.ttv.shape[1])


@dataclass(frozen=True)
class _Pass:
    """One prefill of a batch.

    Attributes:
        slots: per sample, the prompt slots of its visual tokens, [N].
        trace: of the prefill.
    """

    slots: list[torch.Tensor]
    trace: Trace


def measure(
    questions: PreparedQuestions,
    items: Sequence[Item],
    progress: Progress = silent,
) -> Insight:
    """Run the items unpruned and measure every layer.

    Args:
        questions: of the run, with the model.
        items: all with the same number of visual tokens.
        progress: called before each batch.
    """
    layers = questions.geometry.layers
    # a boundary without a stage would have no IGA in the trace
    keep_all = Schedule(dict.fromkeys(range(1, layers), 1.0))
    method = TransPrune(keep_all, accumulate=range(1, layers + 1))

    samples = []
    record = ("scores", "transitions", "changes")
    for one in _passes(questions, items, method, record, named("measuring layers", progress)):
        for row in range(len(one.slots)):
            samples.append(_read_sample(one, row, layers))

    stacked = {}
    for name in ("magnitude", "cosine", "ttv", "iga"):
        stacked[name] = np.stack([getattr(sample, name) for sample in samples])
    return Insight(**stacked)


def _read_sample(one: _Pass, row: int, layers: int) -> Insight:
    """The measurements of one sample, without the axis Q."""
    trace = one.trace
    slots = one.slots[row]

    changes: list[torch.Tensor] = []
    ttv: list[torch.Tensor] = []
    for layer in range(1, layers + 1):
        modules = [trace.changes[layer, module][row][:, slots] for module in MODULES]
        changes.append(torch.stack(modules))  # [2, (magnitude, cosine), N]
        transitions = [trace.transitions[layer, module][row][slots] for module in MODULES]
        ttv.append(torch.stack(transitions).sum(dim=0))  # [2, N] -> [N]

    # at boundaries 1..L-1, in this order
    iga = [stage.scores["iga"][row] for stage in trace.stages if stage.scores]
    magnitude, cosine = torch.stack(changes).unbind(dim=2)  # [L, 2, (..), N] -> two of [L, 2, N]
    return Insight(
        magnitude=magnitude.numpy(),
        cosine=cosine.numpy(),
        ttv=torch.stack(ttv).numpy(),
        iga=torch.stack(iga).numpy(),
    )


def keep_rates(
    questions: PreparedQuestions,
    items: Sequence[Item],
    progress: Progress = silent,
) -> dict[str, dict[int, Floats]]:
    """How often TTV alone and IGA alone keep each token with the High schedule.

    Args:
        questions: of the run, with the model.
        items: all with the same number of visual tokens.
        progress: called before each batch.

    Returns:
        criterion -> boundary -> share of the questions that keep each token, [N].
    """
    criteria = {"TTV": TransPrune.ttv(), "IGA": TransPrune.iga()}

    rates: dict[str, dict[int, Floats]] = {}
    for criterion, method in criteria.items():
        step = named(f"pruning by {criterion} alone", progress)
        counts = _keep_counts(questions, items, method, step)
        total = np.float32(len(items))
        rates[criterion] = {boundary: count / total for boundary, count in counts.items()}
    return rates


def _keep_counts(
    questions: PreparedQuestions, items: Sequence[Item], method: TransPrune, progress: Progress
) -> dict[int, Floats]:
    """Boundary -> number of the questions that keep each token, [N]."""
    counts: dict[int, Floats] = {}

    for one in _passes(questions, items, method, (), progress):
        for stage in one.trace.stages:
            nothing = np.zeros(len(one.slots[0]), np.float32)
            count = counts.setdefault(stage.boundary, nothing)
            # kept tokens are distinct, so every one of them adds 1
            for row in range(len(one.slots)):
                count[stage.keep[row].numpy()] += 1

    return counts


def most_common_grid(grids: Mapping[Item, Grid]) -> tuple[Grid, list[Item]] | None:
    """The most common grid and the items that have it; None without any item."""
    if not grids:
        return None

    values = list(grids.values())
    distinct = dict.fromkeys(values)  # in the order of the items, so that the first wins a tie
    grid = max(distinct, key=values.count)
    return grid, [item for item, own in grids.items() if own == grid]


def _passes(
    questions: PreparedQuestions,
    items: Sequence[Item],
    method: TransPrune,
    record: Sequence[str],
    progress: Progress,
) -> Iterator[_Pass]:
    """One prefill per batch of items under `method`."""
    model = questions.checkpoint.model
    for start in range(0, len(items), QUESTIONS_PER_PASS):
        progress("questions", start, len(items))
        batch = items[start : start + QUESTIONS_PER_PASS]
        # pixels: encoded pictures come in a nested dict, which the next line could not move
        inputs = questions.batch(batch, encoded=False)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}

        with torch.no_grad(), prune(model, method, record=record) as session:
            # the trace is all that is needed: neither a cache nor logits
            model(**inputs, use_cache=False, logits_to_keep=1)

        visual = questions.family.visual_mask(questions.base, inputs["input_ids"]).cpu()  # [B, L]
        slots = [row.nonzero().flatten() for row in visual]
        yield _Pass(slots, session.trace)
