"""`transprune bench`: right answers at equal work, every method beside every other."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.bench_tables import tables
from transprune.cli.console import Json, err, print_json, show

if TYPE_CHECKING:
    from transprune.bench.results.summary import Row
    from transprune.bench.run.runner import Progress

ALL_BUDGETS = "60,41,31,20,12"


def bench_command(
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the run; an interrupted one goes on there.")
    ] = Path("out/bench"),
    model: Annotated[
        str, typer.Option("--model", help="Folder, hub id, or 'nano' for the bundled model.")
    ] = "nano",
    tasks: Annotated[
        str,
        typer.Option(
            "--tasks", help="'nano' for the bundled scenes, or a folder or file of questions."
        ),
    ] = "nano",
    methods: Annotated[
        list[str] | None,
        typer.Option("--methods", help="Method, preset or recipe; repeat. All if left out."),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            "--budgets", help=f"Percent of the unpruned prefill, '{ALL_BUDGETS}', or 'own'."
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="Scenes (nano; 200) or questions (file; all).")
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="nano: test to report, validation to choose by.")
    ] = "test",
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of questions and of methods that draw.")
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few methods, two budgets, 60 scenes: minutes.")
    ] = False,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Also the paper's ablations.")
    ] = False,
    bill: Annotated[
        bool, typer.Option("--bill/--no-bill", help="Measure time and memory too.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="A bad line of a task file is an error.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Prompts at a time.")] = 32,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; all cores if left out.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="auto: float32 on a CPU, else the model's own.")
    ] = "auto",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    attn: Annotated[str, typer.Option("--attn", help="Attention implementation.")] = "sdpa",
    text_tower: Annotated[
        str | None,
        typer.Option("--text-tower", help="Folder or hub id of the model's CLIP, for cdpruner."),
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", min=1, help="Longest answer.")
    ] = None,
    per_task: Annotated[
        bool, typer.Option("--per-task", help="Also the score of each task.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure which method keeps the answers right at equal cost.

    The same command again goes on after an interruption; with further methods or budgets it adds them. Nothing is
    answered twice.
    """
    # read by OpenMP when torch is loaded: threads that spin while they wait make a busy machine ten times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    import torch

    from transprune.bench.results.summary import summarise
    from transprune.bench.run.budgets import parse_budgets
    from transprune.bench.run.launch import Plan, launch
    from transprune.bench.run.launch import quick as quick_plan
    from transprune.cli.guard import quiet_libraries
    from transprune.models.checkpoint import LoadOptions

    torch.set_num_threads(threads or os.cpu_count() or 1)
    plan = quick_plan(out) if quick else Plan(out)
    plan = replace(
        plan,
        command=shlex.join(["transprune", *sys.argv[1:]]),
        model=model,
        tasks=tasks,
        methods=tuple(methods) if methods else plan.methods,
        budgets=plan.budgets if budgets is None else parse_budgets(budgets),
        n=n if n is not None else plan.n if tasks == "nano" else None,
        split=split,
        seed=seed,
        ablations=ablations,
        bill=bill,
        strict=strict,
        loading=LoadOptions(dtype, device, attn, text_tower),
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )
    said: list[str] = []
    with quiet_libraries(bars=False), _bar(as_json) as progress:
        run = launch(plan, progress, said.append)
    rows = summarise(run)
    if as_json:
        print_json(
            {
                "run": str(out),
                "notes": [*said, *run.notes],
                "rows": [_document(row) for row in rows],
            }
        )
        return
    show(*said, *run.notes, *tables(rows, run.certificate, per_task))
    show("", f"records: {out}/records.jsonl   page: transprune report {out}")


def _document(row: Row) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(row), "complete": row.complete}


@contextmanager
def _bar(as_json: bool) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = err()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, disable=as_json or not console.is_terminal) as bars:
        task = bars.add_task("loading", total=None)
        yield lambda at: bars.update(
            task, description=at.condition, completed=at.done, total=at.total
        )
