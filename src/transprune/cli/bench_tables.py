"""The tables of `transprune bench`: methods at each budget, the ablations, the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from transprune.cli.console import legend, new_table

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.bench.data.manifest import Manifest
    from transprune.bench.results.statistics import Difference
    from transprune.bench.results.summary import Row

MARKS = {"better": "+", "worse": "-", "unclear": ""}
# a table finds a column by its heading, so the second "95 %" ends in a space
COLUMNS = ("method", "exact", "paper", "Acc.", "95 %", "vs TP", "95 % ", "")


def tables(rows: Sequence[Row], manifest: Manifest, per_task: bool = False) -> Iterator[Any]:
    """All tables and notes, one below the other."""
    from transprune.bench.run.trials import ABLATION  # here, because it loads torch

    # the ablations have a table of their own
    main = [row for row in rows if not row.condition.group.startswith(ABLATION)]
    yield _method_table(_title(manifest), main)
    if len(main) < len(rows):
        yield ""
        yield _ablation_table(rows, manifest.geometry["layers"])

    if per_task:
        yield ""
        yield _task_table(rows)

    if notes := _notes(rows):
        yield ""
        yield notes

    yield ""
    yield _legend(rows)


def _title(manifest: Manifest) -> str:
    questions = sum(task.items for task in manifest.tasks)
    source = manifest.settings.split or manifest.settings.tasks
    return f"{questions} questions, {source}; relative to unpruned = 100"


def _method_table(title: str, rows: Sequence[Row]) -> Table:
    table = _new(title)
    _fill(table, [(row, [_name(row), *_cells(row)]) for row in rows])
    return table


def _fill(table: Table, lines: Sequence[tuple[Row, list[str]]]) -> None:
    """Add one line per condition, each budget under its own heading."""
    budget: float | None = None
    for row, cells in lines:
        if row.condition.budget != budget:
            budget = row.condition.budget
            table.add_section()
            table.add_row(f"[dim]at {100 * budget:g} %[/]" if budget else "[dim]as they are[/]")
        table.add_row(*cells)


def _ablation_table(rows: Sequence[Row], num_layers: int) -> Table:
    """The ablations by group. A variant that equals the main condition shows the row of that."""
    from transprune.bench.run.ablations import ablations

    known: dict[str, Row] = {}
    for row in rows:
        for name in (row.condition.method, *row.condition.also):
            known.setdefault(name, row)

    table = _new("ablations of TransPrune")
    for group, variants in ablations(num_layers).items():
        table.add_section()
        table.add_row(f"[dim]{group}[/]", *[""] * (len(COLUMNS) - 1))
        for variant in variants:
            found = known.get(f"transprune/{variant}")
            if found is not None:
                table.add_row(variant + _dagger(found), *_cells(found))
    return table


def _new(title: str) -> Table:
    return new_table(title, COLUMNS, left=("",), wrap=("method",))


def _name(row: Row) -> str:
    """The method, the other methods with the same setting, and marks for what is incomplete."""
    same = [name for name in row.condition.also if "/" not in name]  # a slash marks an ablation
    name = " = ".join([row.condition.method, *same]) + _dagger(row)
    if not row.complete:
        name += f" ({row.n} of {row.expected})"
    return name


def _dagger(row: Row) -> str:
    """The mark of a budget that the method cannot reach."""
    return "" if row.condition.reached else " †"


def _cells(row: Row) -> list[str]:
    """The cells behind the name."""
    cells = [
        f"{100 * row.exact_share:.1f}",
        f"{100 * row.paper_share:.1f}",
        f"{row.relative.value:.1f}",
        f"{row.relative.low:.1f}..{row.relative.high:.1f}",
    ]

    against = row.against_transprune  # None for TransPrune itself and the unpruned model
    if against is None:
        return [*cells, "", "", ""]

    return [
        *cells,
        f"{against.value:+.1f}",
        f"{against.low:+.1f}..{against.high:+.1f}",
        _mark(against),
    ]


def _mark(difference: Difference) -> str:
    """`+` or `-` where the interval excludes 0, doubled if this survives Holm's correction."""
    return MARKS[difference.verdict] * (2 if difference.sure else 1)


def _task_table(rows: Sequence[Row]) -> Table:
    names = [task.task for task in rows[0].tasks]
    lines = []
    for row in rows:
        scores = {task.task: f"{task.score.value:.1f}" for task in row.tasks}
        cells = [scores.get(name, "-") for name in names]
        lines.append((row, [row.condition.method, *cells]))

    table = new_table("score of each task, percent", ("method", *names), wrap=("method",))
    _fill(table, lines)
    return table


def _notes(rows: Sequence[Row]) -> str:
    notes = [f"{row.condition.name}: {row.condition.note}" for row in rows if row.condition.note]
    return "\n".join(notes)


def _legend(rows: Sequence[Row]) -> Table:
    comparisons = rows[0].comparisons
    resamples = rows[0].n_resamples
    return legend(
        {
            "exact, paper": "measured prefill cost in percent of unpruned, mean over prompts, in "
            "the two conventions",
            "Acc.": "100 x mean over tasks of score / unpruned score, as the paper reports it",
            "vs TP": "points of Acc. more than TransPrune at the same budget",
            "95 %": f"paired bootstrap over pictures, {resamples:,} resamples",
            "+ -": "the interval excludes 0: better or worse than TransPrune; doubled where this "
            f"also holds after Holm's correction for all {comparisons} comparisons",
            "†": "the method cannot reach this budget; the note gives the reason",
        }
    )
