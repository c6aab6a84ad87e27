"""The tables of `transprune bench`: methods at each budget, the ablations, the tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from transprune.cli.console import legend, new_table

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.bench.data.manifest import Certificate
    from transprune.bench.results.statistics import Difference
    from transprune.bench.results.summary import Row

MARKS = {"better": "+", "worse": "-", "unclear": ""}
ABLATION = "ablation: "
COLUMNS = ("method", "exact", "paper", "Acc.", "95 %", "vs TP", "95 % ", "")


def tables(rows: Sequence[Row], certificate: Certificate, per_task: bool = False) -> Iterator[Any]:
    """Everything there is to show, one below the other."""
    asked = sum(task.items for task in certificate.tasks)
    title = f"{asked} questions, {certificate.settings.split or certificate.settings.tasks}; relative to unpruned = 100"
    main = [row for row in rows if not row.condition.group.startswith(ABLATION)]
    yield _methods(title, main)
    if len(main) < len(rows):
        yield from ("", _ablations(rows, certificate.geometry["layers"]))
    if per_task:
        yield from ("", _tasks(rows))
    if notes := _notes(rows):
        yield from ("", notes)
    yield from ("", _legend(rows))


def _methods(title: str, rows: Sequence[Row]) -> Table:
    table = _new(title)
    _fill(table, [(row, [_name(row), *_cells(row)]) for row in rows])
    return table


def _fill(table: Table, lines: Sequence[tuple[Row, list[str]]]) -> None:
    """One line per condition, each budget under its heading."""
    budget: float | None = None
    for row, cells in lines:
        if row.condition.budget != budget:
            budget = row.condition.budget
            table.add_section()
            table.add_row(f"[dim]at {100 * budget:g} %[/]" if budget else "[dim]as they are[/]")
        table.add_row(*cells)


def _ablations(rows: Sequence[Row], num_layers: int) -> Table:
    """By group; a variant that is the main condition shows that one's row."""
    from transprune.bench.run.ablations import ablations

    table = _new("ablations of TransPrune")
    known = {
        name: row for row in reversed(rows) for name in (row.condition.method, *row.condition.also)
    }
    for group, variants in ablations(num_layers).items():
        table.add_section()
        table.add_row(f"[dim]{group}[/]", *[""] * 7)
        for row, name in [
            (known[f"transprune/{name}"], name)
            for name in variants
            if f"transprune/{name}" in known
        ]:
            table.add_row(name + ("" if row.condition.reached else " †"), *_cells(row))
    return table


def _new(title: str) -> Table:
    return new_table(title, COLUMNS, left=("",), wrap=("method",))


def _name(row: Row) -> str:
    also = [name for name in row.condition.also if "/" not in name]
    name = " = ".join([row.condition.method, *also])
    return (
        name
        + ("" if row.condition.reached else " †")
        + ("" if row.complete else f" ({row.n} of {row.expected})")
    )


def _cells(row: Row) -> list[str]:
    against = row.against_transprune
    shares = [f"{100 * row.exact_share:.1f}", f"{100 * row.paper_share:.1f}"]
    own = [f"{row.relative.value:.1f}", f"{row.relative.low:.1f}..{row.relative.high:.1f}"]
    if against is None:
        return [*shares, *own, "", "", ""]
    return [
        *shares,
        *own,
        f"{against.value:+.1f}",
        f"{against.low:+.1f}..{against.high:+.1f}",
        _mark(against),
    ]


def _mark(difference: Difference) -> str:
    """`+` or `-` where the interval excludes 0, doubled where it also stands after Holm's correction."""
    return MARKS[difference.verdict] * (2 if difference.sure else 1)


def _tasks(rows: Sequence[Row]) -> Table:
    names = [task.task for task in rows[0].tasks]
    table = new_table("score of each task, percent", ("method", *names), wrap=("method",))
    scores = [{task.task: f"{task.score.value:.1f}" for task in row.tasks} for row in rows]
    lines = [
        [row.condition.method, *(own.get(name, "-") for name in names)]
        for row, own in zip(rows, scores, strict=True)
    ]
    _fill(table, list(zip(rows, lines, strict=True)))
    return table


def _notes(rows: Sequence[Row]) -> str:
    return "\n".join(
        f"{row.condition.name}: {row.condition.note}" for row in rows if row.condition.note
    )


def _legend(rows: Sequence[Row]) -> Table:
    compared = rows[0].comparisons
    return legend(
        {
            "exact, paper": "measured prefill cost in percent of unpruned, mean over prompts, in the two conventions",
            "Acc.": "100 x mean over tasks of score / unpruned score, as the paper reports it",
            "vs TP": "points of Acc. more than TransPrune at the same budget",
            "95 %": f"paired bootstrap over pictures, {rows[0].n_resamples:,} resamples",
            "+ -": "the interval excludes 0: better or worse than TransPrune; doubled where it also stands after "
            f"Holm's correction for all {compared} comparisons",
            "†": "the budget cannot be reached; the note says why",
        }
    )
