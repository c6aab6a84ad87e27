"""Questions about pictures of 8,000 x 8,000 pixels: what the search for tiles answers.

    python -m benchmarks.tiles [--pictures 60] [--scale 16 | 8] [--rounds 2] [--method M]
    python -m benchmarks.tiles --choose        # how layer, rows and rank were chosen
    python -m benchmarks.tiles --memory        # peak memory of `transprune run --tiles`

Every picture gets up to three questions (a character, a shape, a colour). They are answered from

- `resized`: the whole picture at 96 x 96, which is what a plain run shows;
- `random tile`: a tile of the level that the search ends on, drawn at random;
- `tiles`: the tile that the search finds;
- `oracle tile`: the tile of that level that shows the object.

Intervals are paired bootstraps over pictures. The settings of the search were chosen on pictures of
the split `choose`, and the figures are of `test`, which nothing was tried on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers.utils import logging

from transprune.bench.results.statistics import difference_of, draw_weights, interval_of
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.tiles import LargePicture, Tiles, find_tiles
from transprune.tiles.pyramid import Tile, build_pyramid
from transprune.tiles.search import tile_side

from .choose import choose
from .memory import measure_memory
from .pictures import SPLITS, LargeScene, draw_large

NEW_TOKENS = 4  # the longest answer, and its end
CONDITIONS = ("resized", "random tile", "tiles", "oracle tile")


class Run:
    """Answers of every condition, and what the search took.

    Attributes:
        right: condition -> per picture, the share of its questions that were answered right.
        by_category: (condition, category) -> right or not, per question.
        found: whether the search ended on the tile of the object, per question.
        seconds: of each search.
        visual_tokens: of each search, those of the answer's prompt included.
    """

    def __init__(self, checkpoint: Checkpoint, settings: Tiles, method: str | None) -> None:
        self._checkpoint = checkpoint
        self._settings = settings
        self._method = method
        self.right: dict[str, list[float]] = defaultdict(list)
        self.by_category: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self.found: list[bool] = []
        self.seconds: list[float] = []
        self.visual_tokens: list[int] = []

    def add(self, scene: LargeScene, file: Path, rng: np.random.Generator) -> None:
        """All questions about one picture, which is saved in `file`."""
        picture = LargePicture(file)
        right = defaultdict(list)
        for question in scene.questions:
            box = scene.boxes[question.objects[0]]
            shown = self._shown(picture, question.text, box, rng)
            for condition, pictures in shown.items():
                inputs = prepare(self._checkpoint, pictures, question.text)
                answer = ask(self._checkpoint, inputs, self._method, NEW_TOKENS)
                correct = answer.text == question.answer
                right[condition].append(correct)
                self.by_category[condition, question.category].append(correct)

        for condition, answers in right.items():
            self.right[condition].append(statistics.mean(answers))

    def _shown(
        self,
        picture: LargePicture,
        question: str,
        box: tuple[float, ...],
        rng: np.random.Generator,
    ) -> dict[str, list[Image.Image]]:
        """What each condition shows of a picture."""
        side = tile_side(self._checkpoint)
        levels = build_pyramid(*picture.size, side)
        level = levels[self._settings.rounds - 1]
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        target = level.tile_at(*middle)
        drawn = Tile(int(rng.integers(level.rows)), int(rng.integers(level.columns)))

        found = find_tiles(self._checkpoint, picture, question, self._settings)
        self.found.append(target in found.chosen)
        self.seconds.append(found.seconds)
        looked = sum(look.visual_tokens for look in found.looks)
        self.visual_tokens.append(looked + len(found.pictures) * 144)

        return {
            "resized": [picture.thumbnail(side, levels[0])],
            "random tile": [picture.cut(level, drawn)],
            "tiles": list(found.pictures),
            "oracle tile": [picture.cut(level, target)],
        }


def print_table(run: Run) -> None:
    """Right answers of each condition with intervals, and what the search took."""
    units = len(run.right["tiles"])
    weights = draw_weights(units)

    print(f"{'':12s} {'right, %':>9s} {'95 %':>14s} {'tiles - it':>11s} {'paired 95 %':>15s}")
    for condition in CONDITIONS:
        own = _means(run.right[condition], weights)
        interval = interval_of(own)
        less = difference_of(_means(run.right["tiles"], weights) - own, units)
        cells = f"{interval.value:9.1f} {interval.low:6.1f}..{interval.high:5.1f}"
        paired = f"{less.low:6.1f}..{less.high:6.1f}"
        print(f"{condition:12s} {cells:>24s} {less.value:11.1f} {paired:>15s}")

    questions = len(run.found)
    print(f"\n{units} pictures, {questions} questions; by category, right in %:")
    for category in sorted({name for _, name in run.by_category}):
        shares = [100 * statistics.mean(run.by_category[c, category]) for c in CONDITIONS]
        print(
            f"  {category:8s}", *(f"{c} {s:.0f}" for c, s in zip(CONDITIONS, shares, strict=True))
        )
    print(f"the search ends on the object's tile: {100 * statistics.mean(run.found):.1f} %")
    print(f"visual tokens, search and answer, median: {statistics.median(run.visual_tokens):.0f}")
    print(f"seconds of a search, median: {statistics.median(run.seconds):.2f}")


def _means(values: list[float], weights: np.ndarray) -> np.ndarray:
    """Percent in the sample and in each resample. [U], [R + 1, U] -> [R + 1]."""
    return 100 * (weights @ np.array(values)) / len(values)


def measure(arguments: argparse.Namespace, checkpoint: Checkpoint) -> None:
    """Draw the pictures one by one, and print the table."""
    run = Run(checkpoint, Tiles(rounds=arguments.rounds), arguments.method)
    rng = np.random.default_rng(0)
    start = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.tif"
        for number in range(arguments.pictures):
            scene = draw_large(arguments.split, number, arguments.scale)
            Image.fromarray(scene.pixels).save(file)
            run.add(scene, file, rng)

    print(vars(arguments))
    print_table(run)
    print(f"all of it: {time.perf_counter() - start:.0f} s")
    print(json.dumps({"right": run.right, "found": run.found}))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiles", description=__doc__)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--scale", type=int, default=16, choices=(16, 8))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--split", default="test", choices=SPLITS)
    parser.add_argument("--method")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    if arguments.memory:
        measure_memory()
        return
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    if arguments.choose:
        choose(checkpoint, arguments.pictures)
    else:
        measure(arguments, checkpoint)


if __name__ == "__main__":
    main()
