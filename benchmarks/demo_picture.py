"""The moving picture at the head of README: a question of the demo, and what stays in each layer.

    python -m benchmarks.demo_picture docs/demo.gif

Every figure in it is that of the run that draws it, on the bundled model and one CPU thread.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from transprune.demo.questions import Question, picture_file, read_questions
from transprune.models.answer import Answer, ask, prepare
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.models.images import open_image
from transprune.report.overlay import Grid, as_seen, draw_kept, find_grid
from transprune.trace import Trace

METHOD = "transprune-high"
PICTURE = "scene2.png"

# lengths in pixels
WIDTH, HEIGHT, EDGE = 760, 320, 16
LEFT = 336  # of the words and bars beside the picture
BARS_TOP, BARS_HEIGHT, STEP = 120, 108, 25

INK, PALE, PAPER = (28, 30, 34), (105, 110, 118), (255, 255, 255)
DONE, SAVED = (45, 105, 190), (222, 226, 232)
SECONDS, LAST_SECONDS = 1.6, 5.0
COLORS = 128


@dataclass(frozen=True)
class Scene:
    """What is drawn.

    Attributes:
        question: the question.
        seen: the picture, as large as it is drawn.
        grid: where its tokens lie.
        unpruned, pruned: the answers.
        trace: what stayed, and what that cost.
    """

    question: Question
    seen: Image.Image
    grid: Grid
    unpruned: Answer
    pruned: Answer
    trace: Trace


def ask_demo(checkpoint: Checkpoint, picture: str = PICTURE, method: str = METHOD) -> Scene:
    """Ask the demo's question about a shape in this picture, unpruned and pruned."""
    about = [one for one in read_questions() if one.picture == picture]
    question = next(one for one in about if one.category == "shape")
    image = open_image(picture_file(picture))
    inputs = prepare(checkpoint, [image], question.question)

    pruned = ask(checkpoint, inputs, method, 8)
    trace = pruned.trace
    assert trace is not None
    tokens = trace.visual_tokens[0]
    grid = find_grid(checkpoint.model.config, inputs, 0, tokens, cropped=checkpoint.crops)
    assert grid is not None  # the bundled tower is CLIP

    unpruned = ask(checkpoint, inputs, None, 8)
    side = HEIGHT - 2 * EDGE
    seen = as_seen(image, grid).resize((side, side), Image.Resampling.NEAREST)
    return Scene(question, seen, grid, unpruned, pruned, trace)


def draw(scene: Scene) -> list[Image.Image]:
    """One frame with all tokens, one for each boundary, and one with the answer."""
    everything = range(scene.trace.visual_tokens[0])
    kept: list[Any] = [everything, *(stage.keep[0].tolist() for stage in scene.trace.stages)]

    layers = len(scene.trace.tokens_per_layer())
    ends = [*(stage.boundary for stage in scene.trace.stages), layers]
    frames = []
    for number, (keep, end) in enumerate(zip(kept, ends, strict=True)):
        first = 0 if number == 0 else ends[number - 1]
        frames.append(_frame(scene, keep, end, _words(first, end, len(keep))))

    frames.append(_frame(scene, kept[-1], layers, _verdict(scene)))
    return frames


def _words(first: int, end: int, tokens: int) -> tuple[str, str]:
    """What a stage is, in two lines."""
    if first == 0:
        return (
            f"Layers 0 to {end - 1}: all {tokens} visual tokens,",
            "one for each patch of the picture.",
        )
    which = f"Layer {first}" if end == first + 1 else f"Layers {first} to {end - 1}"
    return f"{which}: {tokens} stay,", "chosen by what the layers before computed."


def _verdict(scene: Scene) -> tuple[str, str]:
    """The answers, and what was saved."""
    cost = scene.trace.cost("exact")
    same = "as unpruned" if scene.pruned.text == scene.unpruned.text else "unpruned: "
    if scene.pruned.text != scene.unpruned.text:
        same += scene.unpruned.text
    saved = f"{cost.prefill_share:.0%} of the work, {cost.kv_share:.0%} of the keys and values."
    return f"Answer: {scene.pruned.text}, {same}.", saved


def _frame(scene: Scene, keep: Any, end: int, words: tuple[str, str]) -> Image.Image:
    """The picture with what stays, and on the right the layers that have run."""
    frame = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    frame.paste(draw_kept(scene.seen, scene.grid, keep), (EDGE, EDGE))

    pen = ImageDraw.Draw(frame)
    pen.text((LEFT, 18), scene.question.question, INK, _font(20))
    pen.text((LEFT, 52), words[0], INK, _font(16))
    pen.text((LEFT, 74), words[1], PALE, _font(16))
    _bars(pen, scene.trace, end)
    return frame


def _bars(pen: ImageDraw.ImageDraw, trace: Trace, end: int) -> None:
    """Visual tokens of each layer: in grey those of the unpruned model, in blue those that ran."""
    tokens = trace.visual_tokens[0]
    base = BARS_TOP + BARS_HEIGHT
    for layer, count in enumerate(trace.tokens_per_layer()):
        left = LEFT + STEP * layer
        right = left + STEP - 5
        pen.rectangle((left, BARS_TOP, right, base), fill=SAVED)
        if layer < end:
            pen.rectangle((left, base - BARS_HEIGHT * count // tokens, right, base), fill=DONE)
        pen.text((left + (STEP - 5) / 2, base + 4), str(layer), PALE, _font(12), anchor="ma")

    pen.text(
        (LEFT, base + 24), "visual tokens in each layer of the language model", PALE, _font(13)
    )
    pen.text((LEFT, base + 42), "blue: processed   grey: saved", PALE, _font(13))


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


def save(frames: list[Image.Image], file: Path) -> None:
    """Write the frames as a GIF that starts again from the front."""
    durations = [int(1000 * SECONDS)] * (len(frames) - 1) + [int(1000 * LAST_SECONDS)]
    # one palette for all, so that nothing flickers
    palette = frames[0].quantize(COLORS, method=Image.Quantize.MAXCOVERAGE)
    first, *rest = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first.save(file, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_picture", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--picture", default=PICTURE)
    parser.add_argument("--method", default=METHOD)
    given = parser.parse_args()

    torch.set_num_threads(1)
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    scene = ask_demo(checkpoint, given.picture, given.method)
    save(draw(scene), given.file)
    print(f"{given.file}: {given.file.stat().st_size / 1024:.0f} kB; {' '.join(_verdict(scene))}")


if __name__ == "__main__":
    main()
