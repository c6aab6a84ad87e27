"""`transprune run --overlay`: the picture of what each method kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from transprune.cli.targets import need_file

if TYPE_CHECKING:
    from transprune.cli.run_report import MethodRun
    from transprune.cli.run_shown import Shown
    from transprune.models.checkpoint import Checkpoint
    from transprune.report.frame_strips import FrameStrip
    from transprune.report.overlay import Drawable, Strip

LONGEST = 90  # characters of a title


def check_overlay(overlay: Path | None) -> None:
    """Refuse a file that cannot be written, before the model runs.

    Raises:
        BadParameter: an unknown suffix, one of a format that can only be read, or a place that cannot
            be written.
    """
    from PIL import Image

    if overlay is None:
        return

    kind = Image.registered_extensions().get(overlay.suffix.lower())
    if kind not in Image.SAVE:
        raise typer.BadParameter(
            f"{overlay} needs an image suffix, such as .png", param_hint="--overlay"
        )

    # Pillow would fail only after the model has run
    need_file(overlay, "--overlay")


def write_overlay(
    file: Path,
    checkpoint: Checkpoint,
    inputs: Any,
    shown: Shown,
    question: str,
    runs: list[MethodRun],
) -> None:
    """Draw one row per method and picture, one per stage of a video, and save the sheet.

    Raises:
        BadParameter: the file cannot be written.
    """
    from transprune.report.overlay import draw_sheet
    from transprune.report.tile_picture import TileStrip

    strips: list[Drawable] = []
    if shown.tiles is not None and shown.tiles.looks:
        strips.append(TileStrip("tiles, from coarse to fine", shown.tiles))
    for run in runs:
        strips += _strips(run, checkpoint, inputs, shown)

    sheet = draw_sheet(_shorten(question), strips, "bright patches stay, dark ones are dropped")
    try:
        sheet.save(file)
    # a full disk, or a format that cannot hold such a picture
    except (OSError, ValueError, KeyError) as error:
        raise typer.BadParameter(f"cannot write {file}: {error}", param_hint="--overlay") from error


def _strips(
    run: MethodRun, checkpoint: Checkpoint, inputs: Any, shown: Shown
) -> list[Strip | FrameStrip]:
    """One row for each picture, and one for each stage of a video; none for the unpruned model."""
    from transprune.report.frame_strips import find_frame_grid, frame_strips
    from transprune.report.overlay import Strip, find_grid, stage_panels

    trace = run.answer.trace
    if trace is None:
        return []

    config = checkpoint.model.config
    strips: list[Strip | FrameStrip] = []
    first = 0  # index of the picture's first visual token
    # pictures come first in the prompt, and one of more than one frame is no picture
    pictures = len(shown.pictures)
    lengths = [sum(frames) for frames in trace.frames[0]]
    for number, (picture, tokens) in enumerate(zip(shown.pictures, lengths, strict=False)):
        grid = find_grid(config, inputs, number, tokens, cropped=checkpoint.crops)

        # numbered only where there is more than one
        which = f" (picture {number + 1})" if pictures > 1 else ""
        title = f"{run.method}{which}: {_shorten(run.answer.text or '(empty)')}"
        strips.append(Strip(title, picture, grid, stage_panels(trace, tokens, first), tokens))
        first += tokens

    for number, (clip, tokens) in enumerate(zip(shown.clips, lengths[pictures:], strict=False)):
        which = f" (video {number + 1})" if len(shown.clips) > 1 else ""
        title = f"{run.method}{which}: {_shorten(run.answer.text or '(empty)')}"
        frames = trace.frames[0][pictures + number]
        grid = find_frame_grid(config, inputs, number, frames)
        strips += frame_strips(trace, title, clip.frames, frames, first, grid)
        first += tokens

    return strips


def _shorten(text: str) -> str:
    """The text on one line, cut at `LONGEST` characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
