"""Tasks: where questions come from, a test bed, a folder or a file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from transprune.bench.data.tasks.base import Film, Item, Picture, Questions, Task
from transprune.bench.data.tasks.beds import Bed, find_bed, own_tasks
from transprune.bench.data.tasks.files import read_questions

__all__ = [
    "Bed",
    "Film",
    "Item",
    "Picture",
    "Questions",
    "Task",
    "find_bed",
    "load_tasks",
    "own_tasks",
]


def load_tasks(
    source: str,
    *,
    n: int | None = None,
    split: str = "test",
    seed: int = 0,
    strict: bool = False,
    only: Collection[str] = (),
) -> Questions:
    """The questions of `source`.

    Args:
        source: the name of a test bed, as `"nano"` for the bundled scenes; else a folder with
            `questions.jsonl` or `questions.json`, or such a file.
        n: scenes of a test bed (default 200; smol 100), or questions of a file (default all).
        split: `"test"` (for reporting) or `"validation"` (for choosing); test beds only.
        seed: seed of the questions about the scenes.
        strict: raise at a bad line of a file instead of reporting it and leaving it out.
        only: names of tasks, categories of a test bed or families of a file; empty for all.

    Raises:
        TaskError: nothing there, nothing usable, no task of a name in `only`, or with `strict` the
            first bad line.
        SceneError: what the scenes of a test bed are drawn from is missing.
    """
    if bed := find_bed(source):
        questions = bed.ask(split, bed.scenes if n is None else n, seed)
    else:
        questions = read_questions(Path(source), n=n, strict=strict)
    return questions.only(only) if only else questions
