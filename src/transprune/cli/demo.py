"""`transprune demo`: the bundled model with and without pruning, in well under a minute."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transprune.cli.console import RIGHT, WRONG, legend, new_table, print_json, show, status
from transprune.cli.options import OUT_HELP, Json, Methods
from transprune.cli.units import percent

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.demo import DemoResult, MethodResult


def demo_command(
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help=f"{OUT_HELP}; it gets pictures of the kept tokens."
        ),
    ] = Path("demo-out"),
    method: Methods = None,
    as_json: Json = False,
) -> None:
    """Try pruning on the bundled model and six pictures.

    24 questions are answered unpruned and with each method.
    Seven methods run by default; --method replaces them.
    """
    # before anything runs: a mistake in --out should not cost half a minute
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
    show(_summary(result), "", _answers(result), "", _legend(result), "")
    show(f"{pictures} ({result.seconds:.0f} s in all)")


def _summary(result: DemoResult) -> Table:
    """One row per method: right answers, tokens and costs."""
    columns = ("#", "method", "right", "tokens @ layer", "paper", "exact", "time", "K/V")
    total = len(result.questions)
    visual = result.methods[0].tokens[0]
    title = f"{total} questions, {visual} visual tokens; cost relative to the unpruned model"
    table = new_table(title, columns, left=("method", "tokens @ layer"))

    # the table of answers names methods by these numbers, because it has no room for the names
    for number, row in enumerate(result.methods, start=1):
        table.add_row(
            str(number),
            row.method,
            f"{row.right}/{total}",
            _stages(row),
            percent(row.paper_share),
            percent(row.exact_share),
            percent(row.time_share),
            percent(row.kv_share),
        )
    return table


def _stages(row: MethodResult) -> str:
    """`126 @4, 90 @5`: the tokens that remain from each boundary on."""
    if not row.boundaries:
        return str(row.tokens[0])
    pairs = zip(row.tokens[1:], row.boundaries, strict=True)
    return ", ".join(f"{count} @{layer}" for count, layer in pairs)


def _answers(result: DemoResult) -> Table:
    """One row per question: a mark for each method, and the wrong answers."""
    numbers = " ".join(str(number) for number in range(1, len(result.methods) + 1))
    table = new_table(
        f"answers: {RIGHT} right, {WRONG} wrong, in the order of the methods above",
        ("question", "answer", numbers, "wrong"),
        left=("answer",),
        wrap=("question", "wrong"),
    )

    previous = None  # a line separates the questions of two pictures
    for index, question in enumerate(result.questions):
        if previous not in (None, question.picture):
            table.add_section()
        previous = question.picture

        given = [row.answers[index] for row in result.methods]
        table.add_row(
            question.question,
            question.answer,
            _marks(given, question.answer),
            _wrong(given, question.answer),
        )
    return table


def _marks(given: list[str], answer: str) -> str:
    right = f"[green]{RIGHT}[/]"
    wrong = f"[bold red]{WRONG}[/]"
    return " ".join(right if text == answer else wrong for text in given)


def _wrong(given: list[str], answer: str) -> str:
    """`red (3,6)  no (7)`: each wrong answer, with the numbers of the methods that gave it."""
    wrong: dict[str, list[str]] = defaultdict(list)
    for number, text in enumerate(given, start=1):
        if text != answer:
            wrong[text or "nothing"].append(str(number))
    return "  ".join(f"{text} ({','.join(numbers)})" for text, numbers in wrong.items())


def _legend(result: DemoResult) -> Table:
    return legend(
        {
            "paper": "prefill MACs of the visual tokens only, without scoring, as most tables in "
            "the field count",
            "exact": "prefill FLOPs of all tokens, scoring included",
            "time": "measured prefill on one CPU thread, vision tower included: median of "
            "pruned/unpruned pairs. In a model of 9 MB fixed costs weigh heavily; `make overhead` "
            "times a larger one",
            "K/V": "bytes of the key/value cache after the prefill",
            "budgets": "the methods' own defaults; visionzip is set to cost what transprune-high "
            "costs (exact), random and uniform follow transprune-high's schedule",
            "beware": f"{len(result.questions)} questions show how pruning behaves; this is not a "
            "benchmark",
        }
    )
