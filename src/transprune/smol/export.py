"""Write scenes as files: PNGs with a questions file, to look at or for `transprune bench`."""

from __future__ import annotations

import json
from pathlib import Path

from transprune.errors import SceneError
from transprune.nano.export import benchmark_record
from transprune.smol.kinds import Split
from transprune.smol.questions import ask_all, asker_of
from transprune.smol.scenes import draw
from transprune.smol.world import World


def write_scenes(
    world: World,
    folder: Path,
    split: Split,
    numbers: range,
    *,
    unseen: bool = False,
    held_out: bool = False,
) -> int:
    """Write scenes, and one question of each category that fits; return the number of questions.

    Args:
        world: what pictures are drawn from.
        folder: made if missing; gets `<split>-<number>.png` files and `questions.jsonl`.
        split: which stream of scenes.
        numbers: which scenes of that stream.
        unseen: show kinds that no training picture has.
        held_out: word the questions as no training question is.

    Raises:
        SceneError: a file cannot be written.
    """
    try:
        return _write_scenes(world, folder, split, numbers, unseen, held_out)
    except OSError as error:
        raise SceneError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; choose another "
            "folder, or make room"
        ) from error


def _write_scenes(
    world: World, folder: Path, split: Split, numbers: range, unseen: bool, held_out: bool
) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []

    for number in numbers:
        scene = draw(world, split, number, unseen=unseen)
        name = f"{split}-unseen-{number}" if unseen else f"{split}-{number}"
        scene.image().save(folder / f"{name}.png")

        asker = asker_of(world, scene, split, number, unseen=unseen, held_out=held_out)
        for question in ask_all(asker, 1):
            record = benchmark_record(name, question)
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")

    (folder / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(lines)
