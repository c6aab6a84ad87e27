"""Questions to learn from, with their answers, and the part that is held out."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transprune.bench.data.tasks.base import Item
from transprune.bench.data.tasks.beds import find_bed
from transprune.bench.data.tasks.files import read_questions
from transprune.bench.data.tasks.held_out import hold_out_pictures
from transprune.errors import TaskError, TrainingError
from transprune.training.plan import SCENES


@dataclass(frozen=True)
class Lessons:
    """The questions of a training.

    Attributes:
        trained: those to learn from.
        held_out: those of other pictures, for the figures at the end.
        skipped: lines that were left out, each with its reason.
    """

    trained: tuple[Item, ...]
    held_out: tuple[Item, ...]
    skipped: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """All questions."""
        return self.trained + self.held_out

    @property
    def digest(self) -> str:
        """16 hex digits, equal for the same questions, answers and held-out part."""
        digest = hashlib.sha256()
        for part in (self.trained, self.held_out):
            digest.update(str(len(part)).encode())
            for item in part:
                digest.update(repr((item.id, item.image, item.question, item.answers)).encode())
        return digest.hexdigest()[:16]


def load_lessons(
    source: str, *, n: int | None, held_out: float, seed: int, strict: bool = False
) -> Lessons:
    """The questions of `source`, those of some pictures held out.

    Args:
        source: name of a test bed, as `"nano"`, for its training scenes, or a folder or file of
            questions with answers, as `transprune bench` takes them.
        n: scenes (default 1500) or questions of the file (default all).
        held_out: share of the pictures, in (0, 1).
        seed: of the choice, and of a test bed's questions.
        strict: raise at a bad line instead of leaving it out.

    Raises:
        TrainingError: nothing to learn from, or a single picture, so that none can be held out.
    """
    if bed := find_bed(source):
        items = bed.ask_to_learn(SCENES if n is None else n, seed)
        return _split(items, held_out, seed, ())
    try:
        questions = read_questions(Path(source), n=n, strict=strict)
    except TaskError as error:
        raise TrainingError(
            f"nothing to learn from: {error}. Each question needs an image and an answer, as "
            '{"image": "1.png", "question": "what color is the cup?", "answer": "red"}'
        ) from error

    return _split(questions.items, held_out, seed, questions.skipped)


def _split(items: Sequence[Item], held_out: float, seed: int, skipped: tuple[str, ...]) -> Lessons:
    apart = hold_out_pictures(items, held_out, random.Random(seed))
    if not apart:
        raise TrainingError(
            "training needs questions about two or more pictures, one of them to be held out (those "
            f"of one question stay together); got {len({item.image for item in items})}"
        )

    trained = tuple(item for item in items if item.image not in apart)
    rest = tuple(item for item in items if item.image in apart)
    return Lessons(trained, rest, skipped)


def batches(
    items: Sequence[Item], size: int, seed: int, first: int, last: int
) -> Iterator[list[Item]]:
    """The batches of steps `first` to `last` - 1: every epoch in an order of its own.

    A function of the step and the seed, so that a resumed training has the same ones.
    """
    size = min(size, len(items))
    per_epoch = len(items) // size
    order: list[int] = []
    known = -1

    for step in range(first, last):
        epoch, place = divmod(step, per_epoch)
        if epoch != known:
            order = list(range(len(items)))
            random.Random(f"{seed}/{epoch}").shuffle(order)
            known = epoch
        yield [items[number] for number in order[place * size : (place + 1) * size]]
