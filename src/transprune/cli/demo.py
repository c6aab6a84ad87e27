"""`transprune demo`: the whole point on a bundled model, in well under a minute."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transprune.cli.console import (
    RIGHT,
    WRONG,
    Json,
    legend,
    new_table,
    percent,
    print_json,
    show,
    status,
)

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.demo import DemoResult, MethodResult


def demo_command(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the pictures of what was kept.")
    ] = Path("demo-out"),
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="A method instead of the usual seven; repeat for several."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer questions about six pictures with the bundled model, unpruned and with each method."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(
            f"cannot make the folder {out}: {error.strerror}", param_hint="--out"
        ) from error
    with status(as_json) as progress:
        progress("loading torch and transformers")
        from transprune.cli.guard import quiet_libraries
        from transprune.demo import run_demo

        with quiet_libraries(bars=False):
            result = run_demo(out, methods=method or None, progress=progress)
    if as_json:
        print_json({"model": "nano", **result.to_dict()})
        return
    pictures = f"{len(result.overlays)} pictures of what each stage kept: {out}/"
    show(
        _summary(result),
        "",
        _answers(result),
        "",
        _legend(result),
        "",
        f"{pictures} ({result.seconds:.0f} s in all)",
    )


def _summary(result: DemoResult) -> Table:
    columns = ("#", "method", "right", "tokens @ layer", "paper", "exact", "time", "K/V")
    total, visual = len(result.questions), result.methods[0].tokens[0]
    title = f"{total} questions, {visual} visual tokens; cost relative to the unpruned model"
    table = new_table(title, columns, left=("method", "tokens @ layer"))
    for number, row in enumerate(result.methods, start=1):
        shares = [
            percent(share)
            for share in (row.paper_share, row.exact_share, row.time_share, row.kv_share)
        ]
        table.add_row(str(number), row.method, f"{row.right}/{total}", _stages(row), *shares)
    return table


def _stages(row: MethodResult) -> str:
    if not row.boundaries:
        return str(row.tokens[0])
    return ", ".join(
        f"{count} @{layer}" for count, layer in zip(row.tokens[1:], row.boundaries, strict=True)
    )


def _answers(result: DemoResult) -> Table:
    """One row per question; a mark per method, and what was said where it was wrong."""
    numbers = " ".join(str(number) for number in range(1, len(result.methods) + 1))
    title = f"answers: {RIGHT} right, {WRONG} wrong, in the order of the methods above"
    table = new_table(
        title,
        ("question", "answer", numbers, "wrong"),
        left=("answer",),
        wrap=("question", "wrong"),
    )
    previous = None
    for index, question in enumerate(result.questions):
        if previous not in (None, question.picture):
            table.add_section()
        previous = question.picture
        given = [row.answers[index] for row in result.methods]
        table.add_row(
            question.question,
            question.answer,
            _marks(given, question.answer),
            _wrong(given, question),
        )
    return table


def _marks(given: list[str], answer: str) -> str:
    return " ".join(
        f"[green]{RIGHT}[/]" if text == answer else f"[bold red]{WRONG}[/]" for text in given
    )


def _wrong(given: list[str], question: Any) -> str:
    """`red (3,6)  no (7)`: what was said instead, and by which methods."""
    said: dict[str, list[str]] = defaultdict(list)
    for number, text in enumerate(given, start=1):
        if text != question.answer:
            said[text or "nothing"].append(str(number))
    return "  ".join(f"{text} ({','.join(numbers)})" for text, numbers in said.items())


def _legend(result: DemoResult) -> Table:
    return legend(
        {
            "paper": "prefill MACs of the visual tokens only, without scoring, as most tables in the field count",
            "exact": "prefill FLOPs of all tokens, scoring included",
            "time": "measured prefill on one CPU thread, vision tower included: median of pruned/unpruned pairs. In a "
            "model of 9 MB fixed costs weigh heavily; `make bench` times a larger one",
            "K/V": "bytes of the key/value cache after the prefill",
            "budgets": "the methods' own defaults; visionzip is set to cost what transprune-high costs (exact), random "
            "and uniform follow transprune-high's schedule",
            "beware": f"{len(result.questions)} questions show how pruning behaves; this is not a benchmark",
        }
    )
