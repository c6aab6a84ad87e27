"""Break-even in plain words: the sentences of `transprune cost --measure`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transprune.speed.breakeven import Outlook, Point, Span
    from transprune.speed.points import Left
    from transprune.speed.ratios import Verdict
    from transprune.speed.subjects import Subject

TOKENS = 20  # new tokens of the answer that the sentences are about
WORDS: dict[Verdict, str] = {
    "pays": "saves time",
    "costs": "costs time",
    "unclear": "is not certain to save time",
}


def break_even_lines(points: Sequence[Point], method: str) -> list[str]:
    """From which batch and prompt on a method pays for answers of 20 tokens, then for which answers."""
    from transprune.speed.breakeven import outlooks

    mine = [point for point in points if method in point.samples]
    if not mine:
        failure = points[0].failures[method]
        return [f"{failure.kind}: {failure.reason}"]

    lines = []
    for outlook in outlooks(mine, method, TOKENS, "batch"):
        prompt = f"Prompts with {outlook.fixed} visual tokens"
        lines.append(f"{prompt}: it {_along(outlook)}")
    for outlook in outlooks(mine, method, TOKENS, "prompt"):
        lines.append(f"Batch {outlook.fixed}: it {_along(outlook)}")

    return [*lines, _answer_line(mine, method)]


def span_words(span: Span) -> str:
    """`any length`, `35 tokens or more`, `up to 28 tokens`, `no length`."""
    from transprune.speed.breakeven import LONGEST

    if span.first is None or span.last is None:
        certain = span.one == span.longest == "costs"
        return "no length" if certain else "not certain"
    if span.last == LONGEST:
        return "any length" if span.first == 1 else f"{span.first} tokens or more"
    if span.first == 1:
        return f"up to {span.last} token{'s' if span.last > 1 else ''}"
    return f"{span.first} to {span.last} tokens"


def caveats(subject: Subject, points: Sequence[Point], left_out: Sequence[Left]) -> list[str]:
    """How it was measured, what was counted on top, and what was not measured."""
    from transprune.speed.breakeven import LONGEST
    from transprune.speed.clocks import clock_of
    from transprune.speed.points import STEPS

    text = sorted({point.text_tokens for point in points})
    rounds = sorted({len(point.samples["unpruned"]) for point in points})
    counts = str(rounds[0]) if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]}"
    lines = [
        f"Measured: {clock_of(subject.model.device).name}, {counts} paired rounds, "
        f"a prefill and {STEPS} further tokens each. Longer answers are counted from these "
        f"times, up to {LONGEST} tokens. Every prompt has "
        f"{' or '.join(map(str, text))} text tokens, too.",
        "Longer prompts and larger batches than those in the table were not measured, and nothing "
        "is said about them.",
    ]

    if subject.random_weights:
        lines.append("The weights are random: time does not depend on them, answers do.")

    for left in left_out:
        pictures = f"{left.pictures} picture{'s' if left.pictures > 1 else ''}"
        lines.append(f"Left out: {pictures} in each prompt, batch {left.batch}: {left.reason}.")

    return lines


def _along(outlook: Outlook) -> str:
    """`saves time at every batch measured (1 to 16)`, `saves time from batch 4 on (1: costs time)`."""
    values = list(outlook.verdicts)
    if len(values) == 1:
        where = _where(outlook, values[0])
        return f"{WORDS[outlook.verdicts[values[0]]]} at {where}, the only one measured."

    name = "batch" if outlook.axis == "batch" else "prompt"
    measured = f"{values[0]} to {values[-1]}"
    kinds = set(outlook.verdicts.values())
    # no point where it turns, so none is named
    if len(kinds) == 1:
        verdict = outlook.verdicts[values[0]]
        unit = "" if outlook.axis == "batch" else " visual tokens"
        return f"{WORDS[verdict]} at every {name} measured ({measured}{unit})."

    rest = _rest(outlook)
    if outlook.first is None:
        largest = _where(outlook, values[-1])
        return f"does not save time at {largest}, the largest measured; {rest}."
    return f"saves time from {_where(outlook, outlook.first)} on; {rest}."


def _rest(outlook: Outlook) -> str:
    """What holds at the values from which on it does not always pay."""
    parts = []
    for value, verdict in outlook.verdicts.items():
        if outlook.first is None or value < outlook.first:
            parts.append(f"at {value} it {WORDS[verdict]}")
    return ", ".join(parts)


def _where(outlook: Outlook, value: int) -> str:
    return f"batch {value}" if outlook.axis == "batch" else f"{value} visual tokens"


def _answer_line(points: Sequence[Point], method: str) -> str:
    """The lengths of answers for which it pays with the shortest prompt, alone and in a batch."""
    from transprune.speed.breakeven import span

    shortest = min(point.visual_tokens for point in points)
    here = sorted(
        (point for point in points if point.visual_tokens == shortest),
        key=lambda point: point.batch,
    )
    parts = [f"{span_words(span(point, method))} at batch {point.batch}" for point in here]
    return f"Answers for which it saves time, with {shortest} visual tokens: {'; '.join(parts)}."
