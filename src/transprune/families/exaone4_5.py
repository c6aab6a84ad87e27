"""EXAONE 4.5: norms behind attention and MLP, and layers that do not rotate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import nn

from transprune.families.base import register_family
from transprune.families.layers import LayerKind
from transprune.families.placeholders import Placeholders
from transprune.families.rotation import Rotation


@register_family("exaone4_5")
class Exaone4_5(Placeholders):
    """EXAONE 4.5, by its placeholders."""

    title: ClassVar[str] = "EXAONE 4.5"

    def layer_kinds(self, base: Any) -> list[LayerKind]:
        """Attention is given the rows as they are: nothing normalises them in front of it."""
        kinds = super().layer_kinds(base)
        return [replace(kind, norm=nn.Identity()) for kind in kinds]

    def rotation(self, attention: Any) -> Rotation | None:
        """Where some layers have a window, those without one do not rotate."""
        if attention.sliding_window is not None and not attention.is_sliding:
            return None
        return super().rotation(attention)
