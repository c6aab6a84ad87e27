"""docs/evidence.md, from the ladders alone: no figure on it is written by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from . import details
from .cells import (
    measured_cell,
    paragraph,
    printed_cell,
    printed_range,
    results,
    table,
    usual_counts,
    verdict_cell,
)
from .claim import Claim, Comparison
from .claims import CLAIMS
from .ladder import Ladder
from .verdict import FAILS, HOLDS, MISSING, UNCLEAR, judge

INTRODUCTION = Path(__file__).with_name("introduction.md")


def render(ladders: Sequence[Ladder]) -> str:
    """The whole page, in Markdown."""
    text = INTRODUCTION.read_text(encoding="utf-8")
    text = text.replace("{ladders}", "\n".join(_ladder_table(ladders)))
    verdicts = [*_verdict_table(ladders), "", *_totals(ladders)]
    text = text.replace("{verdicts}", "\n".join(verdicts))

    lines = text.splitlines()
    for number, claim in enumerate(CLAIMS, start=1):
        lines += _section(number, claim, ladders)
    return "\n".join([*lines, *_sources(ladders), ""])


def _ladder_table(ladders: Sequence[Ladder]) -> list[str]:
    """What each ladder is, and how much was measured."""
    rows = [
        (
            "the paper",
            "LLaVA-1.5-7B and LLaVA-NeXT-7B: 32 layers, 576 and up to 2,880 visual tokens",
            "its tables, which print no intervals",
        )
    ]
    for ladder in ladders:
        rows.append((ladder.title, details.WHAT[ladder.name], details.amount(ladder)))
    return table(("ladder", "is", "measured"), rows)


def _verdict_table(ladders: Sequence[Ladder]) -> list[str]:
    rows = []
    for number, claim in enumerate(CLAIMS, start=1):
        link = f"[{number}. {claim.title}](#{_anchor(number, claim)})"
        verdicts = [verdict_cell(claim, ladder) for ladder in ladders]
        rows.append((link, printed_range(claim), *verdicts))
    return table(("claim", "the paper prints", *(ladder.title for ladder in ladders)), rows)


def _totals(ladders: Sequence[Ladder]) -> list[str]:
    """How many claims have which verdict, one line for each ladder with figures."""
    lines = []
    for ladder in ladders:
        if not ladder.measured:
            continue
        counts = Counter(judge(results(claim, ladder)) for claim in CLAIMS)
        lines.append(
            f"- **{ladder.title}**: of {len(CLAIMS)} claims {counts[HOLDS]} hold, {counts[FAILS]} do not, "
            f"and of {counts[UNCLEAR] + counts[MISSING]} one cannot tell."
        )
    return lines


def _anchor(number: int, claim: Claim) -> str:
    """The address of a section, as GitHub and the site make it from the heading."""
    kept = [
        letter
        for letter in f"{number}. {claim.title}".lower()
        if letter.isalnum() or letter in " -"
    ]
    return "".join(kept).replace(" ", "-")


def _section(number: int, claim: Claim, ladders: Sequence[Ladder]) -> list[str]:
    """One claim."""
    lines = [
        "",
        f"## {number}. {claim.title}",
        "",
        *paragraph(claim.says),
        "",
        *paragraph(f"*In the paper*: {claim.source}."),
        "",
    ]
    lines += _comparison_table(claim, ladders)

    verdicts = [f"{ladder.title} {verdict_cell(claim, ladder)}" for ladder in ladders]
    text = f"Verdict: {'; '.join(verdicts)}. {_how_many(claim, ladders)}"
    lines += ["", *paragraph(text)]
    if claim.note:
        lines += ["", *paragraph(claim.note)]
    return [*lines, *details.lines(claim.name, ladders)]


def _comparison_table(claim: Claim, ladders: Sequence[Ladder]) -> list[str]:
    every = (*claim.comparisons, *claim.further)
    rows = []
    for comparison in every:
        label = (
            comparison.label if comparison in claim.comparisons else f"*also*: {comparison.label}"
        )
        cells = [_cell(comparison, every, ladder) for ladder in ladders]
        rows.append((label, printed_cell(comparison), *cells))

    unit = {"points": "points of `Acc.`", "AUC": "AUC", "%": "% of the kept tokens"}
    head = unit[claim.comparisons[0].unit]
    return table((f"difference, {head}", "the paper", *(ladder.title for ladder in ladders)), rows)


def _cell(comparison: Comparison, every: Sequence[Comparison], ladder: Ladder) -> str:
    usual = usual_counts(ladder.differences.get(one.key) for one in every)
    return measured_cell(ladder.differences.get(comparison.key), comparison, usual)


def _how_many(claim: Claim, ladders: Sequence[Ladder]) -> str:
    """Pictures and questions of each measured ladder, as a sentence."""
    parts = []
    for ladder in ladders:
        every = (*claim.comparisons, *claim.further)
        usual = usual_counts(ladder.differences.get(one.key) for one in every)
        if usual is not None:
            parts.append(f"{ladder.title}, {usual[0]:,} pictures with {usual[1]:,} questions")
    return f"n: {'; '.join(parts)}, unless a cell says otherwise." if parts else ""


def _sources(ladders: Sequence[Ladder]) -> list[str]:
    """Where the figures come from: a table of the runs."""
    rows = []
    for ladder in ladders:
        for source in ladder.sources:
            rows.append(
                (
                    f"[{ladder.title}](evidence/{ladder.name}.json)",
                    f"{source.started[:10]}, {source.commit}",
                    f"{source.pictures:,} of the {source.split} split, seed {source.seed}",
                    f"{source.weights}, {source.dtype}",
                    ", ".join(f"{name} {text}" for name, text in sorted(source.versions.items())),
                )
            )
    heads = ("figures", "run, commit", "pictures", "weights", "versions")
    return ["", "## Where the figures come from", "", *table(heads, rows)]
