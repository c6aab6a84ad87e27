"""Strips of frames: one per stage, with the pixels of the frames that were shown."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from transprune.report.frame_strips import frame_strips
from transprune.report.overlay import GAP, PANEL, Grid, Panel, Strip, as_seen, draw_sheet
from video.folders import square

GRID = Grid(3, 4, total=12)


def trace_of(*kept: list[int]) -> SimpleNamespace:
    """A trace of one sample, in which these tokens stayed at each stage."""
    stages = []
    for boundary, tokens in enumerate(kept, start=2):
        stages.append(SimpleNamespace(boundary=boundary, keep=(torch.tensor(tokens),)))
    return SimpleNamespace(stages=stages)


def test_every_stage_has_a_strip_and_every_frame_a_panel():
    # a picture of 5 tokens stands in front of the video
    trace = trace_of([0, 4, *range(5, 17), 18, 28], [17])
    pictures = [square(number) for number in range(5)]
    first, second = frame_strips(trace, "fastv: red", pictures, [12, 12], 5, GRID)

    assert (first.title, second.title) == ("fastv: red, from layer 2 on", "from layer 3 on")
    assert [list(panel.keep) for panel in first.panels] == [list(range(12)), [1, 11]]
    assert [list(panel.keep) for panel in second.panels] == [[], [0]]
    assert second.panels[1].caption == "frame 2\n1 of 12 kept"
    # two frames of five pictures: the first, and the fourth
    assert first.pictures == (pictures[0], pictures[3])


def test_a_frame_that_stays_is_drawn_as_it_is():
    trace = trace_of(list(range(12)))
    pictures = [square(0), square(9)]
    (strip,) = frame_strips(trace, "title", pictures, [12, 12], 0, GRID)
    drawn = np.asarray(strip.draw())
    kept, dropped = (np.asarray(as_seen(picture, GRID)) for picture in pictures)
    height, width = kept.shape[:2]
    top = next(y for y in range(60) if (drawn[y : y + height, GAP : GAP + width] == kept).all())
    left = GAP + PANEL + GAP
    beside = drawn[top : top + height, left : left + width]
    assert beside.mean() < 0.5 * dropped.mean()


def test_a_last_token_without_a_place():
    """The newline behind a whole video of LLaVA-OneVision."""
    trace = trace_of([3, 24])
    (strip,) = frame_strips(trace, "title", [square(0), square(1)], [12, 13], 0, GRID)
    assert [list(panel.keep) for panel in strip.panels] == [[3], [12]]
    assert strip.draw().width > 2 * PANEL


def test_strips_of_frames_and_of_pictures_share_a_sheet():
    trace = trace_of([1, 2])
    strips = list(frame_strips(trace, "title", [square(0)], [12], 0, None))
    picture = Strip("picture", Image.new("RGB", (40, 30)), GRID, (Panel([0], "one"),), 12)
    sheet = draw_sheet("question", [picture, *strips])
    assert sheet.height > picture.draw().height + strips[0].draw().height
