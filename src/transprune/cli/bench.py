"""`transprune bench`: right answers at equal work, every method beside every other."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import Json, err, legend, new_table, percent, print_json, show

if TYPE_CHECKING:
    from transprune.bench.runner import Progress
    from transprune.bench.statistics import Difference
    from transprune.bench.summary import Row

ALL_BUDGETS = "60,41,31,20,12"
MARKS = {"better": "+", "worse": "-", "unclear": " "}


def bench_command(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; an interrupted one goes on.")] = Path(
        "out/bench"
    ),
    model: Annotated[str, typer.Option("--model", help="Folder, hub id, or 'nano' for the bundled model.")] = "nano",
    tasks: Annotated[
        str, typer.Option("--tasks", help="'nano' for the bundled scenes, or a folder or file of questions.")
    ] = "nano",
    methods: Annotated[
        list[str] | None, typer.Option("--methods", help="Method, preset or recipe; repeat. All if left out.")
    ] = None,
    budgets: Annotated[
        str | None, typer.Option("--budgets", help=f"Percent of the unpruned prefill, '{ALL_BUDGETS}', or 'own'.")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="Scenes (nano; 200) or questions (file; all).")] = None,
    split: Annotated[str, typer.Option("--split", help="nano: test to report, validation to choose by.")] = "test",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of questions and of methods that draw.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A few methods, two budgets, 60 scenes: minutes.")] = False,
    ablations: Annotated[bool, typer.Option("--ablations", help="Also the paper's ablations.")] = False,
    bill: Annotated[bool, typer.Option("--bill/--no-bill", help="Measure time and memory too.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="A bad line of a task file is an error.")] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Prompts at a time.")] = 32,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores if left out.")] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="auto: float32 on a CPU, else the model's own.")] = "auto",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    attn: Annotated[str, typer.Option("--attn", help="Attention implementation.")] = "sdpa",
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", min=1, help="Longest answer.")] = None,
    per_task: Annotated[bool, typer.Option("--per-task", help="Also the score of each task.")] = False,
    as_json: Json = False,
) -> None:
    """Measure which method keeps the answers right at equal cost; run again to go on after an interruption."""
    # read by OpenMP when torch is loaded: threads that spin while they wait make a busy machine ten times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    import torch

    from transprune.bench.budgets import parse_budgets
    from transprune.bench.launch import BUDGETS, Plan, launch
    from transprune.bench.launch import quick as quick_plan
    from transprune.bench.summary import summarise
    from transprune.cli.guard import quiet_libraries

    torch.set_num_threads(threads or os.cpu_count() or 1)
    command = shlex.join(["transprune", *sys.argv[1:]])
    plan = quick_plan(out, command) if quick else Plan(out, command=command)
    plan = replace(
        plan,
        model=model,
        tasks=tasks,
        methods=tuple(methods) if methods else plan.methods,
        budgets=parse_budgets(budgets) if budgets else plan.budgets if quick else BUDGETS,
        n=n if n is not None else plan.n if tasks == "nano" else None,
        split=split,
        seed=seed,
        ablations=ablations,
        bill=bill,
        strict=strict,
        dtype=dtype,
        device=device,
        attention=attn,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )
    said: list[str] = []
    with quiet_libraries(bars=False), _bar(as_json) as progress:
        run = launch(plan, progress, said.append)
    rows = summarise(run)
    if as_json:
        print_json({"run": str(out), "notes": [*said, *run.notes], "rows": [_document(row) for row in rows]})
        return
    show(
        *said, *run.notes, _table(rows, run.certificate), *([_tasks(rows)] if per_task else []), _notes(rows), _legend()
    )
    show(f"records: {out}/records.jsonl   page: transprune report {out}")


def _table(rows: Sequence[Row], certificate: Any) -> Any:
    questions = sum(task.items for task in certificate.tasks)
    title = f"{questions} questions, {certificate.settings.split or certificate.settings.tasks}; unpruned is 100"
    columns = ("method", "budget", "exact", "paper", "Acc.", "95 %", "vs TransPrune", "95 %", " ")
    table = new_table(title, columns, left=("method", " "))
    budget = None
    for row in rows:
        if row.condition.budget != budget:
            table.add_section()
            budget = row.condition.budget
        against = row.against_transprune
        table.add_row(
            row.condition.method + ("" if row.condition.reached else " †") + ("" if row.complete else " (unfinished)"),
            "" if budget is None else percent(budget, 0),
            percent(row.exact_share),
            percent(row.paper_share),
            f"{row.relative.value:.1f}",
            f"{row.relative.low:.1f} .. {row.relative.high:.1f}",
            "" if against is None else f"{against.value:+.1f}",
            "" if against is None else f"{against.low:+.1f} .. {against.high:+.1f}",
            _mark(against),
        )
    return table


def _mark(difference: Difference | None) -> str:
    """`+` or `-` where the interval excludes 0, doubled where it also stands after Holm's correction."""
    return "" if difference is None else MARKS[difference.verdict] * (2 if difference.sure else 1)


def _tasks(rows: Sequence[Row]) -> Any:
    names = [task.task for task in rows[0].tasks]
    table = new_table("score of each task, percent", ("method", "budget", *names), left=("method",))
    for row in rows:
        budget = row.condition.budget
        scores = {task.task: f"{task.score.value:.1f}" for task in row.tasks}
        cells = [scores.get(name, "-") for name in names]
        table.add_row(row.condition.method, "" if budget is None else percent(budget, 0), *cells)
    return table


def _notes(rows: Sequence[Row]) -> str:
    return "\n".join(f"{row.condition.name}: {row.condition.note}" for row in rows if row.condition.note)


def _legend() -> Any:
    return legend(
        {
            "exact, paper": "measured prefill cost relative to unpruned, mean over prompts, in the two conventions",
            "Acc.": "100 x mean over tasks of score / unpruned score, as the paper reports it",
            "95 %": "paired bootstrap over pictures, 10,000 resamples",
            "+ -": "better or worse than TransPrune at this budget, 0 outside the interval; doubled where it also "
            "stands after Holm's correction for all comparisons",
            "†": "the budget cannot be reached; the note says why",
        }
    )


def _document(row: Row) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(row), "complete": row.complete}


@contextmanager
def _bar(as_json: bool) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=as_json or not console.is_terminal) as bars:
        task = bars.add_task("loading", total=None)
        yield lambda at: bars.update(task, description=at.condition, completed=at.done, total=at.total)
