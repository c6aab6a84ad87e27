"""`transprune reproduce`: a table or figure of the TransPrune paper, run again."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transprune.cli.console import print_json, show
from transprune.cli.options import (
    MODEL_HELP,
    OUT_HELP,
    Attention,
    AttentionOption,
    BatchSize,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Json,
    OptionalThreads,
    TextTower,
    command_line,
    load_options,
)
from transprune.cli.progress import follow_quietly
from transprune.cli.reproduce_tables import catalogue, result_tables
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads

if TYPE_CHECKING:
    from transprune.bench.data.judge import Judge
    from transprune.bench.run.progress import Progress
    from transprune.reproduce.launch import Outcome
    from transprune.reproduce.plan import ReproducePlan


class Engine(str, Enum):
    """The choices of `--engine`."""

    own = "own"
    lmms_eval = "lmms-eval"


# what to run
ExhibitName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="Table or figure: table1 to table13, tableS1, figure2, figureS1, ..."
    ),
]
ShowList = Annotated[
    bool, typer.Option("--list", help="List what there is and what it needs, and exit.")
]
Smoke = Annotated[
    bool,
    typer.Option("--smoke", help="The bundled model and a few drawn rows: minutes on a CPU."),
]
OwnModel = Annotated[
    str,
    typer.Option(
        "--model", metavar="MODEL", help=f"{MODEL_HELP}; default: the model of the table."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Folder of data sets, as owner/name; default: the hub and its cache.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="At most N questions of each benchmark."),
]
Rows = Annotated[
    list[str] | None,
    typer.Option("--row", metavar="NAME", help="Row of the table; repeat for several."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--benchmark", metavar="NAME", help="Benchmark, as mme or pope; repeat for several."
    ),
]
EngineOption = Annotated[
    Engine,
    typer.Option(
        "--engine", help="Who reads the data, asks and scores; lmms-eval needs the extra `eval`."
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes", min=1, metavar="N", help="Copies of the model; default: one on each GPU."
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="URL",
        help="OpenAI-compatible endpoint that judges free answers; its key is OPENAI_API_KEY.",
    ),
]
JudgeModel = Annotated[
    str | None, typer.Option("--judge-model", metavar="NAME", help="Name of the judge's model.")
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="FOLDER", help=f"{OUT_HELP}; answers in it are never given again."
    ),
]


def reproduce_command(
    name: ExhibitName = None,
    show_list: ShowList = False,
    smoke: Smoke = False,
    model: OwnModel = "",
    data: Data = None,
    limit: Limit = None,
    rows: Rows = None,
    benchmarks: Columns = None,
    out: Out = Path("out/reproduce"),
    engine: EngineOption = Engine.own,
    processes: Processes = None,
    judge: JudgeUrl = None,
    judge_model: JudgeModel = None,
    batch_size: BatchSize = 8,
    threads: OptionalThreads = None,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    text_tower: TextTower = None,
    as_json: Json = False,
) -> None:
    """Run a table of the TransPrune paper again: published, ours, difference.

    Run the same command again to continue after an interruption. What one table has asked, the
    next one does not ask again.
    """
    if show_list or name is None:
        _print_list(as_json)
        return

    need_folder(out, "--out")
    use_threads(threads)
    from transprune.reproduce.plan import ReproducePlan

    plan = ReproducePlan(
        exhibit=name,
        out=out,
        model=model,
        data=data,
        smoke=smoke,
        limit=limit,
        rows=tuple(rows or ()),
        benchmarks=tuple(benchmarks or ()),
        batch_size=batch_size,
        engine=engine.value,
        judge=_judge(judge, judge_model),
        loading=load_options(dtype, device, attn, text_tower),
        command=command_line(),
    )

    if _run_in_several(plan, processes):
        return

    _print(_launch(plan, as_json), as_json)


def _judge(url: str | None, model: str | None) -> Judge | None:
    """Who judges, if somebody does."""
    if (url is None) != (model is None):
        raise typer.BadParameter("--judge URL and --judge-model NAME belong together")
    if url is None or model is None:
        return None
    from transprune.bench.data.judge import Judge

    return Judge(url, model)


def _run_in_several(plan: ReproducePlan, wanted: int | None) -> bool:
    """Start this command again in several processes, if there is a reason to."""
    from transprune.reproduce.exhibits import check_plan
    from transprune.reproduce.processes import run_together, visible_gpus
    from transprune.reproduce.ranks import launched

    # what is wrong with the options is said once, and not by every process
    exhibit = check_plan(plan.exhibit, plan.rows, plan.benchmarks)
    if launched() or exhibit.kind in ("figure", "cost"):
        return False

    count = wanted or visible_gpus(plan.loading.device)
    if count < 2:
        return False

    run_together(("-m", "transprune.cli", *sys.argv[1:]), count, plan.out / "processes")
    return True


def _print_list(as_json: bool) -> None:
    """Print every table and figure with what it needs."""
    from transprune.reproduce.catalogue import entries

    found = entries()
    if as_json:
        print_json({"exhibits": [entry.to_dict() for entry in found]})
        return
    show(*catalogue(found))


def _launch(plan: ReproducePlan, as_json: bool) -> Outcome:
    """Run the plan with its progress and its notes shown as they come."""
    from transprune.cli.console import err
    from transprune.reproduce.launch import launch
    from transprune.reproduce.ranks import is_first

    def on_note(line: str) -> None:
        if not is_first():
            return
        # soft_wrap: a log gets the whole line
        err().print(line, soft_wrap=True, markup=False, highlight=False)

    with follow_quietly(as_json) as report:

        def on_progress(progress: Progress) -> None:
            report(progress.condition, progress.done, progress.total)

        return launch(plan, on_progress, on_note)


def _print(outcome: Outcome, as_json: bool) -> None:
    """Print the table and where its page is, or one JSON document."""
    from transprune.reproduce.ranks import is_first

    if not is_first():
        return

    result = outcome.result
    if as_json:
        document = {} if result is None else result.to_dict()
        print_json({"page": str(outcome.page), "exhibit_id": outcome.exhibit.id, **document})
        return

    if result is not None:
        show(*result_tables(result))

    show("", f"page: {outcome.page}   figures: {outcome.page.with_name('result.json')}")
