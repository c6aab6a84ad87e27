"""`trace.plot(picture)`: the kept patches of one prompt, one panel per boundary.

A trace holds no model and no inputs, so where its tokens lie follows from their number:

- LLaVA-1.5 and ViP-LLaVA: a square of the nominal number of tokens, for each picture.
- LLaVA-NeXT: the same square for the whole picture; the tokens of its tiles have no panel.
- Qwen2.5-VL: the rows and columns that are nearest to the picture's proportions.

`transprune run --overlay` has the inputs at hand and reads the grid from them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from math import isqrt, log
from pathlib import Path

from PIL import Image

from transprune.errors import ImageError, LayoutError
from transprune.families import FAMILIES
from transprune.families.nominal import nominal_views
from transprune.models.images import open_image, to_rgb
from transprune.report.overlay import Grid, Strip, draw_sheet, stage_panels
from transprune.trace import Trace

Picture = Image.Image | str | os.PathLike[str]

# how far the proportions of a grid may be from the picture's: a processor rounds both sides to
# whole tokens, which matters most for a side of one or two
LARGEST_STRETCH = 1.6


def plot_trace(
    trace: Trace,
    pictures: Picture | Sequence[Picture],
    *,
    sample: int = 0,
    grid: tuple[int, int] | None = None,
    cropped: bool = True,
    path: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """Draw which patches stayed at each boundary; the others are dimmed.

    Args:
        trace: of a pruned prefill.
        pictures: the picture of that prompt, or all of them in order; PIL images or files.
        sample: number of the prompt in its batch.
        grid: rows and columns of each picture's tokens, where they are known better than from
            their number.
        cropped: the processor cuts a picture to its centre, as LLaVA-1.5's does. No matter for
            square pictures and for families that see the whole picture.
        path: file to write as well; its suffix chooses the format.

    Returns:
        One row per picture: the picture, then a panel per boundary.

    Raises:
        LayoutError: no such sample, a prompt without a picture, or pictures and grid that its
            tokens do not fit.
        ImageError: a picture that cannot be read, or a file that cannot be written.
    """
    images = _open_all(pictures)
    one = _one_sample(trace, sample)
    lengths = _tokens_per_picture(one, len(images))

    strips = []
    first = 0  # number of the picture's first token within the sample
    names = dict.fromkeys(stage.method for stage in one.stages)
    for number, (image, tokens) in enumerate(zip(images, lengths, strict=True), start=1):
        place = _find_grid(one, image, tokens, grid, cropped)
        which = f", picture {number} of {len(images)}" if len(images) > 1 else ""
        title = f"{' + '.join(names) or 'nothing dropped'}{which}"
        strips.append(Strip(title, image, place, stage_panels(one, tokens, first), tokens))
        first += tokens

    sheet = draw_sheet("kept visual tokens", strips, "bright patches stay, dark ones are dropped")
    if path is not None:
        _save(sheet, Path(path))
    return sheet


def _open_all(pictures: Picture | Sequence[Picture]) -> list[Image.Image]:
    """One picture or several, as RGB images."""
    if isinstance(pictures, (Image.Image, str, os.PathLike)):
        pictures = [pictures]

    images = []
    for picture in pictures:
        if isinstance(picture, Image.Image):
            images.append(to_rgb(picture))
        elif isinstance(picture, (str, os.PathLike)):
            images.append(open_image(picture))
        else:
            raise ImageError(
                f"a picture is a PIL image or a file; got {type(picture).__name__}. Of an array: "
                "PIL.Image.fromarray(array)."
            )
    return images


def _one_sample(trace: Trace, sample: int) -> Trace:
    """The trace of one prompt of the batch."""
    batch = len(trace.visual_tokens)
    if not 0 <= sample < batch:
        raise LayoutError(f"this trace has samples 0..{batch - 1}; got sample={sample!r}")

    if not trace.visual_tokens[sample]:
        raise LayoutError(
            f"sample {sample} had no picture in its prompt, so there are no patches to draw; plot "
            "the trace of a prompt with a picture"
        )

    stages = tuple(replace(stage, keep=(stage.keep[sample],)) for stage in trace.stages)
    frames = (trace.frames[sample],) if trace.frames else ()
    visual = (trace.visual_tokens[sample],)
    return replace(trace, visual_tokens=visual, stages=stages, frames=frames)


def _tokens_per_picture(trace: Trace, pictures: int) -> list[int]:
    """The visual tokens of each picture.

    Raises:
        LayoutError: the tokens are those of another number of pictures.
    """
    total = trace.visual_tokens[0]
    clips = trace.frames[0] if trace.frames else ()
    if any(len(frames) > 1 for frames in clips):
        raise LayoutError(
            "this prompt had a video, whose frames are drawn by `transprune run --video ... "
            "--overlay`; kept_per_frame() has the numbers"
        )
    if clips and sum(map(sum, clips)) == total:
        if pictures != len(clips):
            raise LayoutError(
                f"the prompt had {len(clips)} picture(s) of {', '.join(str(sum(c)) for c in clips)} "
                f"visual tokens; got {pictures} to draw"
            )
        return [sum(frames) for frames in clips]

    # a trace of 0.1 does not tell pictures apart
    side = _square_side(trace)
    nominal = side**2 if side else 0

    # every picture has the nominal number, so their count is known
    if nominal and total % nominal == 0 and not _has_tiles(trace):
        if pictures != total // nominal:
            raise LayoutError(
                f"the prompt had {total // nominal} picture(s) of {nominal} visual tokens; got "
                f"{pictures} to draw"
            )
        return [nominal] * pictures

    if pictures != 1:
        raise LayoutError(
            f"pictures of this family differ in their number of tokens, so {total} tokens cannot "
            f"be shared among {pictures}; use `transprune run --overlay`, which has the inputs, or "
            "prompts with one picture"
        )
    return [total]


def _find_grid(
    trace: Trace, image: Image.Image, tokens: int, given: tuple[int, int] | None, cropped: bool
) -> Grid | None:
    """Where the tokens of a picture lie; None where their number says nothing.

    Raises:
        LayoutError: no grid of so many tokens has the picture's proportions, or the given one has
            another number of them.
    """
    if given is not None:
        rows, columns = given
        if rows * columns > tokens or min(given) < 1:
            raise LayoutError(
                f"grid={given!r} has {rows * columns} cells; this picture has {tokens} visual "
                "tokens, and a grid cannot have more cells than that"
            )
        return Grid(rows, columns, cropped=False, total=tokens)

    if _takes_any_size(trace):
        return _nearest_grid(image, tokens)

    side = _square_side(trace)
    if side is None or tokens < side**2 or (tokens != side**2 and not _has_tiles(trace)):
        return None  # drawn in prompt order
    return Grid(side, side, cropped=cropped and not _has_tiles(trace), total=tokens)


def _nearest_grid(image: Image.Image, tokens: int) -> Grid:
    """The grid of exactly `tokens` cells whose proportions are nearest to the picture's."""
    grids = []
    for rows in range(1, tokens + 1):
        if tokens % rows == 0:
            grids.append(Grid(rows, tokens // rows, total=tokens))

    def stretch(grid: Grid) -> float:
        """How many times wider or narrower, as a logarithm."""
        return abs(log(grid.columns / grid.rows) - log(image.width / image.height))

    best = min(grids, key=stretch)
    if stretch(best) > log(LARGEST_STRETCH):
        raise LayoutError(
            f"{tokens} visual tokens make no grid with the proportions of a picture of "
            f"{image.width} x {image.height}; is it the picture of this prompt, and its only one? "
            "Else give grid=(rows, columns)."
        )
    return best


def _takes_any_size(trace: Trace) -> bool:
    """Whether a picture of any size has a grid of its own."""
    # M-RoPE gives tokens their row and column: it comes with towers that take any size
    return bool(FAMILIES.get(trace.family).mrope)


def _has_tiles(trace: Trace) -> bool:
    """Whether the whole picture is followed by tiles of it."""
    return nominal_views(trace.family) > 1


def _square_side(trace: Trace) -> int | None:
    """Side of the nominal square grid of one picture, None where there is none."""
    if _takes_any_size(trace):
        return None
    nominal = trace.geometry.visual_tokens // nominal_views(trace.family)
    side = isqrt(nominal)
    return side if side and side**2 == nominal else None


def _save(sheet: Image.Image, file: Path) -> None:
    try:
        sheet.save(file)
    except (OSError, ValueError) as error:  # ValueError: an unknown suffix
        raise ImageError(f"cannot write the picture {str(file)!r}: {error}") from error
