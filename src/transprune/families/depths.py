"""Which layer of a vision tower a signal reads, by the signal's name (`core.signals`)."""

from __future__ import annotations

from transprune.core.signals import threshold_of


def is_attention(name: str) -> bool:
    """Whether the signal comes from an attention layer, and not from the shape of the picture."""
    return name.endswith(("saliency", "keys")) or threshold_of(name) is not None


def depth_of(name: str) -> str:
    """`"early_saliency"` -> `"early_"`; for the layer whose output becomes the features, `""`."""
    if threshold_of(name) is not None:
        return ""
    return name[: name.rfind("_") + 1]


def layer_at(depth: str, used: int, last: int) -> int:
    """Number of the encoder layer at a depth.

    VScan's early layer is 5 where the features leave layer 22; PruMerge's outer layer is the next
    one, or the same where there is none.

    Args:
        depth: as `depth_of` returns it.
        used: the layer whose output becomes the features.
        last: the last layer of the tower.
    """
    return {
        "": used,
        "early_": round(used * 5 / 22),
        "outer_": min(used + 1, last),
    }[depth]
