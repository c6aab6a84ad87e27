"""`transprune fit`: how many visual tokens each layer of a model drops, for FitPrune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import new_table, print_json, show
from transprune.cli.options import (
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
    Strict,
    command_line,
    load_options,
)
from transprune.cli.progress import follow_quietly
from transprune.cli.targets import need_folder
from transprune.cli.threads import use_threads

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.models.fit import Fitted
    from transprune.tune.fit import FitPlan

Saving = Annotated[
    str,
    typer.Option(
        "--saving",
        metavar="SHARE",
        help="Share of the prefill to save, as 0.4 or 40%; visual tokens only, as papers count.",
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", metavar="FOLDER", help=f"{OUT_HELP}; it becomes the recipe."),
]
Questions = Annotated[
    str | None,
    typer.Option(
        "--questions",
        metavar="QUESTIONS",
        help="Folder or file of questions, answers not needed; 'nano' or 'smol': training scenes "
        "of a test bed. Default: the model's own, else nano.",
    ),
]
Count = Annotated[
    int | None,
    typer.Option(
        "--n",
        min=1,
        metavar="N",
        help="Number of scenes (nano, smol; default 8) or questions (file; default all).",
    ),
]


def fit_command(
    saving: Saving,
    out: Out,
    model: Model = "nano",
    questions: Questions = None,
    n: Count = None,
    strict: Strict = False,
    seed: Seed = 0,
    threads: OptionalThreads = None,
    dtype: DtypeOption = Dtype.auto,
    device: DeviceOption = Device.auto,
    attn: AttentionOption = Attention.sdpa,
    as_json: Json = False,
) -> None:
    """Fit how many visual tokens each layer drops, so that attention changes least (FitPrune).

    Needs no labels. Every question runs about nine times, one by one. The folder is a recipe that
    every command takes as --method.
    """
    need_folder(out, "--out")
    use_threads(threads)
    from transprune.bench.data.tasks import own_tasks
    from transprune.tune.fit import FitPlan

    plan = FitPlan(
        out=out,
        saving=saving,
        model=model,
        questions=questions or own_tasks(model),
        n=n,
        seed=seed,
        strict=strict,
        loading=load_options(dtype, device, attn, None),
        command=command_line(),
    )

    notes: list[str] = []
    found = _run(plan, notes, as_json)
    if as_json:
        print_json(_document(plan, notes))
        return

    show(*notes, _table(found), "", _summary(plan, found))


def _run(plan: FitPlan, notes: list[str], as_json: bool) -> Fitted:
    """Fit with the progress shown."""
    from transprune.tune.fit import run_fit

    with follow_quietly(as_json) as report:
        return run_fit(plan, report, notes.append)


def _table(found: Fitted) -> Table:
    """One row per layer that drops some tokens."""
    title = f"fitted on {found.prompts} prompt(s), alpha {found.alpha:.3f}"
    table = new_table(title, ("dropped inside layer", "left behind it"))
    for boundary, share in found.keep:
        table.add_row(str(boundary - 1), f"{100 * share:.1f} %")
    return table


def _summary(plan: FitPlan, found: Fitted) -> str:
    return (
        f"saves {100 * found.saving:.1f} % of the prefill of these prompts (paper); "
        f"{found.left:.0f} visual tokens left on average\n"
        f"recipe: {plan.out}   where from: {plan.out}/fit.json\n"
        f"use it: transprune run --model {plan.model} --method {plan.out} ..."
    )


def _document(plan: FitPlan, notes: list[str]) -> dict[str, Any]:
    from transprune.core import strict_json
    from transprune.tune.fit import FIT_FILE

    data = strict_json.read((plan.out / FIT_FILE).read_bytes())
    return {"recipe": str(plan.out), "notes": notes, **data}
