"""What the figures say, in sentences computed from them. Nothing here is written in advance about a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transprune.bench.results.summary import TRANSPRUNE, Row
from transprune.report.figures.signal import reversed_layers
from transprune.report.gallery import FLOOR_ITEMS
from transprune.report.results import Results, budget_name, listed


def lede(results: Results) -> str:
    """One sentence: what was run, on what."""
    settings, tasks = results.run.manifest.settings, results.run.manifest.tasks
    images = max((task.images for task in tasks), default=0)
    questions = sum(task.items for task in tasks)
    split = f" of the {settings.split} split" if settings.split else ""
    return (
        f"{len(results.series)} methods and controls on {settings.model}: {questions} questions in {len(tasks)} tasks "
        f"about {images} images{split}. What each costs in right answers, and what it saves."
    )


def findings(results: Results, floor: float | None) -> list[str]:
    """Per budget: who is best, who is really better or worse than TransPrune, and how far below unpruned."""
    said = []
    for budget, rows in results.budgets:
        methods = [row for row in rows if results.competes(row)]
        if methods:
            said.append(_budget(budget, methods))
    if floor is not None:
        said.append(
            f"With every picture blanked the unpruned model keeps {floor:.0f} % of its accuracy: the "
            f"language-only floor (up to {FLOOR_ITEMS} questions of each task)."
        )
    return said


def _budget(budget: float | None, methods: Sequence[Row]) -> str:
    best, main = (
        methods[0],
        next((row for row in methods if row.condition.method == TRANSPRUNE), None),
    )
    text = f"At {budget_name(budget)}: {best.condition.method} is best with {best.relative.value:.1f} %"
    if main is not None and main is not best:
        text += f"; TransPrune has {main.relative.value:.1f} %"
    for verdict in ("better", "worse"):
        sure = [r.condition.method for r in methods if _sure(r, verdict)]
        if main is not None:
            text += f"; really {verdict} than TransPrune: {listed(sure)}"
    return f"{text}."


def _sure(row: Row, verdict: str) -> bool:
    difference = row.against_transprune
    return difference is not None and difference.sure and difference.verdict == verdict


def insight(aucs: Mapping[str, Sequence[float]]) -> list[str]:
    """Where TTV tells objects from ground, and where it has it the wrong way round."""
    if not aucs:
        return []
    values = aucs["TTV, objects"]
    good = [layer for layer, value in enumerate(values, start=1) if value > 0.6]
    bad = reversed_layers(values)
    said = [f"TTV ranks objects above the ground (AUC over 0.6) in layers {_layers(good)}."]
    if bad:
        said.append(
            f"In layers {_layers(bad)} it is reversed (AUC under 0.4): the ground moves more than the objects, so "
            "there TTV alone keeps the wrong tokens. The seed paper's middle-layer effect does not appear in "
            "those layers of this model."
        )
    return said


def ablations(results: Results, main: Row | None) -> list[str]:
    """Which variants really differ from TransPrune as it is."""
    rows = [row for group in results.ablations.values() for row in group]
    if main is None or not rows:
        return []
    named = {
        v: [r.condition.method.partition("/")[2] for r in rows if _sure(r, v)]
        for v in ("better", "worse")
    }
    return [
        f"At {budget_name(main.condition.budget)}, of {len(rows)} variants really better than TransPrune as it is: "
        f"{listed(named['better'])}. Really worse: {listed(named['worse'])}. "
        "All others cannot be told apart from it here."
    ]


def notes(results: Results) -> list[str]:
    """What a reader must know: what is unfinished, was left out, or never reached its budget."""
    certificate = results.run.manifest
    said = [*results.run.notes]
    said += [
        f"{row.condition.name} has {row.n} of {row.expected} answers."
        for row in results.rows
        if not row.complete
    ]
    answered = {row.condition.name for row in results.rows}
    absent = [c.name for c in certificate.conditions if c.name not in answered]
    if absent:
        said.append(f"Without any answer yet: {listed(absent)}.")
    over = [row.condition.name for row in results.rows if not row.condition.reached]
    if over:
        said.append(
            f"Not comparable at equal cost, because they cannot get as cheap as their budget: {listed(over)}."
        )
    said += [f"Left out of the tasks: {line}" for line in certificate.skipped]
    if certificate.settings.split == "validation":
        said.append(
            "These are validation scenes, on which settings may have been chosen; figures to report come from "
            "the test split."
        )
    said.append(
        "One model, one seed: intervals say how sure a figure is for this model on such images, not for other models."
    )
    return said


def budget_notes(results: Results) -> list[str]:
    """What was changed so that a method costs what its budget says, and which names came to the same."""
    conditions = results.run.manifest.conditions
    changed = [f"{c.name}: {c.note}" for c in conditions if c.note]
    return changed + [
        f"{c.name} is also {listed(c.also)}: the same choice at this budget."
        for c in conditions
        if c.also
    ]


def _layers(numbers: Sequence[int]) -> str:
    """`1-2 and 13-14`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return listed([f"{s[0]}-{s[-1]}" if len(s) > 1 else f"{s[0]}" for s in spans])
