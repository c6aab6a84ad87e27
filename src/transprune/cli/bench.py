"""`transprune bench`: the share of right answers of every method at equal prefill cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.bench_tables import tables
from transprune.cli.console import print_json, show
from transprune.cli.options import (
    MAX_NEW_TOKENS_HELP,
    METHOD_HELP,
    OUT_HELP,
    Attention,
    AttentionOption,
    BatchSize,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Json,
    Model,
    OptionalThreads,
    Seed,
    Strict,
    TextTower,
    command_line,
    load_options,
)
from transprune.cli.progress import follow_quietly
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads

if TYPE_CHECKING:
    from transprune.bench.data.records import Run
    from transprune.bench.launch import Plan
    from transprune.bench.run.progress import Progress

# `BUDGETS` of bench/plan.py, which the help cannot import without loading torch
ALL_BUDGETS = "60,41,31,20,12"

# the run
Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="FOLDER", help=f"{OUT_HELP}; an interrupted run in it is continued."
    ),
]
# the questions
Tasks = Annotated[
    str | None,
    typer.Option(
        "--tasks",
        metavar="TASKS",
        help="'nano' for the bundled scenes; 'smol', 'smol-unseen' or 'smol-phrasings' for those of "
        "the second test bed; a folder or file of questions. Default: the model's own, else nano.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="TASK",
        help="Ask the questions of one task alone, a category of a test bed or a family of a file; "
        "repeat for several; default: all.",
    ),
]
# the conditions; `--methods` in the plural, because here it replaces a list
MethodList = Annotated[
    list[str] | None,
    typer.Option(
        "--methods", metavar="METHOD", help=f"{METHOD_HELP}; repeat for several; default: all."
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        "--budgets",
        metavar="LIST",
        help=f"Cost in percent of the unpruned prefill, as '{ALL_BUDGETS}', or 'own' for the "
        "settings of each method.",
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n",
        min=1,
        metavar="N",
        help="Number of scenes (nano, smol; default 200, 100) or questions (file; default all).",
    ),
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="SPLIT",
        help="Which scenes: 'test' for figures to report, 'validation' to choose settings.",
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="A few methods, two budgets, 60 scenes (smol: 12): minutes.")
]
Ablations = Annotated[
    bool, typer.Option("--ablations", help="Add the ablations of the TransPrune paper.")
]
Bill = Annotated[bool, typer.Option("--bill/--no-bill", help="Measure time and memory, too.")]
# how the model runs, and what is shown
MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens",
        min=1,
        metavar="N",
        help=f"{MAX_NEW_TOKENS_HELP}; default: 2 for nano, 24 for smol, else 32.",
    ),
]
PerTask = Annotated[bool, typer.Option("--per-task", help="Show the score of each task, too.")]


def bench_command(
    out: Out = Path("out/bench"),
    model: Model = "nano",
    tasks: Tasks = None,
    only: Only = None,
    methods: MethodList = None,
    budgets: Budgets = None,
    n: Count = None,
    split: Split = "test",
    seed: Seed = 0,
    quick: Quick = False,
    ablations: Ablations = False,
    bill: Bill = True,
    strict: Strict = False,
    batch_size: BatchSize = 32,
    threads: OptionalThreads = None,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    text_tower: TextTower = None,
    max_new_tokens: MaxNewTokens = None,
    per_task: PerTask = False,
    as_json: Json = False,
) -> None:
    """Measure which method keeps the answers right at equal cost.

    Run the same command again to continue after an interruption; with further methods or budgets
    it adds them. No question is answered twice.
    """
    need_folder(out, "--out")
    use_threads(threads)
    from transprune.bench.data.tasks import find_bed, own_tasks
    from transprune.bench.launch import Plan, quick_plan
    from transprune.bench.run.budgets import parse_budgets

    tasks = tasks or own_tasks(model)
    preset = quick_plan(out) if quick else Plan(out)
    # a task file is read whole unless --n limits it
    bed = find_bed(tasks)
    if n is None and bed is not None and quick:
        n = bed.quick

    plan = Plan(
        out=out,
        model=model,
        tasks=tasks,
        only=tuple(only or ()),
        methods=tuple(methods or preset.methods),
        budgets=preset.budgets if budgets is None else parse_budgets(budgets),
        n=n,
        split=split,
        seed=seed,
        ablations=ablations,
        bill=bill,
        rounds=preset.rounds,
        strict=strict,
        loading=load_options(dtype, device, attn, text_tower),
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        command=command_line(),
    )

    messages: list[str] = []
    run = launch_shown(plan, messages.append, as_json=as_json)
    _print(run, messages, per_task, as_json)


def launch_shown(plan: Plan, on_note: Callable[[str], None], *, as_json: bool = False) -> Run:
    """Run the plan with its progress shown."""
    from transprune.bench.launch import launch

    with follow_quietly(as_json) as report:

        def on_progress(progress: Progress) -> None:
            report(progress.condition, progress.done, progress.total)

        return launch(plan, on_progress, on_note)


def _print(run: Run, messages: list[str], per_task: bool, as_json: bool) -> None:
    """Print the results as tables, or as one JSON document."""
    from transprune.bench.results.summary import summarise

    rows = summarise(run)
    messages = [*messages, *run.notes]
    if as_json:
        documents = [_row_document(row) for row in rows]
        print_json({"run": str(run.folder), "notes": messages, "rows": documents})
        return
    show(*messages, *tables(rows, run.manifest, per_task))
    show("", f"records: {run.folder}/records.jsonl   page: transprune report {run.folder}")


def _row_document(row: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(row), "complete": row.complete}
