"""The figures that need the model: transition maps, keep rates, and AUC per layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transprune.bench.data.tasks import Item, Questions, find_bed
from transprune.bench.run.prepared import PreparedQuestions
from transprune.methods.transprune import TransPrune
from transprune.models.checkpoint import Checkpoint
from transprune.report.auc import layer_aucs
from transprune.report.figures.positions import draw_positions
from transprune.report.figures.signal import draw_signal
from transprune.report.figures.transitions import draw_transitions
from transprune.report.insight import (
    Insight,
    keep_rates,
    measure,
    most_common_grid,
)
from transprune.report.overlay import Grid, as_seen
from transprune.report.picture import Picture
from transprune.report.progress import Progress, silent

MAX_IMAGES = 48  # whose questions the averages are taken over

Bools = NDArray[np.bool_]


@dataclass
class ModelFigures:
    """Figures of the model, with the reasons for those that could not be drawn.

    Attributes:
        pictures: figures by name.
        aucs: name of a curve -> AUC per layer; see `insight.layer_aucs`.
        missing: sentences about what is left out.
    """

    pictures: dict[str, Picture] = field(default_factory=dict)
    aucs: dict[str, list[float]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def draw_model_figures(
    questions: Questions,
    checkpoint: Checkpoint,
    find_grid: Callable[[Item], Grid | None],
    progress: Progress = silent,
) -> ModelFigures:
    """Measure the model on the images of the run, and draw.

    Args:
        questions: of the run.
        checkpoint: the model.
        find_grid: returns the grid of a question with one image, or None where it is not known.
        progress: called with the name of each step.
    """
    progress("looking where the tokens of each image are")
    figures = ModelFigures()
    common = most_common_grid(_known_grids(questions, find_grid))
    if common is None:
        figures.missing.append(
            "No transition maps, positions or AUC: the grid of this model's tokens is not known."
        )
        return figures

    grid, items = common
    items = sorted(items, key=_item_order)  # independent of the order of the tasks
    prepared = PreparedQuestions(checkpoint, items)
    items.sort(key=lambda item: prepared.count(item).length)  # less padding
    insight = measure(prepared, items, progress)
    progress("drawing transition maps")
    _add_transitions(figures, items, grid, insight)

    objects = _object_masks(questions, items, grid)
    shape = (grid.rows, grid.columns)
    mean = None if objects is None else objects.mean(axis=0)
    rates = keep_rates(prepared, items, progress)
    progress("drawing positions")
    figures.pictures["positions"] = draw_positions(rates, shape, len(items), mean)

    if objects is None:
        figures.missing.append(
            "No AUC per layer: it is not known which tokens of these images show which object."
        )
        return figures

    progress("ranking tokens layer by layer")
    figures.aucs = layer_aucs(insight, objects, _target_masks(items, grid))
    # the boundaries of the paper are scaled to the depth of this model
    boundaries = TransPrune.high().schedule(prepared.geometry.layers).boundaries
    figures.pictures["signal"] = draw_signal(figures.aucs, len(items), boundaries)
    return figures


def _item_order(item: Item) -> tuple[str, str]:
    return item.image, item.id


def _known_grids(
    questions: Questions, find_grid: Callable[[Item], Grid | None]
) -> dict[Item, Grid]:
    """The questions about the first images whose tokens all have a known place."""
    items = [item for item in questions.items if len(item.pictures) == 1]
    distinct = list(dict.fromkeys(item.image for item in items))
    images = set(distinct[:MAX_IMAGES])

    grids: dict[Item, Grid] = {}
    for item in items:
        grid = find_grid(item) if item.image in images else None
        # the maps need a place for every token
        if grid is not None and not grid.partial:
            grids[item] = grid
    return grids


def _add_transitions(
    figures: ModelFigures, items: Sequence[Item], grid: Grid, insight: Insight
) -> None:
    """Transition maps of the first image in the order of names."""
    # any of its questions will do: it comes after the image, so it does not change the maps
    item = min(items, key=_item_order)
    number = items.index(item)

    figures.pictures["transitions"] = draw_transitions(
        as_seen(item.pictures[0](), grid),
        (grid.rows, grid.columns),
        insight.magnitude[number],
        insight.cosine[number],
        item.image,
    )


def _object_masks(questions: Questions, items: Sequence[Item], grid: Grid) -> Bools | None:
    """bool [Q, N], tokens that show any object; None unless a test bed knows it of these tokens."""
    bed = find_bed(questions.source)
    if bed is None or bed.tokens != grid.cells:
        return None

    images = dict.fromkeys(item.image for item in items)
    by_image = {image: bed.objects(image) for image in images}
    return np.array([by_image[item.image] for item in items])


def _target_masks(items: Iterable[Item], grid: Grid) -> Bools:
    """bool [Q, N], tokens that show an object that the question is about."""
    masks = []
    for item in items:
        mask = np.zeros(grid.cells, dtype=bool)
        for tokens in item.relevant or ():
            mask[list(tokens)] = True
        masks.append(mask)
    return np.array(masks)
