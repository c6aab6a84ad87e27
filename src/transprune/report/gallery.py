"""The pictures that need the run's own questions, most of them also its model. What cannot be shown is said instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transprune.bench.data.provenance import fingerprint
from transprune.bench.data.tasks import Item, Questions, load_tasks
from transprune.errors import PruneError
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.report.examples import Example, choose, draw_example
from transprune.report.overlay import Grid, as_seen
from transprune.report.results import Results
from transprune.report.theme import Picture

NANO = "nano"
LOOKED_AT = 48  # images whose questions the model is asked for the averages
FLOOR_ITEMS = 60  # questions per task for the language-only floor
Step = Callable[[str], None]


@dataclass
class Gallery:
    """What was found; empty parts have their reason in `missing`."""

    pictures: dict[str, Picture] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    aucs: Mapping[str, list[float]] = field(default_factory=dict)
    floor: float | None = None
    missing: list[str] = field(default_factory=list)


def collect(results: Results, examples: int, model: str | None, step: Step) -> Gallery:
    """Everything that questions and model allow.

    Args:
        results: the run.
        examples: how many to show.
        model: folder, hub id or `"nano"` in place of the run's own model; `"none"` to do without.
        step: told what is being done.
    """
    gallery, settings = Gallery(), results.run.manifest.settings
    step("reading the questions again")
    try:
        questions = load_tasks(
            settings.tasks, n=settings.n, split=settings.split or "test", seed=settings.seed
        )
    except PruneError as error:
        gallery.missing.append(
            f"No pictures: the run's questions cannot be read any more ({error})."
        )
        return gallery
    if questions.fingerprint != settings.items:
        gallery.missing.append(
            f"No pictures: the questions at {settings.tasks} are not those of this run any more (fingerprint "
            f"{questions.fingerprint}, the run has {settings.items})."
        )
        return gallery
    checkpoint = _load(results, model, gallery, step)
    prompts_of = _Prompts(checkpoint, settings.tasks)
    step("drawing the examples")
    gallery.examples = tuple(_examples(results, questions, examples, prompts_of, gallery))
    if checkpoint is not None:
        step("looking into the model")
        _insight(results, questions, prompts_of, gallery)
        step("asking with blank pictures")
        gallery.floor = _floor(results, questions, checkpoint)
    return gallery


class _Prompts:
    """Prepared questions and grids, made when asked; the bundled scenes have a grid without any model."""

    def __init__(self, checkpoint: Checkpoint | None, source: str) -> None:
        self.checkpoint, self._source = checkpoint, source

    def grid(self, item: Item) -> Grid | None:
        """Where the tokens of a one-picture question lie."""
        if self._source == NANO:
            from transprune.nano.scenes import GRID

            return Grid(GRID, GRID, total=GRID * GRID)
        if self.checkpoint is None or len(item.pictures) != 1:
            return None
        from transprune.models.answer import count_visual, prepare
        from transprune.report.overlay import find_grid

        inputs = prepare(self.checkpoint, [item.pictures[0]()], item.question)
        tokens = count_visual(self.checkpoint, inputs)
        return find_grid(
            self.checkpoint.model.config, inputs, 0, tokens, cropped=self.checkpoint.crops
        )


def _load(results: Results, model: str | None, gallery: Gallery, step: Step) -> Checkpoint | None:
    settings = results.run.manifest.settings
    source = model or settings.model
    if source == "none":
        gallery.missing.append(
            "No transition maps, positions, AUC or language-only floor: made without the model."
        )
        return None
    step(f"loading {source}")
    try:
        checkpoint = load(source, LoadOptions(dtype=settings.dtype))
    except PruneError as error:
        gallery.missing.append(
            f"No transition maps, positions, AUC or language-only floor: the model cannot be loaded ({error})."
        )
        return None
    found = fingerprint(source)
    if settings.weights and found != settings.weights:
        gallery.missing.append(
            f"Transition maps, positions, AUC and language-only floor are of the model at {source} as it is now "
            f"(weights {found or 'unknown'}), not of the one that answered (weights {settings.weights})."
        )
    return checkpoint


def _examples(
    results: Results, questions: Questions, count: int, prompts: _Prompts, gallery: Gallery
) -> list[Example]:
    items = {(task.name, item.id): item for task in questions.tasks for item in task.items}
    drawn = []
    for number, chosen in enumerate(choose(results, count), start=1):
        item = items.get((chosen.pruned.task, chosen.pruned.item))
        grid = None if item is None else prompts.grid(item)
        if item is not None and grid is not None and not grid.partial:
            drawn.append(draw_example(number, chosen, item, grid))
    if not drawn and count:
        gallery.missing.append(
            "No examples: no method kept tokens of a picture whose grid is known."
        )
    return drawn


def _insight(
    results: Results, questions: Questions, prompts_of: _Prompts, gallery: Gallery
) -> None:
    from transprune.bench.run.prepared import PreparedQuestions
    from transprune.methods.transprune import TransPrune
    from transprune.report.figures.positions import draw_positions
    from transprune.report.figures.signal import draw_signal
    from transprune.report.figures.transitions import draw_transitions
    from transprune.report.insight import keep_rates, layer_aucs, look, same_grid

    assert prompts_of.checkpoint is not None
    every = [item for task in questions.tasks for item in task.items if len(item.pictures) == 1]
    images = set(list(dict.fromkeys(item.image for item in every))[:LOOKED_AT])
    items = [item for item in every if item.image in images]
    known = {
        item: grid
        for item in items
        if (grid := prompts_of.grid(item)) is not None and not grid.partial
    }
    common = same_grid(known)
    if common is None:
        gallery.missing.append(
            "No transition maps, positions or AUC: the grid of this model's tokens is not known."
        )
        return
    grid, items = common
    items = sorted(items, key=lambda item: (item.image, item.id))
    prompts = PreparedQuestions(prompts_of.checkpoint, items)
    items.sort(key=lambda item: prompts.count(item).length)
    seen, shape = look(prompts, items), (grid.rows, grid.columns)
    shown = items.index(min(items, key=lambda item: (item.image, item.id)))
    picture = as_seen(items[shown].pictures[0](), grid)
    gallery.pictures["transitions"] = draw_transitions(
        picture, shape, seen.magnitude[shown], seen.cosine[shown], items[shown].image
    )
    objects = _objects(questions, items)
    gallery.pictures["positions"] = draw_positions(
        keep_rates(prompts, items),
        shape,
        len(items),
        None if objects is None else objects.mean(axis=0),
    )
    if objects is None:
        gallery.missing.append(
            "No AUC per layer: these pictures do not say which token shows which object."
        )
        return
    asked = np.array(
        [_mask(grid.cells, [t for group in item.relevant or () for t in group]) for item in items]
    )
    gallery.aucs = layer_aucs(seen, objects, asked)
    boundaries = TransPrune.high().schedule(prompts.geometry.layers).boundaries
    gallery.pictures["signal"] = draw_signal(gallery.aucs, len(items), boundaries)


def _objects(questions: Questions, items: Sequence[Item]) -> NDArray[np.bool_] | None:
    """bool [Q, N], tokens that show any object; None where only the bundled scenes would know."""
    if questions.source != NANO:
        return None
    from transprune.nano.scenes import draw

    places = [item.image.split("/") for item in items]
    return np.array([draw(split, int(index)).owner >= 0 for split, index in places])  # type: ignore[arg-type]


def _mask(cells: int, tokens: Sequence[int]) -> NDArray[np.bool_]:
    mask = np.zeros(cells, dtype=bool)
    mask[list(tokens)] = True
    return mask


def _floor(results: Results, questions: Questions, checkpoint: Checkpoint) -> float:
    """Relative Acc. with every picture blanked: what can be answered without looking."""
    from transprune.bench.run.answers import answer
    from transprune.bench.run.prepared import PreparedQuestions

    unpruned = {task.task: task.score.value for task in results.unpruned.tasks}
    shares = []
    for task in questions.tasks:
        if not unpruned.get(task.name):
            continue
        items = [
            replace(
                item,
                image=f"blank {item.pictures[0]().size}",
                pictures=(_blank(item),) * len(item.pictures),
            )
            for item in task.items[:FLOOR_ITEMS]
        ]
        prompts = PreparedQuestions(checkpoint, items)
        items.sort(key=lambda item: prompts.count(item).length)
        tokens = results.run.manifest.settings.max_new_tokens
        given = [
            g
            for at in range(0, len(items), 30)
            for g in answer(prompts, items[at : at + 30], None, tokens)
        ]
        right = [
            task.metric.grade(g.text, item.answers) for g, item in zip(given, items, strict=True)
        ]
        shares.append(100 * float(np.mean(right)) / (unpruned[task.name] / 100))
    return float(np.mean(shares))


def _blank(item: Item) -> Callable[[], Image.Image]:
    size = item.pictures[0]().size
    return lambda: Image.new("RGB", size, (127, 127, 127))
