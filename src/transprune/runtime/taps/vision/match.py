"""Which row of the projector's output became which visual token.

Rows are compared by a hash, which is made on the device. All hashes are copied to the host in one
transfer, the only one of a prefill besides that of its prompt. So everything that depends on which
token shows a patch is counted on the host.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from transprune.algebra.match import hash_rows, match_hashes
from transprune.core.layout import Layout
from transprune.core.prompt import Numbers
from transprune.core.rows import upload
from transprune.core.signals import VisionSignals
from transprune.families.base import VisionRows
from transprune.runtime.taps.base import PoolRows
from transprune.runtime.taps.vision.captured import Captured, array_of

Cut = tuple[Numbers, Numbers]  # of each token its picture, and how that was cut


class Prefill:
    """The captures of one prefill, as a function from a pool to its signals.

    Tokens are matched with the projector's rows by content, for the whole batch at the first call:
    a picture that is in the batch twice has the same rows twice, and only the order of the prompt
    tells which are whose.

    Args:
        join: hashes of the visual tokens of the batch [N], and the dtype they were made of ->
            what was captured, the same hashes on the host, and those of the projector's rows in the
            order of the prompt. Called once, by the first pool.
        signals_of: captured, projector rows of a pool's tokens (-1 for none), how their pictures
            were cut -> their signals.

    Attributes:
        prompt: layout and rows [B, L, D] of the prompt before anything was pruned.
    """

    def __init__(
        self,
        join: Callable[[Tensor, torch.dtype], tuple[Captured, Numbers, Numbers]],
        signals_of: Callable[[Captured, Numbers, Cut | None], VisionSignals],
    ) -> None:
        self.prompt: tuple[Layout, Tensor] | None = None
        self._join = join
        self._signals_of = signals_of
        self._captured: Captured | None = None
        self._rows: list[Numbers] = []
        self._found: dict[tuple[int, int], VisionSignals] = {}

    @property
    def is_matched(self) -> bool:
        """Whether the tokens were matched, so that the prompt is not needed any more."""
        return self._captured is not None

    def __call__(self, pool: PoolRows) -> VisionSignals:
        """Signals of the pool's tokens."""
        if self._captured is None:
            self._match()

        assert self._captured is not None

        # a method may read its pool's signals several times, at several boundaries
        key = (pool.sample, pool.image)
        if key not in self._found:
            index = self._rows[pool.sample][_numbers(pool)]
            self._found[key] = self._signals_of(self._captured, index, _cut(pool))

        whole = self._found[key]
        return whole if pool.layout.whole else whole.of(_places(pool))

    def _match(self) -> None:
        """Find the projector row of every visual token, [N] per sample."""
        assert self.prompt is not None
        layout, hidden = self.prompt
        self.prompt = None

        rows = [hidden[sample, layout.visual_rows(sample)] for sample in range(layout.batch)]
        captured, hashes, source = self._join(hash_rows(torch.cat(rows)), hidden.dtype)
        self._captured = captured
        own = np.split(hashes, np.cumsum(layout.visual_counts)[:-1])

        # beams repeat a sample after its images were encoded
        repeats = [False] * layout.batch
        if len(hashes) > len(source):
            repeats[1:] = [np.array_equal(a, b) for a, b in zip(own, own[1:], strict=False)]

        self._rows = _matched(own, repeats, source)


def _matched(hashes: list[Numbers], repeats: list[bool], source: Numbers) -> list[Numbers]:
    """Projector rows of each sample; one that repeats the sample before it has the same ones."""
    pairs = list(zip(hashes, repeats, strict=True))
    own = [of_sample for of_sample, again in pairs if not again]
    found = match_hashes(np.concatenate(own), source)
    parts = iter(np.split(found, np.cumsum([len(of_sample) for of_sample in own])[:-1]))

    matched: list[Numbers] = []
    for again in repeats:
        matched.append(matched[-1] if again else next(parts))
    return matched


def _numbers(pool: PoolRows) -> Numbers | slice:
    """Numbers of all tokens of a pool within its sample, dropped ones included."""
    if pool.image < 0:
        return slice(None)
    prompt = pool.layout.prompt
    of_token = prompt.image[pool.sample][prompt.visual[pool.sample]]
    return (of_token == pool.image).nonzero()[0]


def _places(pool: PoolRows) -> Tensor:
    """Places of the tokens that still run among all tokens of their pool. long [n], on the device."""
    token = pool.layout.token[pool.sample, pool.rows]
    numbers = _numbers(pool)
    if isinstance(numbers, slice):
        return token
    return torch.searchsorted(upload(numbers, token.device), token.contiguous())


def _cut(pool: PoolRows) -> Cut | None:
    """The picture of each token of a whole pool and how it was cut; None where nothing reads it."""
    prompt = pool.layout.prompt
    if prompt.tiling is None:
        return None

    tokens = _numbers(pool)
    tiling = prompt.tiling[pool.sample][prompt.visual[pool.sample]]
    return prompt.clip_of_token(pool.sample)[tokens], tiling[tokens]


def hashes_in_order(hashes: list[Numbers], parts: list[VisionRows]) -> Numbers:
    """Hashes of the projector's rows of all calls, in the order of the prompt."""
    ordered = []
    for of_call, part in zip(hashes, parts, strict=True):
        ordered.append(of_call if part.order is None else of_call[array_of(part.order)])
    return np.concatenate(ordered)
