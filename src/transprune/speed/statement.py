"""Where pruning pays and where it does not, in sentences, from the records of the benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from transprune.speed.cells import UNPRUNED
from transprune.speed.ratios import LEVEL, Verdict
from transprune.speed.records import Record
from transprune.speed.runs import PER_TOKEN, PREFILL
from transprune.speed.shapes import find_shape
from transprune.speed.summary import Row, Setting, rows, settings

WORDS: dict[Verdict, str] = {
    "pays": "pays for",
    "unclear": "not certain for",
    "costs": "costs time for",
}
FEW = (
    "Where fewer than six rounds were run, a verdict only says that all of them agree, which is less "
    "than 95 % confidence."
)


def statement(records: Iterable[Record]) -> list[str]:
    """Sentences about time in every setting, then about memory, then about what is missing."""
    found = list(records)
    tables = {setting: rows(found, setting) for setting in settings(found)}

    times: list[str] = []
    memory: list[str] = []
    for setting, table in tables.items():
        times += _time_sentences(setting, table)
        memory += _memory_sentences(setting, table)

    notes = [FEW] if times and _has_few(tables.values()) else []
    return [*times, *notes, *memory, *_gap_sentences(tables)]


def quantity_title(what: str) -> str:
    """`answer_20` -> `20 tokens`, as tables head the column."""
    if what == PREFILL:
        return "prefill"
    if what == PER_TOKEN:
        return "each token"
    count = what.rpartition("_")[2]
    return f"{count} token" if count == "1" else f"{count} tokens"


def setting_title(setting: Setting) -> str:
    """`LLaVA-1.5-7B, sdpa, batch 8`."""
    return f"{find_shape(setting.shape).title}, {setting.attention}, batch {setting.batch}"


def _time_sentences(setting: Setting, table: Sequence[Row]) -> list[str]:
    """One sentence for all variants that pay, and cost, for the same things."""
    alike: dict[str, list[str]] = {}
    for row in table:
        if row.ratios:
            alike.setdefault(_verdicts(row), []).append(row.variant)

    title = setting_title(setting)
    return [f"{title}: {', '.join(names)}: {verdicts}." for verdicts, names in alike.items()]


def _verdicts(row: Row) -> str:
    """`pays for prefill, 1 token; costs time for each token`."""
    groups: dict[Verdict, list[str]] = {"pays": [], "unclear": [], "costs": []}
    for what, ratio in row.ratios.items():
        groups[ratio.verdict].append(quantity_title(what))

    parts = []
    for verdict, quantities in groups.items():
        if quantities:
            whole = len(quantities) == len(row.ratios)
            parts.append(f"{WORDS[verdict]} {'all' if whole else ', '.join(quantities)}")

    return "; ".join(parts)


def _memory_sentences(setting: Setting, table: Sequence[Row]) -> list[str]:
    """Which variants fit where the unpruned model does not, and which need more than it."""
    unpruned = next((row for row in table if row.variant == UNPRUNED), None)
    pruned = [row for row in table if row.memory is not None and row.variant != UNPRUNED]
    if unpruned is None or not pruned:
        return []

    title = f"{setting_title(setting)}, memory of a prefill"
    if unpruned.memory is None:
        names = ", ".join(row.variant for row in pruned)
        return [f"{title}: measured without the unpruned model: {names}."]

    larger = [row.variant for row in pruned if (row.memory or 0) > unpruned.memory]
    return [f"{title}: more than unpruned: {', '.join(larger)}."] if larger else []


def _gap_sentences(tables: dict[Setting, list[Row]]) -> list[str]:
    """What was not measured: one sentence for each reason, with the settings it holds for."""
    places: dict[str, list[str]] = {}
    for setting, table in tables.items():
        reasons: dict[str, list[str]] = {}
        for row in table:
            for gap in row.gaps:
                reasons.setdefault(gap, []).append(row.variant)

        for reason, names in reasons.items():
            who = "" if len(names) == len(table) else f" ({', '.join(names)})"
            places.setdefault(reason, []).append(f"{setting_title(setting)}{who}")

    return [f"{reason}: {'; '.join(where)}." for reason, where in places.items()]


def _has_few(tables: Iterable[Sequence[Row]]) -> bool:
    """Whether any verdict comes from fewer rounds than 95 % confidence takes."""
    for table in tables:
        for row in table:
            if any(ratio.level < LEVEL for ratio in row.ratios.values()):
                return True
    return False
