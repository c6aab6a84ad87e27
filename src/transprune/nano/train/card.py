"""The model card of a finished checkpoint: architecture, training, scores and limits.

All figures of the card are measured here, on the finished checkpoint: the scores on the test split
beside the blank baseline, and the layers in which the model uses the image.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transprune.nano.evaluate import Scores, evaluate, load_trained
from transprune.nano.train.log import read_log
from transprune.nano.train.recipe import TrainingRecipe

# `{steered}` of the template
_STEERED = (
    "Training masked the image in the lowest layers for a while\n"
    "(see `transprune.nano.train.language`), so the depth is no evidence about real models."
)
_FREE = "Nothing in the training influenced the depth."

# `{words_first}` of the template, a paragraph's last sentence
_WORDS_FIRST = (
    " The language model first learnt the same tasks on scenes given as text;\n"
    "then the projector was trained alone, then all together."
)

CardProgress = Callable[[int, int], None]  # finished scenes, all scenes


def write_card(
    recipe: TrainingRecipe,
    run: Path,
    checkpoint: Path,
    progress: CardProgress = lambda done, total: None,
) -> dict[str, Any]:
    """Measure a finished checkpoint; write `scores.json` and `README.md` beside its weights.

    Args:
        recipe: the training.
        run: folder with the logs of the stages.
        checkpoint: folder with the weights.
        progress: called with the number of evaluated test scenes.

    Returns:
        The content of `scores.json`.
    """
    model = load_trained(checkpoint)
    scenes = recipe.report_scenes

    # the baseline and the depths need less precision than the scores
    scores = evaluate(model, "test", scenes, progress=progress)
    blank = evaluate(model, "test", max(1, scenes // 4), blank=True)
    depth = _depth(model, recipe, max(1, scenes // 80))

    figures = {
        "scores": scores.to_dict(),
        "floor": blank.to_dict(),
        "depth": depth,
        "stages": _stages(recipe, run),
    }

    (checkpoint / "scores.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    card = _render(recipe, scores, blank, figures)
    (checkpoint / "README.md").write_text(card, encoding="utf-8")
    return figures


def _depth(model: Any, recipe: TrainingRecipe, scenes: int) -> list[dict[str, float]]:
    """Mean accuracy with the image visible only below, or only from, each layer."""
    layers = recipe.sizes.layers
    rows = []

    for layer in range(0, layers + 1, max(1, layers // 16)):
        below = evaluate(model, "validation", scenes, masked_layers=range(layer, layers))
        above = evaluate(model, "validation", scenes, masked_layers=range(layer))
        rows.append({"layer": layer, "only_below": below.mean, "only_from": above.mean})

    return rows


def _stages(recipe: TrainingRecipe, run: Path) -> list[dict[str, Any]]:
    """Steps, scenes and minutes of each stage, from its log."""
    stages = [("vision", recipe.vision.steps, recipe.vision.batch)]
    for stage in recipe.language:
        stages.append((stage.name, stage.steps, stage.batch))

    rows = []
    for name, steps, batch in stages:
        minutes = round(_seconds(run / f"{name}.jsonl") / 60, 1)
        rows.append({"stage": name, "steps": steps, "scenes": steps * batch, "minutes": minutes})

    return rows


def _seconds(log: Path) -> float:
    """Duration of a stage; 0 without a log."""
    lines = read_log(log) if log.exists() else []
    return float(lines[-1]["seconds"]) if lines else 0.0


def _render(recipe: TrainingRecipe, scores: Scores, blank: Scores, figures: dict[str, Any]) -> str:
    """Fill the template `card.md`."""
    score_rows = []
    for name, tally in scores.categories.items():
        baseline = blank.categories[name].percent
        score_rows.append(f"| {name} | {tally.asked} | {tally.percent:.1f} | {baseline:.1f} |")

    kinds = []
    for name, tally in sorted(scores.kinds.items()):
        kinds.append(f"{name.replace('/', ' ')} {tally.percent:.1f}")

    depth_rows = []
    for row in figures["depth"]:
        depth_rows.append(f"| {row['layer']} | {row['only_below']:.1f} | {row['only_from']:.1f} |")

    stage_rows = []
    for row in figures["stages"]:
        stage_rows.append(
            f"| {row['stage']} | {row['steps']} | {row['scenes']} | {row['minutes']} |"
        )

    # two sentences of the card depend on the recipe
    masked = any(stage.mask_image_layers for stage in recipe.language)
    from_words = any(stage.source == "words" for stage in recipe.language)

    template = (Path(__file__).parent / "card.md").read_text(encoding="utf-8")
    return template.format(
        width=recipe.sizes.width,
        mlp=recipe.sizes.mlp,
        vision_layers=recipe.sizes.vision_layers,
        layers=recipe.sizes.layers,
        heads=recipe.sizes.heads,
        recipe=recipe.name,
        scenes=scores.scenes,
        score_rows="\n".join(score_rows),
        mean=scores.mean,
        blank_mean=blank.mean,
        blank_scenes=blank.scenes,
        kinds=", ".join(kinds),
        depth_rows="\n".join(depth_rows),
        stage_rows="\n".join(stage_rows),
        steered=_STEERED if masked else _FREE,
        words_first=_WORDS_FIRST if from_words else "",
    )
