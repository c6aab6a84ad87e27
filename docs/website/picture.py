"""The picture of docs/concepts.md: visual tokens in each layer under TransPrune's High schedule.

To draw it anew: python -m docs.website.picture > docs/concepts.svg
"""

from __future__ import annotations

from collections.abc import Iterator

from transprune.core.plan import per_layer
from transprune.methods.common.recipe import parse

METHOD = "transprune-high"
LAYERS = 32
TOKENS = 576

# grey and blue that can be read on white and on black
INK = "#777777"
KEPT = "#3b82c4"
GONE = "#9aa0a6"

LEFT, TOP, STEP, BAR, HEIGHT = 20, 40, 14, 11, 190


def draw() -> str:
    """The picture as SVG: a bar for each layer, as high as the tokens that run there."""
    width = 2 * LEFT + LAYERS * STEP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 310" role="img"',
        '     font-family="sans-serif" font-size="16">',
        "<title>Visual tokens in each of the 32 layers of LLaVA-1.5-7B, TransPrune-High</title>",
        *_bars(),
        *_words(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def counts() -> list[int]:
    """Visual tokens that run in each layer."""
    stages = parse(METHOD).plan(LAYERS, TOKENS)  # type: ignore[attr-defined]
    return list(per_layer(LAYERS, TOKENS, stages))


def _bars() -> Iterator[str]:
    """What runs in each layer, and above it what was dropped."""
    for layer, count in enumerate(counts()):
        left = LEFT + layer * STEP
        high = round(HEIGHT * count / TOKENS, 1)
        yield _box(left, TOP + HEIGHT - high, high, KEPT, 1)
        if count < TOKENS:
            yield _box(left, TOP, round(HEIGHT - high, 1), GONE, 0.25)


def _box(left: float, top: float, high: float, colour: str, opacity: float) -> str:
    return (
        f'<rect x="{left}" y="{round(top, 1)}" width="{BAR}" height="{high}" '
        f'fill="{colour}" opacity="{opacity}"/>'
    )


def _words() -> Iterator[str]:
    """The layer under the first bar and at every boundary, and what the axes are."""
    yield _text(LEFT, 22, "visual tokens in each layer")
    runs = counts()
    for layer, count in enumerate(runs):
        if layer == 0 or count != runs[layer - 1]:
            yield _text(LEFT + layer * STEP, TOP + HEIGHT + 20, str(layer))
    yield _text(LEFT, TOP + HEIGHT + 44, f"layer; {_sizes(runs)} tokens run")
    yield _text(LEFT, TOP + HEIGHT + 67, "grey: dropped, no later layer computes them")


def _sizes(runs: list[int]) -> str:
    """The different numbers, in order."""
    return ", ".join(map(str, dict.fromkeys(runs)))


def _text(left: float, top: float, words: str) -> str:
    return f'<text x="{left}" y="{top}" fill="{INK}">{words}</text>'


if __name__ == "__main__":
    print(draw(), end="")
