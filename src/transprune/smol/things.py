"""Things in a picture, and how large a picture is."""

from __future__ import annotations

from dataclasses import dataclass

PATCH = 14  # pixels
SIDE = 336  # pixels of an ordinary picture: 24 x 24 patches, as LLaVA-1.5 has
SIGN = "sign"  # the name of every sign
NO_KIND = -1  # of a sign


@dataclass(frozen=True)
class Canvas:
    """Size and contents of a picture. Defaults: an ordinary one.

    Attributes:
        side: pixels, a multiple of 14.
        things: fewest and most things.
    """

    side: int = SIDE
    things: tuple[int, int] = (1, 8)

    @property
    def grid(self) -> int:
        """Patches per row and column."""
        return self.side // PATCH


ORDINARY = Canvas()


@dataclass(frozen=True)
class Thing:
    """One thing in a picture.

    Attributes:
        name: of its kind, or `"sign"`.
        kind: number of its kind, or -1.
        word: on a sign, in lower case; None on anything else.
        color: by which a person would name it, if there is one.
        size: longer side before it was tilted, pixels.
        box: left, top, right, bottom, pixels.
    """

    name: str
    kind: int
    word: str | None
    color: str | None
    size: int
    box: tuple[int, int, int, int]

    @property
    def middle(self) -> tuple[float, float]:
        """x and y, pixels."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2
