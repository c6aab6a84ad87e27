"""The figures of the paper, drawn from the model that is given."""

from __future__ import annotations

from collections.abc import Callable

from transprune.bench.data.tasks import Item
from transprune.bench.run.progress import OnProgress, Progress
from transprune.errors import BenchError
from transprune.methods.transprune import TransPrune
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import Checkpoint, load
from transprune.report.figures.retention import draw_retention
from transprune.report.gallery import GridFinder
from transprune.report.model_figures import draw_model_figures
from transprune.report.overlay import Grid
from transprune.report.picture import Picture
from transprune.reproduce.benchmark import BenchmarkRun
from transprune.reproduce.exhibits import Exhibit
from transprune.reproduce.plan import ReproducePlan

KEPT = 3  # questions of Figure 5
QUESTIONS = 96  # that averages are taken over, two about each picture of MME

FindGrid = Callable[[Item], Grid | None]


def draw_figure(
    exhibit: Exhibit, plan: ReproducePlan, on_progress: OnProgress
) -> tuple[Picture, ...]:
    """The figure, drawn from the first questions of its benchmark.

    Args:
        exhibit: a figure of the paper.
        plan: the options, with model and data.
        on_progress: called with the name of each step.

    Raises:
        MissingExtra: matplotlib or pyarrow is not installed.
        TaskError: no data.
        BenchError: the places of this model's tokens are not known, so nothing can be drawn.
    """
    on_progress(Progress(f"loading {plan.model}", 0, 0))
    checkpoint = load(plan.model, plan.loading)
    run = BenchmarkRun.open(exhibit.columns[0], plan, checkpoint)
    grids = GridFinder(run.questions.source, checkpoint)

    if exhibit.draws == "kept":
        return _draw_kept(checkpoint, run, grids.find, on_progress)
    return (_draw_averages(exhibit, checkpoint, run, grids.find, on_progress),)


def _draw_averages(
    exhibit: Exhibit,
    checkpoint: Checkpoint,
    run: BenchmarkRun,
    find: FindGrid,
    on_progress: OnProgress,
) -> Picture:
    """Maps of the changes of every layer, or of the places where tokens are kept."""

    def progress(step: str, done: int = 0, total: int = 0) -> None:
        on_progress(Progress(step, done, total))

    questions = run.first_questions(QUESTIONS)
    drawn = draw_model_figures(questions, checkpoint, find, progress)
    if exhibit.draws not in drawn.pictures:
        raise BenchError(f"{exhibit.label} cannot be drawn: {'; '.join(drawn.missing)}")
    return drawn.pictures[exhibit.draws]


def _draw_kept(
    checkpoint: Checkpoint, run: BenchmarkRun, find: FindGrid, on_progress: OnProgress
) -> tuple[Picture, ...]:
    """What TransPrune-High keeps at each boundary, for questions about different pictures."""
    pictures: list[Picture] = []
    for item in _about_different_pictures(run.sample(QUESTIONS)):
        number = len(pictures) + 1
        on_progress(Progress("drawing kept tokens", number - 1, KEPT))
        grid = find(item)
        # tokens without a place on the picture cannot be drawn
        if grid is None or grid.partial:
            continue

        image = item.pictures[0]()
        inputs = prepare(checkpoint, [image], item.question)
        answer = ask(checkpoint, inputs, TransPrune.high(), run.benchmark.new_tokens)
        assert answer.trace is not None
        kept = {stage.boundary: stage.keep[0].tolist() for stage in answer.trace.stages}
        pictures.append(draw_retention(number, image, grid, kept, set()))
        if number == KEPT:
            break

    if not pictures:
        raise BenchError("nothing can be drawn: the places of this model's tokens are not known")
    return tuple(pictures)


def _about_different_pictures(items: tuple[Item, ...]) -> list[Item]:
    """The first question about each picture."""
    found: dict[str, Item] = {}
    for item in items:
        found.setdefault(item.image, item)
    return list(found.values())
