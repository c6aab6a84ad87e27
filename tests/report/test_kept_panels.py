"""The panels of an example show the picture's own colours, and mark the tokens of the target."""

import io

import numpy as np
import pytest
from PIL import Image

from transprune.report.kept_panels import kept_panels
from transprune.report.overlay import Grid, as_seen, draw_kept

GRID = Grid(6, 8, total=48)
KEPT = {0: list(range(24)), 3: [0, 9, 47]}


def decode(webp: bytes) -> np.ndarray:
    """Pixels as float [height, width, 3]."""
    image = Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    return np.asarray(image.convert("RGB"), dtype=float)


def blocks(width: int, height: int) -> Image.Image:
    """Saturated blocks side by side, the hardest case for a lossy picture."""
    colors = [(230, 120, 0), (255, 220, 0), (200, 20, 20), (20, 60, 200), (20, 150, 60)]
    picture = Image.new("RGB", (width, height))
    for number, color in enumerate(colors):
        left = number * width // len(colors)
        picture.paste(color, (left, 0, (number + 1) * width // len(colors), height))
    return picture


def test_a_small_picture_keeps_every_pixel() -> None:
    picture = blocks(40, 30)
    seen = as_seen(picture, GRID)
    whole, first, last = kept_panels(picture, GRID, KEPT, ())

    np.testing.assert_array_equal(decode(whole.webp), np.asarray(seen, dtype=float))
    for panel, keep in ((first, KEPT[0]), (last, KEPT[3])):
        expected = np.asarray(draw_kept(seen, GRID, keep), dtype=float)
        np.testing.assert_array_equal(decode(panel.webp), expected)


def test_a_photograph_keeps_its_colours() -> None:
    picture = blocks(800, 600)
    expected = np.asarray(as_seen(picture, GRID), dtype=float)
    drawn = decode(kept_panels(picture, GRID, KEPT, ())[0].webp)

    # the middle of each block, away from its edges
    width = expected.shape[1]
    for number in range(5):
        column = round((number + 0.5) * width / 5)
        difference = np.abs(drawn[:, column] - expected[:, column]).max()
        assert difference <= 6, number  # of 255


def test_titles_say_where_and_how_many() -> None:
    titles = [panel.title for panel in kept_panels(blocks(40, 30), GRID, KEPT, ())]
    assert titles == [
        "all 48 tokens",
        "in front of the language model: 24 stay",
        "from layer 3 on: 3 stay",
    ]


@pytest.mark.parametrize(
    ("target", "edges"),
    [((), 0), ((0,), 4), ((0, 1), 6), ((7, 8), 8), ((9, 10, 17, 18), 8)],
)
def test_the_outline_goes_around_the_target(target, edges) -> None:
    for panel in kept_panels(blocks(40, 30), GRID, KEPT, target):
        assert panel.outline.count("M") == edges
        assert (panel.rows, panel.columns) == (6, 8)
