"""Checks that look at numbers of the device, gathered and read once.

Our own methods are tested for what they return. A third party's bug must not become a wrong answer
in silence, and neither must a score that is not a number, so both leave a flag on the device. It is
read where that costs no wait of its own: at once on the CPU, else with the ids of the next prompt,
when the trace is read, or when the session is left.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transprune.errors import MethodError, PruneWarning
from transprune.methods.common.method import Method
from transprune.runtime.forward_pass import Pass
from transprune.runtime.host import to_host
from transprune.runtime.record import Record


def check_keep(state: Pass, method: Method, keep: Tensor, count: int, total: int) -> Tensor:
    """Check that 1..count distinct ascending positions out of `total` are kept of each pool.

    Returns:
        `keep`; where the device has to answer first, without positions that no row has.

    Args:
        state: where a flag is left that the device has to answer.
        method: what chose.
        keep: long [G, K].
        count: how many may be kept.
        total: tokens of a pool.

    Raises:
        MethodError: they are not. On a GPU when the flags are read.
    """
    if type(method).__module__.startswith("transprune."):
        return keep
    if not 0 < keep.shape[-1] <= count or keep.dtype != torch.long:
        raise _bad_keep(method, count, total, keep)

    falls = (keep.diff(dim=-1) <= 0).any()
    outside = ((keep < 0) | (keep >= total)).any()
    if is_free(keep.device):
        if falls or outside:
            raise _bad_keep(method, count, total, keep)
        return keep

    state.record.keeps.append((falls | outside, lambda: _bad_keep(method, count, total, keep)))
    # an index outside a table ends the whole process on a GPU, long before the flag is read
    return keep.clamp(0, total - 1)


def is_free(device: torch.device) -> bool:
    """Whether reading a number of this device waits for nothing."""
    return device.type == "cpu"


def to_read(record: Record) -> list[Tensor]:
    """What the checks of a pass left on the device."""
    flags = [flag for flag, _ in record.keeps]
    return [*flags, *[score.float() for _, _, score in record.scores_to_check]]


def read_flags(record: Record, found: Sequence[NDArray[Any]] | None = None) -> None:
    """Read what the checks of a pass left, once.

    Warns of scores that are not finite.

    Args:
        record: of the pass.
        found: `to_read(record)` on the host, where it is there already.

    Raises:
        MethodError: a method of a third party returned no valid selection.
    """
    if found is None:
        found = to_host(to_read(record))

    keeps, record.keeps = record.keeps, []
    scores, record.scores_to_check = record.scores_to_check, []
    if not keeps and not scores:
        return  # read before, maybe by another thread

    for (_, error), bad in zip(keeps, found, strict=False):
        if bad:
            raise error()
    for (name, where, _), score in zip(scores, found[len(keeps) :], strict=True):
        if not np.isfinite(score).all():
            _warn_not_finite(record, name, where)


def _warn_not_finite(record: Record, method: str, where: str) -> None:
    """Warn of scores that are not numbers, and note it."""
    message = f"{method} at {where}: scores are not finite (NaN or inf in the hidden states)"
    record.note(f"{message}; those tokens rank last")
    warnings.warn(
        f"{message}; those tokens rank last, ties to the lower index", PruneWarning, stacklevel=2
    )


def _bad_keep(method: Method, count: int, total: int, keep: Tensor) -> MethodError:
    first = keep.flatten().tolist()[:10]
    return MethodError(
        f"{method.name} must keep 1..{count} distinct ascending positions out of {total}; "
        f"it returned {first}"
    )
