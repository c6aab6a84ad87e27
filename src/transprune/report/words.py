"""The sentences of the page. All are computed from the run; none states a result in advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from transprune.bench.data.metrics import METRICS
from transprune.report.figures.signal import reversed_layers
from transprune.report.gallery import Gallery
from transprune.report.phrases import budget_name, join_words
from transprune.report.results import Results

GOOD_AUC = 0.6  # from here on a criterion ranks objects above the background
COST_SETUP = ("prompts", "rounds", "threads")  # keys of `Results.cost_setup` that are shown


def introduction(results: Results) -> str:
    """What was run, and on which questions."""
    settings = results.manifest.settings
    tasks = results.manifest.tasks
    # tasks can share their images, so their numbers must not be added
    images = max((task.images for task in tasks), default=0)
    split = f" of the {settings.split} split" if settings.split else ""

    return (
        f"{len(results.series)} methods and controls on {settings.model}: "
        f"{results.questions} questions in {len(tasks)} tasks about {images} images{split}. Each "
        "drops some of the picture's tokens, so that the model has less work. How many answers "
        "stay right, and how much work is left."
    )


def insight(aucs: Mapping[str, Sequence[float]]) -> list[str]:
    """In which layers TTV ranks objects above the background, and in which below."""
    if not aucs:
        return []

    values = aucs["TTV, objects"]
    good = [layer for layer, value in enumerate(values, start=1) if value > GOOD_AUC]
    sentences = [
        "How much a layer changes a token (TTV) ranks objects above the background (AUC over "
        f"{GOOD_AUC}) in layers {_spans(good)}."
    ]

    reversed_ = reversed_layers(values)
    if reversed_:
        sentences.append(
            f"In layers {_spans(reversed_)} the ranking is reversed (AUC under 0.4): background "
            "tokens change more than object tokens, so TTV alone keeps the wrong tokens there. The "
            "middle-layer effect of the TransPrune paper does not appear in those layers of this "
            "model."
        )
    return sentences


def unscored(results: Results) -> list[str]:
    """Which tasks have no score of the unpruned model, to which scores could be relative."""
    sentences = []
    for task in results.unpruned.tasks:
        title = METRICS[task.metric].title
        if not isfinite(task.score.value):
            sentences.append(
                f"{task.n} questions are too few to score {task.task} ({title}): its cells are "
                "empty, there is no mean over all tasks, and accuracies are means over the other "
                "tasks."
            )
        elif not task.score.value:
            sentences.append(
                f"The unpruned model scores 0 in {task.task} ({title}), so nothing can be relative "
                "to it: accuracies are means over the other tasks."
            )
    return sentences


def examples(gallery: Gallery) -> str:
    """Which condition the examples show, and how they were chosen."""
    if not gallery.examples:
        return ""

    record = gallery.examples[0].pair.pruned
    return (
        f"{record.method} at {budget_name(record.budget)}. Questions that the unpruned model "
        "answers right: the first of each category in the order of the run, and up to a third of "
        "them ones that the pruned model gets wrong."
    )


def cost_setup(results: Results) -> str:
    """How time and memory were measured."""
    setup = results.cost_setup
    counts = [f"{setup[key]} {key}" for key in COST_SETUP if key in setup]
    if not counts:
        return "Measured on the machine of the run."
    return f"Measured on {', '.join(counts)}."


def notes(results: Results) -> list[str]:
    """What is unfinished or left out, and which conditions did not reach their budget."""
    manifest = results.manifest
    sentences = [*results.run.notes]  # such as an incomplete last record
    expensive = []
    for row in results.rows:
        if not row.complete:
            sentences.append(f"{row.condition.name} has {row.n} of {row.expected} answers.")
        if not row.condition.reached:
            expensive.append(row.condition.name)

    answered = {row.condition.name for row in results.rows}
    absent = [one.name for one in manifest.conditions if one.name not in answered]
    if absent:
        sentences.append(f"Without any answer yet: {join_words(absent)}.")

    if expensive:
        sentences.append(
            "Not comparable at equal cost, because they cannot be as cheap as their budget: "
            f"{join_words(expensive)}."
        )

    sentences += [f"Left out of the tasks: {line}" for line in manifest.skipped]
    if manifest.settings.split == "validation":
        sentences.append(
            "These are validation scenes, on which settings may have been chosen; values to report "
            "come from the test split."
        )
    sentences.append(
        "One model, one seed: the intervals describe this model on such images, not other models."
    )
    return sentences


def budget_notes(results: Results) -> list[str]:
    """Which settings were changed to reach a budget, and which methods were then the same."""
    changed = []
    same = []

    for condition in results.manifest.conditions:
        if condition.note:
            changed.append(f"{condition.name}: {condition.note}")
        if condition.also:
            others = join_words(condition.also)
            same.append(f"{condition.name} is also {others}: the same choice at this budget.")

    return changed + same


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers as `1-2 and 13-14`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])

    names = []
    for span in spans:
        name = f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}"
        names.append(name)
    return join_words(names)
