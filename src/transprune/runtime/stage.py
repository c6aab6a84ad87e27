"""One stage: show the method its views, gather what it decides, and say what remains."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from transprune.core.layout import Layout
from transprune.core.plan import Stage
from transprune.core.views import (
    JointSpace,
    LayerView,
    ProjectorView,
    Selection,
    View,
    VisionSignals,
)
from transprune.errors import MethodError, PruneWarning
from transprune.methods.common.method import LayerPruner, Method, ProjectorPruner
from transprune.runtime.forward_pass import Pass
from transprune.runtime.taps.attention.pool import PoolProbe
from transprune.runtime.taps.attention.rows import AttentionRows
from transprune.trace import TraceStage

Pool = Literal["sample", "image"]


@dataclass(frozen=True)
class Part:
    """One method of the session, with what it needs at its boundaries."""

    number: int
    method: Method
    num_layers: int
    pool: Pool


@dataclass(frozen=True)
class Decision:
    """What a stage decided about the batch.

    Attributes:
        dropped: per sample, the rows that go. long [n].
        features: per sample, [k, D] to put in the place of the visual rows that stay, or None.
        biases: per sample, float32 [k] for the same rows as keys, or None.
        trace: the record of it.
    """

    dropped: list[Tensor]
    features: list[Tensor | None]
    biases: list[Tensor | None]
    trace: TraceStage

    @property
    def merges(self) -> bool:
        """Some kept rows get new contents."""
        return any(features is not None for features in self.features)

    @property
    def weighs(self) -> bool:
        """Some kept rows count more, or less, as keys."""
        return any(bias is not None for bias in self.biases)

    @property
    def changes_nothing(self) -> bool:
        """Every token of every sample stays, untouched."""
        return not self.merges and not self.weighs and not any(len(rows) for rows in self.dropped)


@dataclass(frozen=True)
class Sight:
    """What can be seen of a batch at one boundary.

    Attributes:
        boundary: 0-based layer behind it.
        layout: the rows that arrive.
        hidden: [B, L, D], what enters the layer.
        attention: rows of attention, if the method announced that it reads them.
        vision: signals of given visual rows, if it announced that it reads the tower.
        embedded: rows that entered layer 0 and their layout, if it announced that it reads them.
        joint: (sample, signals) to CLIP's joint space, if it announced that it reads the question.
    """

    boundary: int
    layout: Layout
    hidden: Tensor
    attention: AttentionRows | None
    vision: Callable[[Tensor], VisionSignals] | None
    embedded: tuple[Tensor, Layout] | None = None
    joint: Callable[[int, VisionSignals], JointSpace | None] | None = None

    def view(self, method: Method, sample: int, image: int, rows: Tensor, stage: Stage) -> View:
        """The view of one pool: `rows` of one sample, of which `stage.count` are to be kept."""
        count, merged = stage.count, stage.merged
        tokens, vision, joint = self.layout.token[sample, rows], self.vision, self.joint

        def states() -> Tensor:
            return self.hidden[sample, rows]

        if isinstance(method, ProjectorPruner):
            signals = None if vision is None else lambda: vision(states())
            words = self.layout.instruction[sample]
            return ProjectorView(
                self.boundary,
                count,
                tokens,
                states,
                _vision=signals,
                _instruction=lambda: self.hidden[sample, words],
                _joint=None
                if joint is None or signals is None
                else lambda: joint(sample, signals()),
            )
        attention = self.attention
        if attention is None:
            return LayerView(self.boundary, count, tokens, states, merged=merged)
        probe = PoolProbe(self.layout, sample, rows, image, attention, self.embedded)
        return LayerView(
            self.boundary, count, tokens, states, probe.attention, probe, merged=merged
        )


def decide(part: Part, state: Pass, sight: Sight, record_scores: bool) -> Decision:
    """Run the method of `part` on every pool of every sample."""
    layout, boundary = sight.layout, sight.boundary
    dropped, features, biases, candidates, keep, scores = [], [], [], [], [], []
    for sample in range(layout.batch):
        visual = layout.visual_rows(sample)
        chosen: list[tuple[Tensor, Selection]] = []
        for image, rows in _pools(layout, sample, visual, part.pool):
            stage = _planned(part, boundary, state, (part.number, sample, image), len(rows))
            carry = _visual_carry(state, part.number, layout, sample, rows)
            view = sight.view(part.method, sample, image, rows, stage)
            selection = _select(part.method, view, carry)
            _check(part.method, selection, stage.count, len(rows))
            _warn_not_finite(part.method, boundary, selection, state)
            chosen.append((rows, selection))
        go = torch.ones(layout.rows_total, dtype=torch.bool, device=visual.device)
        for rows, selection in chosen:
            go[rows[selection.keep]] = False
        go[layout.rows(sample)[-1:]] = (
            False  # its logits are the answer: the last token stays, even a visual one
        )
        stay = visual[~go[visual]]
        dropped.append(visual[go[visual]])
        features.append(_merged_features(chosen, stay, sight.hidden[sample]))
        biases.append(_joined_bias(chosen, stay))
        candidates.append(layout.token[sample, visual].cpu())
        keep.append(layout.token[sample, stay].cpu())
        scores.append(_scores(chosen, visual) if record_scores else {})
    return Decision(
        dropped, features, biases, _trace(boundary, part.method, candidates, keep, scores)
    )


def _pools(layout: Layout, sample: int, visual: Tensor, pool: Pool) -> Iterator[tuple[int, Tensor]]:
    """(image number, visual rows) of each pool of a sample; nothing for a sample without visual tokens."""
    if len(visual) == 0:
        return
    if pool == "sample":
        yield -1, visual
        return
    image = layout.image[sample, visual]
    for number in image.unique().tolist():
        yield number, visual[image == number]


def _planned(
    part: Part, boundary: int, state: Pass, pool: tuple[int, int, int], here: int
) -> Stage:
    """What to keep of a pool: planned from the number of tokens there was when this method first met it."""
    total = state.totals.setdefault(pool, here)
    stage = next(s for s in part.method.plan(part.num_layers, total) if s.boundary == boundary)
    if stage.rounded_up:
        state.note(
            f"{part.method.name} at boundary {boundary}: the share of {total} tokens rounds to 0; kept 1"
        )
    return replace(stage, count=min(stage.count, here))


def _visual_carry(
    state: Pass, number: int, layout: Layout, sample: int, rows: Tensor
) -> Tensor | None:
    """The carried evidence of the pool's tokens; carries hold real rows only, so fillers are skipped."""
    if number not in state.carries:
        return None
    carry = state.carries[number][sample]
    return carry[torch.searchsorted(layout.rows(sample), rows)]


def _select(method: Method, view: View, carry: Tensor | None) -> Selection:
    """Call the method with what its kind takes: only between layers is there evidence to carry."""
    if isinstance(method, ProjectorPruner):
        assert isinstance(view, ProjectorView)
        return method.select(view)

    assert isinstance(method, LayerPruner)
    assert isinstance(view, LayerView)
    return method.select(view, carry)


def _check(method: Method, selection: Selection, count: int, total: int) -> None:
    """Our own methods keep this contract by test; a third party's bug must not become a silent wrong answer."""
    keep = selection.keep
    ordered = len(keep) < 2 or bool((keep[1:] > keep[:-1]).all())
    if (
        len(keep) == 0
        or not ordered
        or int(keep[-1]) >= total
        or int(keep[0]) < 0
        or len(keep) > count
    ):
        raise MethodError(
            f"{method.name} must keep 1..{count} distinct ascending positions out of {total}; it returned "
            f"{keep.tolist()[:10]}"
        )


def _warn_not_finite(method: Method, boundary: int, selection: Selection, state: Pass) -> None:
    # a NaN saliency is how newline tokens say "no patch"; only scores of the language model must be numbers
    score = selection.scores.get("score")
    if score is None or isinstance(method, ProjectorPruner) or bool(score.isfinite().all()):
        return
    message = f"{method.name} at boundary {boundary}: scores are not finite (NaN or inf in the hidden states)"
    state.note(message + "; those tokens rank last")
    warnings.warn(
        f"{message}; those tokens rank last, ties to the lower index", PruneWarning, stacklevel=2
    )


def _merged_features(
    chosen: list[tuple[Tensor, Selection]], stay: Tensor, hidden: Tensor
) -> Tensor | None:
    if all(selection.features is None for _, selection in chosen):
        return None
    features = hidden[stay].clone()
    for rows, selection in chosen:
        if selection.features is not None:
            features[torch.searchsorted(stay, rows[selection.keep])] = selection.features.to(
                features.dtype
            )
    return features


def _joined_bias(chosen: list[tuple[Tensor, Selection]], stay: Tensor) -> Tensor | None:
    if all(selection.key_bias is None for _, selection in chosen):
        return None
    bias = torch.zeros(len(stay), device=stay.device)
    for rows, selection in chosen:
        if selection.key_bias is not None:
            bias[torch.searchsorted(stay, rows[selection.keep])] = selection.key_bias.float()
    return bias


def _scores(chosen: list[tuple[Tensor, Selection]], visual: Tensor) -> dict[str, Tensor]:
    """Scores of all pools of a sample in the order of its candidates."""
    names = {name for _, selection in chosen for name in selection.scores}
    merged = {name: torch.full((len(visual),), float("nan")) for name in sorted(names)}
    for rows, selection in chosen:
        places = torch.searchsorted(visual, rows).cpu()
        for name, score in selection.scores.items():
            merged[name][places] = score.detach().float().cpu()
    return merged


def _trace(
    boundary: int,
    method: Method,
    candidates: list[Tensor],
    keep: list[Tensor],
    scores: list[dict[str, Tensor]],
) -> TraceStage:
    names = {name for per_sample in scores for name in per_sample}
    empty = torch.empty(0)
    return TraceStage(
        boundary=boundary,
        method=method.name,
        candidates=tuple(candidates),
        keep=tuple(keep),
        scores={name: tuple(s.get(name, empty) for s in scores) for name in sorted(names)} or None,
    )
