"""How long the prompt of a picture will be, before its pixels are decoded.

Rows that run together are padded to the longest of them, so neighbours should be of one length. The
processors of transformers count the tokens of a picture from its size; where one does not, pictures
with as many pixels are taken for equal. Only the order depends on it, never an answer.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from transprune.models.checkpoint import Checkpoint


class Lengths:
    """Visual tokens by the size of a picture.

    Attributes:
        counted: whether the processor counts them.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._count = getattr(checkpoint.processor, "_get_num_multimodal_tokens", None)
        self.counted = self._count is not None
        self._of_size = lru_cache(maxsize=4096)(self._measure)

    def __call__(self, width: int, height: int) -> int:
        """Visual tokens of a picture, or its pixels."""
        return self._of_size(width, height)

    def _measure(self, width: int, height: int) -> int:
        if self._count is not None:
            try:
                found: Any = self._count(image_sizes=[(height, width)])
                return int(found["num_image_tokens"][0])
            # no public interface: whatever it does, the order of rows is no reason to fail
            except Exception:
                self._count = None
                self.counted = False

        return width * height
