"""What a pass recorded, as parts of its trace.

Recorded tensors lie on the device, in the order of the rows that ran. The trace is on the host, in
the order of the prompt, and knows each visual token by its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.layout import Layout
from transprune.runtime.eviction.tracing import tensors_of
from transprune.runtime.record import Record, RecordedChange, RecordedStage
from transprune.trace import TraceStage

OnHost = dict[int, NDArray[Any]]  # id of a tensor -> its copy


def recorded_tensors(record: Record) -> Iterator[Tensor]:
    """Every tensor of the device that the trace is made of, each once."""
    seen = {}
    for stage in record.stages:
        for tensor in (stage.before.tokens, stage.after.tokens):
            seen[id(tensor)] = tensor
        for _, _, scores in stage.scores:
            seen.update({id(score): score for score in scores.values()})

    for change in (*record.transitions, *record.changes):
        seen[id(change.values)] = change.values
        seen[id(change.layout.tokens)] = change.layout.tokens

    for eviction in record.evictions:
        for tensor in tensors_of(eviction):
            seen[id(tensor)] = tensor

    yield from seen.values()


def trace_stage(stage: RecordedStage, there: OnHost) -> TraceStage:
    """The entry of the trace for one boundary."""
    samples = range(stage.before.batch)
    # numbers of the visual tokens within the sample, which later stages keep
    candidates = [_tokens(stage.before, sample, there) for sample in samples]
    keep = [_tokens(stage.after, sample, there) for sample in samples]

    return TraceStage(
        boundary=stage.boundary,
        method=stage.method,
        candidates=tuple(map(torch.from_numpy, candidates)),
        keep=tuple(map(torch.from_numpy, keep)),
        scores=_scores(stage, candidates, there) or None,
    )


def _slots(layout: Layout, sample: int, there: OnHost) -> NDArray[Any]:
    """Slots of the tokens of the real rows of a sample."""
    if layout.whole:
        return layout.prompt.valid[sample].nonzero()[0]
    return there[id(layout.tokens)][sample, layout.rows_total - layout.lengths[sample] :]


def _tokens(layout: Layout, sample: int, there: OnHost) -> NDArray[Any]:
    """Numbers of the visual tokens of a sample."""
    slots = _slots(layout, sample, there)
    numbers: NDArray[Any] = layout.prompt.token[sample][slots]
    return numbers[numbers >= 0]


def _scores(
    stage: RecordedStage, candidates: list[NDArray[Any]], there: OnHost
) -> dict[str, tuple[Tensor, ...]]:
    """Scores by name: per sample, in the order of its candidates."""
    names = sorted({name for *_, scores in stage.scores for name in scores})
    by_name: dict[str, list[NDArray[Any]]] = {}
    for name in names:
        # a sample without an image has no scores: an empty tensor keeps the samples in step
        by_name[name] = [np.full(len(tokens), np.nan, dtype=np.float32) for tokens in candidates]

    for samples, images, scores in stage.scores:
        for place, (sample, image) in enumerate(zip(samples, images, strict=True)):
            where = _in_image(stage.before, sample, image, candidates[sample])
            for name, score in scores.items():
                by_name[name][sample][where] = there[id(score)][place]

    return {name: tuple(map(torch.from_numpy, values)) for name, values in by_name.items()}


def _in_image(
    layout: Layout, sample: int, image: int, candidates: NDArray[Any]
) -> NDArray[np.bool_]:
    """Which candidates of a sample are tokens of its picture `image`; all of them where it is -1."""
    if image < 0:
        return np.ones(len(candidates), dtype=bool)

    prompt = layout.prompt
    # a token's image, by the token's number
    of_token = prompt.image[sample][prompt.visual[sample]]
    here: NDArray[np.bool_] = of_token[candidates] == image
    return here


def at_slots(
    changes: list[RecordedChange], there: OnHost, length: int
) -> dict[tuple[int, str], tuple[Tensor, ...]]:
    """Numbers per token, [..., length], at the prompt slots of the rows that ran.

    A slot stays NaN where it is padding or its token has been dropped.
    """
    tables: dict[tuple[int, str], tuple[Tensor, ...]] = {}
    for change in changes:
        layout = change.layout
        values = there[id(change.values)]
        samples = []

        for sample in range(layout.batch):
            rows = layout.prompt_rows(sample)
            own = values[..., sample, :]
            own = own[..., rows if isinstance(rows, slice) else rows.numpy(force=True)]

            slots = _slots(layout, sample, there)[: own.shape[-1]]
            table = np.full((*own.shape[:-1], length), np.nan, dtype=np.float32)
            table[..., slots] = own
            samples.append(torch.from_numpy(table))

        tables[change.layer, change.module] = tuple(samples)

    return tables
