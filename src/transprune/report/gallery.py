"""The figures that need the questions of the run, most of them also its model.

What cannot be shown is left out, and a sentence in `Gallery.missing` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from transprune.bench.data.provenance import fingerprint
from transprune.bench.data.tasks import Item, Questions, find_bed, load_tasks
from transprune.errors import PruneError
from transprune.models.checkpoint import Checkpoint, LoadOptions, load
from transprune.report.examples import Example, choose_examples, draw_example
from transprune.report.overlay import Grid, find_grid
from transprune.report.picture import Picture
from transprune.report.progress import Progress
from transprune.report.results import Results

NO_MODEL = "none"  # the name of the model for a report without a model
MODEL_FIGURES = "transition maps, positions, AUC or language-only floor"


@dataclass
class Gallery:
    """Figures and values from questions and model.

    Attributes:
        pictures: figures by name, without those of the examples.
        examples: chosen questions with their figures.
        aucs: name of a curve -> AUC per layer; see `insight.layer_aucs`.
        floor: relative accuracy with blank images, or None where it was not measured.
        missing: sentences about what is left out.
    """

    pictures: dict[str, Picture] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    aucs: Mapping[str, list[float]] = field(default_factory=dict)
    floor: float | None = None
    missing: list[str] = field(default_factory=list)


def collect(results: Results, examples: int, model: str | None, progress: Progress) -> Gallery:
    """Draw everything that questions and model allow.

    Args:
        results: the run.
        examples: how many examples to show.
        model: folder, hub id or a name, as `"nano"`, in place of the run's own model; `"none"` for no model.
        progress: called with the name of each step.
    """
    gallery = Gallery()
    progress("reading the questions again")
    questions = _read_questions(results, gallery)
    if questions is None:
        return gallery

    checkpoint = _load_model(results, model, gallery, progress)
    manifest = results.manifest
    grids = GridFinder(manifest.settings.tasks, checkpoint, manifest.prompt["visual_tokens"])
    gallery.examples = _draw_examples(results, questions, examples, grids, gallery, progress)
    if checkpoint is None:
        return gallery

    # late: they import transformers, which is not needed without a model
    from transprune.report.blank import language_floor
    from transprune.report.model_figures import draw_model_figures

    figures = draw_model_figures(questions, checkpoint, grids.find, progress)
    gallery.pictures = figures.pictures
    gallery.aucs = figures.aucs
    gallery.missing += figures.missing

    floor = language_floor(results, questions, checkpoint, progress)
    gallery.floor = floor.accuracy
    gallery.missing += floor.missing
    return gallery


class GridFinder:
    """Finds where the tokens of a question's image lie.

    Attributes:
        source: where the questions come from, as the run was given it.
        checkpoint: the model, or None; the grid of a test bed is known without it.
        tokens: visual tokens of a prompt of the run, which tell whether it has the bed's grid.
    """

    def __init__(self, source: str, checkpoint: Checkpoint | None, tokens: int = 0) -> None:
        self.source = source
        self.tokens = tokens
        self.checkpoint = checkpoint

    def find(self, item: Item) -> Grid | None:
        """The grid of a question with one image, or None where it is not known."""
        bed = find_bed(self.source)
        if bed and bed.tokens == self.tokens:
            # one token per cell of the scene, whatever the question
            return Grid(*bed.grid, total=bed.tokens)

        if self.checkpoint is None or len(item.pictures) != 1:
            return None

        from transprune.models.answer import count_visual, prepare

        inputs = prepare(self.checkpoint, [item.pictures[0]()], item.question)
        tokens = count_visual(self.checkpoint, inputs)
        config = self.checkpoint.model.config
        return find_grid(config, inputs, 0, tokens, cropped=self.checkpoint.crops)


def _read_questions(results: Results, gallery: Gallery) -> Questions | None:
    """The questions of the run, or None if they cannot be read any more or have changed."""
    settings = results.manifest.settings
    split = settings.split or "test"  # only test beds have one
    try:
        questions = load_tasks(
            settings.tasks,
            n=settings.n,
            split=split,
            seed=settings.seed,
            only=[task.name for task in results.manifest.tasks],
        )
    except PruneError as error:
        gallery.missing.append(
            f"No images: the questions of the run cannot be read any more ({error})."
        )
        return None

    if questions.fingerprint != settings.items:
        gallery.missing.append(
            f"No images: the questions at {settings.tasks} have changed since the run (fingerprint "
            f"{questions.fingerprint} now, {settings.items} then)."
        )
        return None
    return questions


def _load_model(
    results: Results, model: str | None, gallery: Gallery, progress: Progress
) -> Checkpoint | None:
    settings = results.manifest.settings
    source = model or settings.model
    if source == NO_MODEL:
        gallery.missing.append(f"No {MODEL_FIGURES}: made without the model.")
        return None

    progress(f"loading {source}")
    try:
        # the precision of the run, but any device: the figures do not depend on it
        checkpoint = load(source, LoadOptions(dtype=settings.dtype))
    except PruneError as error:
        gallery.missing.append(f"No {MODEL_FIGURES}: the model cannot be loaded ({error}).")
        return None

    # a run on a hub id has no fingerprint, so nothing can be compared there
    weights = fingerprint(source)
    if settings.weights and weights != settings.weights:
        gallery.missing.append(
            "Transition maps, positions, AUC and language-only floor are of the model now at "
            f"{source} (weights {weights or 'unknown'}), not of the model that answered (weights "
            f"{settings.weights})."
        )
    return checkpoint


def _draw_examples(
    results: Results,
    questions: Questions,
    count: int,
    grids: GridFinder,
    gallery: Gallery,
    progress: Progress,
) -> tuple[Example, ...]:
    items: dict[tuple[str, str], Item] = {}
    for task in questions.tasks:
        for item in task.items:
            items[task.name, item.id] = item

    drawn = []
    for number, pair in enumerate(choose_examples(results, count), start=1):
        progress("drawing examples", number - 1, count)
        question = (pair.pruned.task, pair.pruned.item)
        if question not in items:
            continue
        item = items[question]
        grid = grids.find(item)
        if grid is not None and not grid.partial:
            drawn.append(draw_example(number, pair, item, grid))

    if not drawn and count:
        gallery.missing.append(
            "No examples: no method kept tokens of an image whose grid is known."
        )
    return tuple(drawn)
