"""What was evicted, for the trace: row numbers become the original numbers of visual tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.core.evicted import TraceEviction
from transprune.core.layout import Layout
from transprune.core.plan import Rows
from transprune.methods.common.cache_pruner import CachePruner
from transprune.methods.common.method import Method
from transprune.runtime.record import RecordedEviction

OnHost = Mapping[int, NDArray[Any]]  # id of a tensor -> its copy


def evicted_by(method: Method) -> Rows | None:
    """Whose attention rows the step that evicts reads."""
    return next((s.reads.rows for s in method.steps if isinstance(s, CachePruner)), None)


def tensors_of(eviction: RecordedEviction) -> Iterator[Tensor]:
    """The tensors of the device that `trace_eviction` reads."""
    yield eviction.rows
    yield eviction.layout.tokens
    for _, _, scores in eviction.scores:
        yield scores


def trace_eviction(eviction: RecordedEviction, there: OnHost, scores: bool) -> TraceEviction:
    """The entry of the trace for one layer; `there` has its tensors on the host."""
    samples = range(eviction.layout.batch)
    return TraceEviction(
        layer=eviction.layer,
        method=eviction.method,
        keep=tuple(_keep(eviction, there, sample) for sample in samples),
        scores=tuple(_scores(eviction, there, sample) for sample in samples) if scores else None,
    )


def _keep(eviction: RecordedEviction, there: OnHost, sample: int) -> Tensor:
    """Original numbers of the visual tokens that each head of a sample keeps. long [Hkv, k]."""
    rows = there[id(eviction.rows)][sample]
    rows = rows[:, rows.shape[1] - eviction.kept[sample] :]
    numbers = _numbers(eviction.layout, there, sample)[rows]
    # every head has the same text, so equally many visual tokens
    return torch.from_numpy(numbers[numbers >= 0].reshape(len(rows), -1))


def _scores(eviction: RecordedEviction, there: OnHost, sample: int) -> Tensor:
    """Scores of a sample's visual tokens, in order. float32 [Hkv, n]."""
    layout = eviction.layout
    numbers = _numbers(layout, there, sample)
    tokens = numbers[numbers >= 0]
    heads = eviction.rows.shape[1]
    found = np.full((heads, len(tokens)), np.nan, dtype=np.float32)

    of_token = layout.prompt.image[sample][layout.prompt.visual[sample]]
    for samples, images, scores in eviction.scores:
        for place, (owner, image) in enumerate(zip(samples, images, strict=True)):
            if owner == sample:
                where = of_token[tokens] == image if image >= 0 else slice(None)
                found[:, where] = there[id(scores)][place]

    return torch.from_numpy(found)


def _numbers(layout: Layout, there: OnHost, sample: int) -> NDArray[np.int64]:
    """Number of the visual token of each row; -1 for text, padding and fillers. [L]."""
    table = layout.prompt.token[sample]
    if layout.whole:
        return table
    numbers = table[there[id(layout.tokens)][sample]]
    fillers = layout.rows_total - layout.lengths[sample]
    numbers[:fillers] = -1
    return numbers
