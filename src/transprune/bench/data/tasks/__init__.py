"""Tasks: where questions come from, the bundled scenes, a folder or a file."""

from __future__ import annotations

from pathlib import Path

from transprune.bench.data.tasks.base import Film, Item, Picture, Questions, Task
from transprune.bench.data.tasks.files import read_questions
from transprune.bench.data.tasks.scenes import ask_scenes
from transprune.nano import NANO

__all__ = ["SCENES", "Film", "Item", "Picture", "Questions", "Task", "load_tasks"]

SCENES = 200  # of the bundled task, unless another number is given


def load_tasks(
    source: str, *, n: int | None = None, split: str = "test", seed: int = 0, strict: bool = False
) -> Questions:
    """The questions of `source`.

    Args:
        source: `"nano"` for the bundled scenes; else a folder with `questions.jsonl` or
            `questions.json`, or such a file.
        n: scenes of the bundled task (default 200), or questions of a file (default all).
        split: `"test"` (for reporting) or `"validation"` (for choosing); bundled scenes only.
        seed: seed of the questions about the scenes.
        strict: raise at a bad line of a file instead of reporting it and leaving it out.

    Raises:
        TaskError: nothing there, nothing usable, or with `strict` the first bad line.
    """
    if source == NANO:
        return ask_scenes(split, SCENES if n is None else n, seed)
    return read_questions(Path(source), n=n, strict=strict)
