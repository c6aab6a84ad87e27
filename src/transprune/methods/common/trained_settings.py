"""The setting that every trained method has: the folder of its weights."""

from __future__ import annotations

from typing import Any

from transprune.errors import MethodError


def check_weights(value: Any) -> None:
    """Raise MethodError unless the setting `weights` is a folder as text, or None.

    Whether weights are there is found out when the method meets a model.
    """
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise MethodError(
            "weights is the folder of `transprune train-pruner` as text, or None for those beside "
            f"the checkpoint; got {value!r}"
        )
