"""Questions for a search: pictures and texts without labels, and the part that is held out.

A file is one of `transprune bench` (JSON lines or one JSON list of `image`, `question` and more),
but no right answer is needed, and one that is given is not read.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transprune.bench.data.tasks.base import Item
from transprune.bench.data.tasks.beds import find_bed
from transprune.bench.data.tasks.entry import build_entry
from transprune.bench.data.tasks.files import NAMES
from transprune.bench.data.tasks.held_out import hold_out_pictures
from transprune.core import strict_json
from transprune.core.shown import shown
from transprune.errors import ImageError, TaskError, TuneError
from transprune.tune.plan import SCENES

Choosable = Literal["train", "validation"]

LABELS = ("answer", "answers", "metric", "kind", "family")  # of a benchmark, not read here


@dataclass(frozen=True)
class Split:
    """The questions of a search, in the order they are asked.

    Attributes:
        searched: those that trials are judged by.
        held_out: those of other pictures, for the figures at the end.
        skipped: lines that were left out, each with its reason.
    """

    searched: tuple[Item, ...]
    held_out: tuple[Item, ...]
    skipped: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """All questions."""
        return self.searched + self.held_out


def load_questions(
    source: str, *, n: int | None, held_out: float, seed: int, strict: bool = False
) -> Split:
    """The questions of `source`, the pictures of some of them held out.

    Args:
        source: name of a test bed, whose validation scenes are asked about, or a folder or file.
        n: scenes (default 40) or questions of the file (default all).
        held_out: share of the pictures, in (0, 1).
        seed: seed of the choice, and of a test bed's questions.
        strict: raise at a bad line instead of leaving it out.

    Raises:
        TaskError: nothing there, nothing usable, or with `strict` the first bad line.
        TuneError: fewer than two pictures, so that none can be held out.
    """
    items, skipped = load_items(source, n=n, split="validation", seed=seed, strict=strict)
    return _split(items, held_out, seed, skipped)


def load_items(
    source: str, *, n: int | None, split: Choosable, seed: int, strict: bool = False
) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """All questions of `source` in their order, and the lines left out, each with its reason.

    Args:
        source: name of a test bed, or a folder or file.
        n: scenes (default 40) or questions of the file (default all).
        split: of a test bed. The test split is for reporting and is never offered.
        seed: of a test bed's questions.
        strict: raise at a bad line instead of leaving it out.

    Raises:
        TaskError: nothing there, nothing usable, or with `strict` the first bad line.
        SceneError: what the scenes of a test bed are drawn from is missing.
    """
    if bed := find_bed(source):
        count = n or SCENES
        if split == "train":
            return bed.ask_to_fit(count, seed), ()
        return tuple(bed.ask(split, count, seed).items), ()

    skipped: list[str] = []
    items = tuple(_read(_find(Path(source)), n, strict, skipped))
    return items, tuple(skipped)


def _split(items: Sequence[Item], held_out: float, seed: int, skipped: tuple[str, ...]) -> Split:
    """Hold pictures out, and mix the rest so that every batch has every sort of question."""
    draw = random.Random(seed)
    apart = hold_out_pictures(items, held_out, draw)
    if not apart:
        raise TuneError(
            "a search needs questions about two or more pictures, one of them to be held out (those "
            f"of one question stay together); got {len({item.image for item in items})}"
        )

    mixed = list(items)
    draw.shuffle(mixed)
    searched = tuple(item for item in mixed if item.image not in apart)
    rest = tuple(item for item in mixed if item.image in apart)
    return Split(searched, rest, skipped)


def _find(source: Path) -> Path:
    """The questions file that `source` names."""
    for file in (source, *(source / name for name in NAMES)):
        if file.is_file():
            return file

    raise TaskError(
        f"no questions at {source}: give 'nano', 'smol', a questions file, or a folder with "
        f"{' or '.join(NAMES)}"
    )


def _read(file: Path, n: int | None, strict: bool, skipped: list[str]) -> Iterator[Item]:
    """The usable questions of a file, at most `n`; reasons for the others go to `skipped`."""
    seen: dict[str, str] = {}  # id -> place in the file
    used = 0

    for place, data in _entries(file):
        if used == n:
            return
        try:
            if isinstance(data, ValueError):
                raise data
            item = build_entry(without_labels(data), file, place).item
            first = seen.setdefault(item.id, place)
            if first != place:
                raise ValueError(f"id {shown(item.id)} was used on {first} already")
        except (ValueError, ImageError) as error:
            reason = f"{file}, {place}: {error}"
            if strict:
                raise TaskError(reason) from error
            skipped.append(reason)
            continue

        used += 1
        yield item

    if not used:
        reasons = "; ".join(skipped[:3]) or "the file is empty"
        raise TaskError(
            f"{file} has no usable question: {reasons}. Each needs an image and a question, as "
            '{"image": "1.png", "question": "what is shown?"}'
        )


def without_labels(data: Any) -> Any:
    """An entry whose label is a placeholder: fields are checked as in a benchmark, none is read."""
    if not isinstance(data, Mapping):
        return data

    options = data.get("options")
    letter = next(iter(options), "A") if isinstance(options, Mapping) else "A"
    kept = {name: value for name, value in data.items() if name not in LABELS}
    return {**kept, "answer": str(letter)}


def _entries(file: Path) -> Iterator[tuple[str, Any]]:
    """The place and the data of each entry.

    Raises:
        TaskError: the file cannot be read, or a list that is none.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TaskError(f"{file} cannot be read: {error.strerror or error}") from error

    if file.suffix == ".json":
        data = _parse(content)
        if isinstance(data, ValueError):
            raise TaskError(f"{file}: {data}") from data
        if not isinstance(data, list):
            raise TaskError(f"{file} must be a list of questions; got {shown(data)}")
        for number, entry in enumerate(data, start=1):
            yield f"entry {number}", entry
        return

    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield f"line {number}", _parse(line)


def _parse(text: bytes) -> Any:
    """JSON data, or the error: one bad line must not end the loop over the lines."""
    try:
        return strict_json.read(text)
    except ValueError as error:
        return ValueError(f"not JSON ({error})")
