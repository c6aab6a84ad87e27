"""How figures look: two themes, colours that colour-blind people can tell apart, and how a figure becomes files.

Every figure is drawn twice, on white and on the page's dark ground, because a picture cannot adapt by itself. Hues are
the "bright" scheme of Paul Tol (Colour Schemes, SRON/EPS/TN/09-002, 2021), lightened a little on dark; a method is told
by its marker and line style too, never by its hue alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transprune.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
HUES = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE", "#CCBB44", "#EE8866")
MARKERS = "osD^vPX<>hp"
LINES = ("-", "--", "-.")


@dataclass(frozen=True)
class Theme:
    """Colours of one ground: paper, text, quiet text, rules; and how much hues are lightened."""

    name: str
    paper: str
    ink: str
    quiet: str
    rule: str
    lighten: float

    def hue(self, number: int) -> str:
        """The hue of this number, as text."""
        rgb = HUES[number % len(HUES)]
        parts = [int(rgb[i : i + 2], 16) for i in (1, 3, 5)]
        return "#" + "".join(f"{round(part + (255 - part) * self.lighten):02x}" for part in parts)


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#5b6470", "#d5d9df", 0.0)
DARK = Theme("dark", "#14171c", "#e8ebf0", "#a3acb8", "#39414c", 0.3)

Draw = Callable[[Theme], "Figure"]


@dataclass(frozen=True)
class Picture:
    """One figure of the report.

    Attributes:
        name: of its files, without suffix.
        title: what a reader sees above it.
        caption: what it shows and how to read it.
        alt: what it says, for people who do not see it.
        numbers: everything plotted, JSON-ready.
        light, dark: PNG, by theme.
        width, height: pixels at normal size.
    """

    name: str
    title: str
    caption: str
    alt: str
    numbers: Mapping[str, Any]
    light: bytes
    dark: bytes
    width: int
    height: int


def need_extra() -> None:
    """Raise MissingExtra unless what the report draws and writes with is installed."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"the report needs {error.name}, which is not installed; pip install 'transprune[report]'"
        ) from error


def render(
    name: str, title: str, caption: str, alt: str, numbers: Mapping[str, Any], draw: Draw
) -> Picture:
    """Draw a figure in both themes."""
    light, dark = (_png(draw(theme), theme) for theme in (LIGHT, DARK))
    width, height = _size(light)
    return Picture(name, title, caption, alt, numbers, light, dark, width, height)


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """An empty figure of so many inches; no global state of matplotlib is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=theme.paper, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, theme: Theme, *, grid: bool = True) -> None:
    """Quiet axes: two spines, faint rules, text in the theme's colours."""
    axes.set_facecolor(theme.paper)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.rule)
    axes.tick_params(colors=theme.quiet, labelsize=9, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(theme.ink)
    if grid:
        axes.grid(axis="y", color=theme.rule, linewidth=0.6)
        axes.set_axisbelow(True)


def bare(axes: Axes, theme: Theme) -> None:
    """Axes for a picture: no ticks, a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(theme.rule)


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, at least `gap` apart within low..high, in all as near as possible to where they are wanted.

    Least squares under an order: pool neighbours that would collide, and centre each pool on its mean.
    """
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    pools: list[list[float]] = []
    for rank, number in enumerate(order):
        pools.append([wanted[number] - rank * gap])
        while len(pools) > 1 and sum(pools[-2]) / len(pools[-2]) > sum(pools[-1]) / len(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    bases = [sum(pool) / len(pool) for pool in pools for _ in pool]
    top = high - gap * (len(wanted) - 1)
    places = {
        number: min(max(bases[rank], low), top) + rank * gap for rank, number in enumerate(order)
    }
    return [places[number] for number in range(len(wanted))]


def _png(figure: Figure, theme: Theme) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, facecolor=theme.paper, metadata={"Software": ""})
    return stream.getvalue()


def _size(png: bytes) -> tuple[int, int]:
    """CSS pixels of a PNG that was drawn at DPI; its header says how large it is."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return round(width * 96 / DPI), round(height * 96 / DPI)
