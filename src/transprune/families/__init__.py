"""The families, one file each. A new file is found by itself: the registry imports every module of this package."""

from transprune.families.base import FAMILIES, Family, find_family

__all__ = ["FAMILIES", "Family", "find_family"]
