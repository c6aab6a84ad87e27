"""Cohere 2 decoders: layers that see everything do not rotate queries and keys."""

from __future__ import annotations

from typing import Any

from transprune.families.base import Family
from transprune.families.rotation import Rotation


class Cohere2(Family):
    """A family with a Cohere 2 text model. The older Cohere model rotates in every layer."""

    def rotation(self, attention: Any) -> Rotation | None:
        """None in a layer without a window."""
        if getattr(attention, "sliding_window", "none of that name") is None:
            return None
        return super().rotation(attention)
