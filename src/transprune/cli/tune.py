"""`transprune tune`: the best setting for a model, its questions and a budget, without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transprune.cli.console import AGREEMENT, legend, new_table, print_json, show
from transprune.cli.options import (
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
from transprune.cli.tune_options import (
    AnswerTokens,
    Budget,
    Cost,
    CostOption,
    HeldOut,
    Loss,
    LossOption,
    SampleSize,
    Trials,
    TuneMethods,
    TuneOut,
    TuneQuestions,
)

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.bench.results.statistics import Interval
    from transprune.tune.launch import Outcome
    from transprune.tune.plan import Plan


def tune_command(
    budget: Budget,
    out: TuneOut,
    model: Model = "nano",
    questions: TuneQuestions = None,
    method: TuneMethods = None,
    cost: Cost = CostOption.flops,
    loss: Loss = LossOption.kl,
    trials: Trials = 80,
    n: SampleSize = None,
    held_out: HeldOut = 0.3,
    answer_tokens: AnswerTokens = 4,
    strict: Strict = False,
    seed: Seed = 0,
    batch_size: BatchSize = 32,
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
    from transprune.bench.data.tasks import own_tasks
    from transprune.tune.plan import Plan

    plan = Plan(
        out=out,
        budget=budget,
        model=model,
        questions=questions or own_tasks(model),
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
        command=command_line(),
    )

    notes: list[str] = []
    outcome = _run(plan, notes, as_json)
    if as_json:
        print_json(_document(outcome, notes))
        return

    _print(outcome, notes)


def _run(plan: Plan, notes: list[str], as_json: bool) -> Outcome:
    """Search with the progress shown."""
    from transprune.tune.launch import tune

    with follow_quietly(as_json) as report:
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
            **AGREEMENT,
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
