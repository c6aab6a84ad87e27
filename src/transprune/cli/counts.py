"""Counts of visual tokens as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def tokens_left(tokens: Sequence[int], boundaries: Sequence[int]) -> str:
    """`126@4, 90@5`: the tokens that are left from each boundary on.

    Args:
        tokens: visual tokens in the prompt, then those that are left after each boundary.
        boundaries: decoder layers in front of which tokens are dropped; none: the first count.
    """
    if not boundaries:
        return str(tokens[0])
    pairs = zip(tokens[1:], boundaries, strict=True)
    return ", ".join(f"{count}@{layer}" for count, layer in pairs)
