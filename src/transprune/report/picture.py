"""One figure of the report: two PNG files, and drawings for the page."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from transprune.report.svg import SETTINGS, tidy
from transprune.report.theme import DARK, LIGHT, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150

Draw = Callable[[Theme], "Figure"]


@dataclass(frozen=True)
class Picture:
    """One figure of the report.

    Attributes:
        name: file name without suffix.
        title: heading above it.
        caption: what it shows and how to read it.
        alt: the same in words, for readers who cannot see it.
        numbers: everything plotted, JSON-ready.
        light, dark: PNG bytes, by theme, for the files beside the page.
        wide, narrow: SVG elements for a desktop and for a phone, with the page's variables as
            colours; empty for a figure that the page shows in another way.
    """

    name: str
    title: str
    caption: str
    alt: str
    numbers: Mapping[str, Any]
    light: bytes
    dark: bytes
    wide: str = ""
    narrow: str = ""


def render(
    name: str,
    title: str,
    caption: str,
    alt: str,
    numbers: Mapping[str, Any],
    draw: Draw,
    *,
    embed: bool = True,
) -> Picture:
    """Draw a figure in both themes, and for the page in both widths.

    Args:
        name, title, caption, alt, numbers: as in `Picture`.
        draw: makes the figure of a theme.
        embed: whether the page shows it as SVG.
    """
    light = _png(draw, LIGHT)
    dark = _png(draw, DARK)
    wide = ""
    narrow = ""
    if embed:
        wide = _svg(name, alt, draw, LIGHT)
        narrow = _svg(name, alt, draw, replace(LIGHT, narrow=True))

    return Picture(name, title, caption, alt, numbers, light, dark, wide, narrow)


def _png(draw: Draw, theme: Theme) -> bytes:
    import matplotlib

    stream = io.BytesIO()
    # matplotlib would write its version into the file; without it equal figures are equal bytes
    metadata = {"Software": ""}
    with matplotlib.rc_context(SETTINGS):
        figure = draw(theme)
        figure.savefig(stream, format="png", dpi=DPI, facecolor=theme.background, metadata=metadata)
    return stream.getvalue()


def _svg(name: str, alt: str, draw: Draw, theme: Theme) -> str:
    """One drawing for light and dark: its colours are replaced by the page's variables."""
    import matplotlib

    # ids of markers and clips come from this salt, so those of two figures never meet
    salt = f"{name} narrow" if theme.narrow else name
    stream = io.StringIO()
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": salt}):
        draw(theme).savefig(stream, format="svg", facecolor=theme.background)
    return tidy(stream.getvalue(), alt, theme.variables())
