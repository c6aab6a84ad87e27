"""`transprune tune`: the best setting for a model, its questions and a budget, without labels."""

from __future__ import annotations

import shlex
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import legend, new_table, print_json, show
from transprune.cli.options import (
    METHOD_HELP,
    OUT_HELP,
    Attention,
    AttentionOption,
    Device,
    DeviceOption,
    Dtype,
    DtypeOption,
    Json,
    Model,
    OptionalThreads,
    Seed,
    TextTower,
    load_options,
)
from transprune.cli.progress import follow
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.bench.results.statistics import Interval
    from transprune.tune.launch import Outcome
    from transprune.tune.plan import Plan


class CostOption(str, Enum):
    """The choices of `--cost`."""

    flops = "flops"
    kv = "kv"
    ms = "ms"


class LossOption(str, Enum):
    """The choices of `--loss`."""

    kl = "kl"
    last_token = "last-token"


def tune_command(
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            metavar="COST",
            help="Share of the unpruned cost, as 0.35 or 35%; a range, as 0.2:0.6, for a front.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help=f"{OUT_HELP}; it becomes the recipe, and a stopped search in it goes on.",
        ),
    ],
    model: Model = "nano",
    questions: Annotated[
        str,
        typer.Option(
            "--questions",
            metavar="QUESTIONS",
            help="Folder or file of questions, answers not needed; 'nano': bundled validation "
            "scenes.",
        ),
    ] = "nano",
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help=f"{METHOD_HELP}; repeat for several; settings written in it are not searched. "
            "Default: transprune.",
        ),
    ] = None,
    cost: Annotated[
        CostOption,
        typer.Option(
            "--cost",
            help="What the budget counts: exact FLOPs of the prefill, bytes of keys and values, or "
            "milliseconds of a prefill, measured here.",
        ),
    ] = CostOption.flops,
    loss: Annotated[
        LossOption,
        typer.Option(
            "--loss",
            help="Distance from the unpruned model: KL of the first answer tokens, or the last "
            "hidden state of the last prompt token.",
        ),
    ] = LossOption.kl,
    trials: Annotated[
        int,
        typer.Option("--trials", min=1, metavar="N", help="Settings to try, earlier ones counted."),
    ] = 80,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            min=1,
            metavar="N",
            help="Number of scenes (nano; default 40) or questions (file; default all).",
        ),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out",
            metavar="SHARE",
            help="Share of the pictures that is held out; the search never sees them.",
        ),
    ] = 0.3,
    answer_tokens: Annotated[
        int,
        typer.Option("--answer-tokens", min=1, metavar="N", help="First answer tokens to compare."),
    ] = 4,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at a bad line of a task file; default: skip it."),
    ] = False,
    seed: Seed = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, metavar="N", help="Prompts in one batch.")
    ] = 32,
    threads: OptionalThreads = None,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    text_tower: TextTower = None,
    as_json: Json = False,
) -> None:
    """Search the settings whose answers stay nearest to the unpruned model's, at a budget.

    Needs no labels. Run the same command again to continue after an interruption, with more
    --trials to search longer. The folder is a recipe that every command takes as --method.
    """
    need_folder(out, "--out")
    use_threads(threads)
    from transprune.tune.plan import Plan

    plan = Plan(
        out=out,
        budget=budget,
        model=model,
        questions=questions,
        methods=tuple(method or ("transprune",)),
        cost=cost.value,
        loss=loss.value,
        trials=trials,
        n=n,
        held_out=held_out,
        answer_tokens=answer_tokens,
        seed=seed,
        strict=strict,
        loading=load_options(dtype, device, attn, text_tower),
        batch_size=batch_size,
        command=shlex.join(["transprune", *sys.argv[1:]]),
    )

    notes: list[str] = []
    outcome = _run(plan, notes, as_json)
    if as_json:
        print_json(_document(outcome, notes))
        return
    _print(outcome, notes)


def _run(plan: Plan, notes: list[str], as_json: bool) -> Outcome:
    """Search with the progress shown."""
    from transprune.cli.guard import quiet_libraries
    from transprune.tune.launch import tune

    with quiet_libraries(bars=False), follow(as_json=as_json) as report:
        return tune(plan, report, notes.append)


def _print(outcome: Outcome, notes: list[str]) -> None:
    folder = outcome.plan.out
    show(*notes, _table(outcome), "", _comparison(outcome), "", _legend(), "")
    if len(outcome.front) > 1:
        show(_front_table(outcome), "")
    show(
        f"{outcome.best.method!r}",
        "",
        f"recipe: {folder}   where from: {folder}/tune.json   plot: {folder}/front.png",
        f"use it: transprune run --model {outcome.plan.model} --method {folder} ...",
    )


def _table(outcome: Outcome) -> Table:
    """The held-out figures of the found setting and of every starting point."""
    title = f"{outcome.questions} held-out questions; {len(outcome.trials)} settings were tried"
    columns = ("setting", "cost", "KL", "95 %", "same answers", "95 % ")
    table = new_table(title, columns, wrap=("setting",))
    for row in outcome.held_out:
        table.add_row(
            row.name,
            outcome.budget.shown(row.cost),
            f"{row.kl.value:.4f}",
            _range(row.kl, 4),
            f"{row.same.value:.1f} %",
            _range(row.same, 1),
        )
    return table


def _comparison(outcome: Outcome) -> Table:
    """The starting points minus the found setting, picture by picture."""
    columns = ("minus found", "KL", "95 %", "same answers", "95 % ")
    table = new_table("", columns, wrap=("minus found",))
    for row in outcome.held_out:
        if row.kl_against is not None and row.same_against is not None:
            table.add_row(
                row.name,
                f"{row.kl_against.value:+.4f}",
                _range(row.kl_against, 4),
                f"{row.same_against.value:+.1f}",
                _range(row.same_against, 1),
            )
    return table


def _legend() -> Table:
    return legend(
        {
            "KL": "divergence of the first answer tokens from the unpruned model, nats; 0 is equal",
            "same answers": "questions whose first answer tokens all stay the most likely ones",
            "95 %": "paired bootstrap over the held-out pictures, which the search never saw",
        }
    )


def _range(interval: Interval, digits: int) -> str:
    return f"{interval.low:.{digits}f}..{interval.high:.{digits}f}"


def _front_table(outcome: Outcome) -> Table:
    """The settings that no other beats in both cost and loss."""
    table = new_table("front, searched questions", ("cost", "loss", "recipe"), wrap=("recipe",))
    for number, trial in enumerate(outcome.front):
        folder = f"{outcome.plan.out}/front/{number:02d}"
        table.add_row(outcome.budget.shown(trial.cost), f"{trial.loss:.4f}", folder)
    return table


def _document(outcome: Outcome, notes: list[str]) -> dict[str, Any]:
    from transprune.core import strict_json
    from transprune.tune.result import RESULT_FILE

    data = strict_json.read((outcome.plan.out / RESULT_FILE).read_bytes())
    return {"recipe": str(outcome.plan.out), "notes": notes, **data}
