"""How figures look: a light and a dark theme, wide and narrow, colours, markers and line styles.

The hues are twelve of several schemes that colour-blind readers can tell apart (Paul Tol, Colour
Schemes, SRON/EPS/TN/09-002, 2021; Okabe and Ito, 2008; a few darker ones), chosen so that the
smallest distance between two of them is as large as possible, for full colour vision,
protanopia and deuteranopia at once. Each has a contrast of at least 3:1 to both backgrounds. Lines
also differ by marker, so that nobody has to tell them apart by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transprune.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HUES = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#4b0082",
    "#b58900",
    "#882255",
    "#1b6e7a",
    "#c51b7d",
    "#7b5fd6",
    "#009e73",
    "#2b5c2b",
    "#cc79a7",
)
MARKERS = "osD^vPX<>hpd"  # as many as hues

# inches; on the page they are as wide as a desktop's text and as a phone's
WIDE = 10.2
NARROW = 3.7


@dataclass(frozen=True)
class Theme:
    """Colours of one background, and the room there is.

    Attributes:
        name: `"light"` or `"dark"`.
        background: behind everything.
        text: titles and labels.
        muted: secondary text.
        rule: grid lines and frames.
        lighten: how far hues move towards white, 0 to 1.
        narrow: whether the figure is for a phone.
    """

    name: str
    background: str
    text: str
    muted: str
    rule: str
    lighten: float
    narrow: bool = False

    @property
    def width(self) -> float:
        """Width of a figure, in inches."""
        return NARROW if self.narrow else WIDE

    def hue(self, number: int) -> str:
        """The hue with this number (they repeat) as `#rrggbb`."""
        color = HUES[number % len(HUES)]
        mixed = "#"

        for start in (1, 3, 5):
            channel = int(color[start : start + 2], 16)
            lightened = channel + (255 - channel) * self.lighten
            mixed += f"{round(lightened):02x}"

        return mixed

    def variables(self) -> dict[str, str]:
        """Every colour by the name of its variable in the page's style sheet."""
        named = {
            "background": self.background,
            "text": self.text,
            "muted": self.muted,
            "rule": self.rule,
        }
        for number in range(len(HUES)):
            named[f"hue{number}"] = self.hue(number)
        return named


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#5b6470", "#d5d9df", 0.0)
DARK = Theme("dark", "#14171c", "#e8ebf0", "#a3acb8", "#39414c", 0.36)


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
