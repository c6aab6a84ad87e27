"""The model card: what the checkpoint is, how it came about, how well it answers, and where it ends.

Everything measured is measured here, on the finished checkpoint: scores on the test split with the floor beside them,
and in which layers the picture is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transprune.nano.evaluate import Scores, evaluate, load_trained
from transprune.nano.train.recipe import TrainingRecipe

_STEERED = """The depth of reading was
steered in training (`transprune.nano.train.language` says how), so it is no evidence about real models."""
_FREE = "Nothing steered the depth of reading."
_IN_WORDS = """
The language model first learnt the same tasks on scenes told in words; then the projector learnt alone, then all
together."""

Told = Callable[[int, int], None]


def write_card(
    recipe: TrainingRecipe, run: Path, checkpoint: Path, told: Told = lambda done, total: None
) -> dict[str, Any]:
    """Measure a finished checkpoint and write `scores.json` and `README.md` beside its weights; returns the scores."""
    model = load_trained(checkpoint)
    scenes = recipe.report_scenes
    scores = evaluate(model, "test", scenes, progress=told)
    floor = evaluate(model, "test", max(1, scenes // 4), blank=True)
    depth = _depth(model, recipe, max(1, scenes // 80))
    found = {
        "scores": scores.to_dict(),
        "floor": floor.to_dict(),
        "depth": depth,
        "stages": _stages(recipe, run),
    }
    (checkpoint / "scores.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (checkpoint / "README.md").write_text(_card(recipe, scores, floor, found), encoding="utf-8")
    return found


def _depth(model: Any, recipe: TrainingRecipe, scenes: int) -> list[dict[str, float]]:
    """Mean accuracy with the picture visible to the questions only below, or only from, each layer."""
    layers = recipe.sizes.layers
    return [
        {
            "layer": layer,
            "only_below": evaluate(model, "validation", scenes, hidden=range(layer, layers)).mean,
            "only_from": evaluate(model, "validation", scenes, hidden=range(layer)).mean,
        }
        for layer in range(0, layers + 1, max(1, layers // 16))
    ]


def _stages(recipe: TrainingRecipe, run: Path) -> list[dict[str, Any]]:
    """Steps, scenes and minutes of each stage, from its log."""
    stages = [("vision", recipe.vision.steps, recipe.vision.batch)]
    stages += [(stage.name, stage.steps, stage.batch) for stage in recipe.language]
    return [
        {
            "stage": name,
            "steps": steps,
            "scenes": steps * batch,
            "minutes": round(_seconds(run / f"{name}.jsonl") / 60, 1),
        }
        for name, steps, batch in stages
    ]


def _seconds(log: Path) -> float:
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return float(json.loads(lines[-1])["seconds"]) if lines else 0.0


def _card(recipe: TrainingRecipe, scores: Scores, floor: Scores, found: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {name} | {tally.asked} | {tally.percent:.1f} | {floor.families[name].percent:.1f} |"
        for name, tally in scores.families.items()
    )
    kinds = ", ".join(
        f"{name.replace('/', ' ')} {tally.percent:.1f}"
        for name, tally in sorted(scores.kinds.items())
    )
    depth = "\n".join(
        f"| {row['layer']} | {row['only_below']:.1f} | {row['only_from']:.1f} |"
        for row in found["depth"]
    )
    stages = "\n".join(
        f"| {row['stage']} | {row['steps']} | {row['scenes']} | {row['minutes']} |"
        for row in found["stages"]
    )
    text = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    return text.format(
        width=recipe.sizes.width,
        mlp=recipe.sizes.mlp,
        vision_layers=recipe.sizes.vision_layers,
        layers=recipe.sizes.layers,
        heads=recipe.sizes.heads,
        recipe=recipe.name,
        scenes=scores.scenes,
        rows=rows,
        mean=scores.mean,
        floor=floor.mean,
        floor_scenes=floor.scenes,
        kinds=kinds,
        depth=depth,
        stages=stages,
        steered=_STEERED if any(stage.blind for stage in recipe.language) else _FREE,
        told=_IN_WORDS if any(stage.source == "words" for stage in recipe.language) else "",
    )
