"""Write scenes as files: PNGs with a questions file, to look at or for `transprune bench`."""

from __future__ import annotations

import json
from pathlib import Path

from transprune.errors import SceneError
from transprune.smol.asker import Asker
from transprune.smol.kinds import Split
from transprune.smol.questions import ask_all
from transprune.smol.scenes import draw, question_rng
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
    pool = [world.kinds.names[kind] for kind in world.kinds.by_split[split if unseen else "train"]]
    lines = []

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            scene = draw(world, split, number, unseen=unseen)
            name = f"{split}-unseen-{number}" if unseen else f"{split}-{number}"
            scene.image().save(folder / f"{name}.png")

            asker = Asker(scene, pool, question_rng(split, number, unseen), held_out)
            for question in ask_all(asker, 1):
                record = {
                    "id": f"{name}-{question.category}",
                    "image": f"{name}.png",
                    "question": question.text,
                    "answers": [question.answer],
                    "family": question.category,
                    "kind": question.kind,
                }
                lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        (folder / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise SceneError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; choose another "
            "folder, or make room"
        ) from error
    return len(lines)
