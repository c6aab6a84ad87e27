"""What `transprune demo` prints of every method, side by side.

Plain words come first; the word of the papers stands in brackets.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from transprune.cli.console import RIGHT, WRONG, legend, new_table
from transprune.cli.counts import tokens_left
from transprune.cli.units import percent

if TYPE_CHECKING:
    from rich.table import Table

    from transprune.demo import DemoResult

# the presets that stand in the note on speed: of the library's own method, and the usual yardstick
OURS = "transprune-high"
YARDSTICK = "fastv"
OVERHEAD = {OURS: 0.459, YARDSTICK: 0.557}  # prefill / unpruned in docs/overhead.md


def summary(result: DemoResult) -> Table:
    """One row per method: right answers, tokens and costs."""
    columns = (
        "#",
        "method",
        "right",
        "tokens left @ layer",
        "work\n(exact)",
        "time",
        "memory\n(K/V)",
    )

    total = len(result.questions)
    pictures = len({question.picture for question in result.questions})
    title = f"Every method: {total} questions about {pictures} pictures"
    table = new_table(title, columns, left=("method", "tokens left @ layer"))
    marked = note_on_speed(result) != ""

    # the table of answers names methods by these numbers, because it has no room for the names
    for number, row in enumerate(result.methods, start=1):
        mark = "*" if marked and row.method == OURS else " "
        table.add_row(
            str(number),
            row.method,
            f"{row.right}/{total}{mark}",
            tokens_left(row.tokens, row.boundaries),
            percent(row.exact_share),
            f"{percent(row.time_share)}{mark}",
            percent(row.kv_share),
        )

    return table


def note_on_speed(result: DemoResult) -> str:
    """Why TransPrune is slower than FastV and no more right, where that is what was measured."""
    rows = {row.method: row for row in result.methods}
    if OURS not in rows or YARDSTICK not in rows:
        return ""

    facts = []
    if rows[OURS].time_share > rows[YARDSTICK].time_share:
        facts.append(f"slower than {YARDSTICK}")
    if rows[OURS].right <= rows[YARDSTICK].right:
        facts.append("no more right")
    # no excuse where none is needed
    if not facts:
        return ""

    return (
        f"* {OURS} is {' and '.join(facts)} here. In a model of 9 MB choosing is a large part of "
        "the time (random-high drops as many tokens without choosing), and this schedule drops "
        "them in layers 4 to 6, while the model takes its answers from the picture in layers 5 to "
        "8. In a larger model (`make overhead`: 32 layers, width 1024, random weights) its prefill "
        f"took {OVERHEAD[OURS]:.0%} of the unpruned time, that of fastv {OVERHEAD[YARDSTICK]:.0%}."
    )


def explanations(result: DemoResult) -> Table:
    """What the columns mean."""
    entries = {
        "right": f"{len(result.questions)} questions show how pruning behaves; this is not a "
        "benchmark. Two or three more or less are chance; `transprune bench` measures it",
        "tokens": "`24@9`: 24 visual tokens are left from layer 9 (a boundary) on",
        "work": "of reading the prompt (prefill), relative to unpruned: FLOPs of all tokens, and "
        "of choosing them",
        "time": "of the same on one CPU thread, vision tower included: median of pruned/unpruned "
        "pairs. In a model of 9 MB fixed costs weigh heavily",
        "memory": "for the keys and values of the prompt",
        "settings": "the methods' own; transprune-nano was chosen on other scenes of this model, "
        "visionzip costs what transprune-high costs; random and uniform are controls with the "
        "schedule of transprune-high",
    }
    return legend(entries)


def answer_table(result: DemoResult) -> Table:
    """One row per question: a mark for each method, and the wrong answers."""
    numbers = " ".join(str(number) for number in range(1, len(result.methods) + 1))
    table = new_table(
        f"Answers: {RIGHT} right, {WRONG} wrong, in the order of the methods above",
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


def next_steps(result: DemoResult, out: Path, answers: bool) -> list[str]:
    """Where the pictures are, and what to try next."""
    lines = [f"{len(result.overlays)} pictures of what each method kept: {out}/"]
    if not answers:
        lines.append("every question with its answers: transprune demo --answers")
    lines += [
        "which method for your model: transprune suggest --model MODEL",
        "a word you do not know: transprune glossary WORD",
        f"({result.seconds:.0f} s in all)",
    ]
    return lines


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
