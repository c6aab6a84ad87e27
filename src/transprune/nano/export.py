"""Scenes as files: PNGs, and one JSONL of questions in the format `transprune bench` reads."""

from __future__ import annotations

import json
from pathlib import Path

from transprune.nano.questions import ask_each
from transprune.nano.scenes import Split, draw


def write_scenes(folder: Path, split: Split, numbers: range) -> int:
    """Write scenes and one question of each family about each; returns how many questions.

    Args:
        folder: made if missing; gets `<split>-<number>.png` files and `questions.jsonl`.
        split: which stream of scenes.
        numbers: which of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in numbers:
        scene, name = draw(split, number), f"{split}-{number}"
        scene.image().save(folder / f"{name}.png")
        for question in ask_each(scene, number):
            line = {
                "id": f"{name}-{question.family}",
                "image": f"{name}.png",
                "question": question.text,
                "answers": [question.answer],
                "family": question.family,
                "kind": question.kind,
            }
            lines.append(json.dumps(line))
    (folder / "questions.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(lines)
