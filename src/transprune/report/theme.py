"""How figures look: a light and a dark theme, the line styles, and how a figure becomes PNG files.

Every figure is drawn twice, on white and on the dark background of the page, because a PNG cannot
adapt to the reader's colour scheme. Hues are the "bright" scheme of Paul Tol (Colour Schemes,
SRON/EPS/TN/09-002, 2021), lightened a little on dark. Methods also differ by marker and line
style, so that nobody has to tell them apart by colour alone.
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
CSS_DPI = 96  # CSS pixels per inch, by definition
HUES = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE", "#CCBB44", "#EE8866")
MARKERS = "osD^vPX<>hp"  # 11 and 7 hues have no common divisor: 77 different combinations
LINE_STYLES = ("-", "--", "-.")  # dotted is left for controls


@dataclass(frozen=True)
class Theme:
    """Colours of one background.

    Attributes:
        name: `"light"` or `"dark"`.
        background: behind everything.
        text: titles and labels.
        muted: secondary text.
        rule: grid lines and frames.
        lighten: how far hues move towards white, 0 to 1.
    """

    name: str
    background: str
    text: str
    muted: str
    rule: str
    lighten: float

    def hue(self, number: int) -> str:
        """The hue with this number (they repeat) as `#rrggbb`."""
        color = HUES[number % len(HUES)]
        mixed = "#"

        for start in (1, 3, 5):
            channel = int(color[start : start + 2], 16)
            lightened = channel + (255 - channel) * self.lighten
            mixed += f"{round(lightened):02x}"

        return mixed


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#5b6470", "#d5d9df", 0.0)
DARK = Theme("dark", "#14171c", "#e8ebf0", "#a3acb8", "#39414c", 0.3)

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
        light, dark: PNG bytes, by theme.
        width, height: size on the page in CSS pixels.
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
    """Raise MissingExtra unless matplotlib and jinja2 are installed."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"the report needs {error.name}, which is not installed; "
            "pip install 'transprune[report]'"
        ) from error


def render(
    name: str, title: str, caption: str, alt: str, numbers: Mapping[str, Any], draw: Draw
) -> Picture:
    """Draw a figure in both themes."""
    light = _png(draw(LIGHT), LIGHT)
    dark = _png(draw(DARK), DARK)
    width, height = _css_size(light)
    return Picture(name, title, caption, alt, numbers, light, dark, width, height)


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """An empty figure of this size in inches; the global state of matplotlib is not touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=theme.background, layout="constrained")
    FigureCanvasAgg(figure)  # attaches itself to the figure, which savefig needs
    return figure


def style_axes(axes: Axes, theme: Theme, *, grid: bool = True) -> None:
    """Axes of a chart: left and bottom spine, faint grid lines, text in the theme's colours."""
    axes.set_facecolor(theme.background)

    for side, spine in axes.spines.items():
        # right and top only frame the data, without a scale
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.rule)

    axes.tick_params(colors=theme.muted, labelsize=9, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(theme.text)

    if grid:
        axes.grid(axis="y", color=theme.rule, linewidth=0.6)
        axes.set_axisbelow(True)  # the data is drawn over the grid


def style_image_axes(axes: Axes, theme: Theme) -> None:
    """Axes of an image: no ticks, a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(theme.rule)


def spread_labels(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Positions for labels: at least `gap` apart, within low..high, near the wanted positions.

    This is isotonic regression (pool adjacent violators): labels that would collide are pooled,
    and each pool is centred on the mean of its wanted positions.
    """
    # where so many labels do not fit, they share the whole height evenly
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=wanted.__getitem__)

    # `rank * gap` is subtracted from the positions, so that "at least gap apart" is "ascending"
    pools: list[list[float]] = []
    for rank, number in enumerate(order):
        pools.append([wanted[number] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last

    bases: list[float] = []
    for pool in pools:
        bases += [_mean(pool)] * len(pool)

    # clip the whole column at once, so that the distances survive
    top = high - gap * (len(wanted) - 1)
    positions = [0.0] * len(wanted)
    for rank, number in enumerate(order):
        positions[number] = min(max(bases[rank], low), top) + rank * gap
    return positions


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _png(figure: Figure, theme: Theme) -> bytes:
    stream = io.BytesIO()
    # matplotlib would write its version into the file; without it equal figures are equal bytes
    metadata = {"Software": ""}
    figure.savefig(stream, format="png", dpi=DPI, facecolor=theme.background, metadata=metadata)
    return stream.getvalue()


def _css_size(png: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels of a PNG that was drawn at `DPI`."""
    # a PNG starts with 8 bytes of signature and 8 of chunk header; then come width and height
    width = int.from_bytes(png[16:20], "big")
    height = int.from_bytes(png[20:24], "big")
    return round(width * CSS_DPI / DPI), round(height * CSS_DPI / DPI)
