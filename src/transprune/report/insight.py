"""What the model itself shows about the run's own pictures: how tokens change, what the question looks at, what stays.

One unpruned pass per batch gives everything per layer: TransPrune with every keep ratio at 1 drops nothing, and its
trace then carries the change of every module and both criteria at every boundary.
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
from transprune.session import prune
from transprune.trace import Trace

Floats = NDArray[np.float32]
BATCH = 32
MODULES = ("attention", "mlp")


@dataclass(frozen=True)
class Insight:
    """Per question (Q), decoder layer (L, the first is 1) and visual token (N), float32.

    Attributes:
        magnitude, cosine: of attention and MLP, [Q, L, 2, N].
        ttv: token transition variation of both modules together, [Q, L, N].
        iga: instruction-guided attention at boundaries 1..L-1, sum 1 over the tokens, [Q, L - 1, N].
    """

    magnitude: Floats
    cosine: Floats
    ttv: Floats
    iga: Floats

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return int(self.ttv.shape[1])


def look(prompts: PreparedQuestions, items: Sequence[Item]) -> Insight:
    """Run the items unpruned and measure everything. All must have the same number of visual tokens."""
    depth = prompts.geometry.layers
    method = TransPrune(
        Schedule(dict.fromkeys(range(1, depth), 1.0)), accumulate=range(1, depth + 1)
    )
    parts: list[tuple[Floats, ...]] = []
    for some, slots, trace in _passes(prompts, items, method, ("scores", "transitions", "changes")):
        for row in range(len(some)):
            at = slots[row]
            both = [
                [trace.changes[layer, m][row][:, at] for m in MODULES]
                for layer in range(1, depth + 1)
            ]
            changes = torch.stack(
                [torch.stack(pair) for pair in both]
            )  # [L, 2, (magnitude, cosine), N]
            ttv = torch.stack(
                [
                    torch.stack([trace.transitions[layer, m][row][at] for m in MODULES]).sum(dim=0)
                    for layer in range(1, depth + 1)
                ]
            )
            iga = torch.stack([stage.scores["iga"][row] for stage in trace.stages if stage.scores])
            parts.append(tuple(t.numpy() for t in (changes[:, :, 0], changes[:, :, 1], ttv, iga)))
    magnitude, cosine, ttv_, iga_ = (np.stack(values) for values in zip(*parts, strict=True))
    return Insight(magnitude, cosine, ttv_, iga_)


def keep_rates(prompts: PreparedQuestions, items: Sequence[Item]) -> dict[str, dict[int, Floats]]:
    """How often TTV alone and IGA alone keep each token, at the High schedule. -> criterion -> boundary -> [N]."""
    rates: dict[str, dict[int, Floats]] = {}
    for name, method in (("TTV", TransPrune.ttv()), ("IGA", TransPrune.iga())):
        kept: dict[int, Floats] = {}
        for some, slots, trace in _passes(prompts, items, method, ()):
            for stage in trace.stages:
                count = kept.setdefault(stage.boundary, np.zeros(len(slots[0]), np.float32))
                for row in range(len(some)):
                    count[stage.keep[row].numpy()] += 1
        rates[name] = {boundary: count / np.float32(len(items)) for boundary, count in kept.items()}
    return rates


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive token scores higher than another one, ties half (Mann-Whitney); NaN with one class only.

    Args:
        scores: [N].
        positive: bool [N].
    """
    good, bad = scores[positive], scores[~positive]
    if not len(good) or not len(bad):
        return float("nan")
    ordered = np.sort(bad)
    below, up_to = (np.searchsorted(ordered, good, side=side) for side in ("left", "right"))
    return float((below + up_to).sum() / (2 * len(good) * len(bad)))


def layer_aucs(
    insight: Insight, objects: NDArray[np.bool_], asked: NDArray[np.bool_]
) -> dict[str, list[float]]:
    """Mean AUC over questions per layer, by what is compared.

    Args:
        insight: the measurements.
        objects: bool [Q, N], tokens that show any object.
        asked: bool [Q, N], tokens that show what the question is about.

    Returns:
        `"TTV, objects"` and `"TTV, asked"` for layers 1..L; `"IGA, objects"` and `"IGA, asked"` for boundaries 1..L-1.
    """
    found: dict[str, list[float]] = {}
    for criterion, scores in (("TTV", insight.ttv), ("IGA", insight.iga)):
        for what, truth in (("objects", objects), ("asked", asked)):
            found[f"{criterion}, {what}"] = [
                _mean_auc(scores[:, at], truth) for at in range(scores.shape[1])
            ]
    return found


def same_grid(grids: Mapping[Item, Grid]) -> tuple[Grid, list[Item]] | None:
    """The commonest grid and the items that have it; None where no item has one."""
    if not grids:
        return None
    values = list(grids.values())
    grid = max(dict.fromkeys(values), key=values.count)
    return grid, [item for item, own in grids.items() if own == grid]


def _mean_auc(scores: Floats, truth: NDArray[np.bool_]) -> float:
    values = np.array([auc(row, positive) for row, positive in zip(scores, truth, strict=True)])
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _passes(
    prompts: PreparedQuestions, items: Sequence[Item], method: TransPrune, record: Sequence[str]
) -> Iterator[tuple[Sequence[Item], list[torch.Tensor], Trace]]:
    """Batches of items, the prompt slots of their visual tokens, and the trace of one prefill under `method`."""
    model = prompts.checkpoint.model
    for start in range(0, len(items), BATCH):
        some = items[start : start + BATCH]
        inputs = prompts.batch(some, encoded=False)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        with torch.no_grad(), prune(model, method, record=record) as session:
            model(**inputs, use_cache=False, logits_to_keep=1)
        visual = prompts.family.visual(prompts.base, inputs["input_ids"]).cpu()
        yield some, [row.nonzero().flatten() for row in visual], session.trace
