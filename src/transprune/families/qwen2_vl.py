"""Qwen2-VL: every block of the tower attends to whole pictures, and tokens come line by line."""

from __future__ import annotations

from typing import ClassVar

from transprune.families.base import register_family
from transprune.families.packed import Packed


@register_family("qwen2_vl")
class Qwen2_VL(Packed):
    """Qwen2-VL, images and videos."""

    title: ClassVar[str] = "Qwen2-VL"
    processor: ClassVar[str] = "Qwen2VLProcessor"
