"""The pictures of the page, drawn from the ladders alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transprune.report.theme import LIGHT, need_extra

from ..ladder import Ladder
from .differences import draw_differences
from .layers import draw_layers
from .rows import draw_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110


def draw(ladders: Sequence[Ladder], folder: Path) -> list[Path]:
    """Write `differences.png`, `signal.png` and `places.png`, each if there is something to show.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    need_extra()
    written = []
    for name, figure in (
        ("differences", draw_differences(ladders)),
        ("signal", draw_layers(ladders)),
        ("places", draw_rows(ladders)),
    ):
        if figure is not None:
            file = folder / f"{name}.png"
            file.write_bytes(_png(figure))
            written.append(file)
    return written


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    # without matplotlib's version in it equal figures are equal bytes
    figure.savefig(
        stream, format="png", dpi=DPI, facecolor=LIGHT.background, metadata={"Software": ""}
    )
    return stream.getvalue()
