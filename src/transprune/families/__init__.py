"""The families, one file each. Importing this package registers them all."""

from transprune.families.base import FAMILIES, Family, find_family
from transprune.families.llava import Llava
from transprune.families.llava_next import LlavaNext
from transprune.families.qwen2_5_vl import Qwen2_5_VL

__all__ = ["FAMILIES", "Family", "Llava", "LlavaNext", "Qwen2_5_VL", "find_family"]
