"""Examples: which questions are shown with what was kept, by a rule that does not flatter.

The condition is TransPrune at the middle of the run's budgets, or the first method where TransPrune did not run. Of the
questions the unpruned model answers right, up to a third of the examples are ones that pruning lost, the rest ones it
kept; each time the next family of questions, in the order of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transprune.bench.data.records import Record
from transprune.bench.data.tasks import Item
from transprune.bench.results.summary import TRANSPRUNE
from transprune.core.plan import UNPRUNED
from transprune.report.figures.retention import draw_retention
from transprune.report.overlay import Grid
from transprune.report.results import Results
from transprune.report.theme import Picture


@dataclass(frozen=True)
class Chosen:
    """One question as answered by the unpruned model and by a pruned one."""

    unpruned: Record
    pruned: Record


@dataclass(frozen=True)
class Example:
    """A chosen question with its picture."""

    chosen: Chosen
    picture: Picture

    @property
    def verdict(self) -> str:
        """What pruning did to the answer."""
        return "kept the right answer" if self.chosen.pruned.score >= 1 else "lost the right answer"


def choose(results: Results, count: int) -> list[Chosen]:
    """Up to `count` questions."""
    condition = _condition(results)
    if condition is None or count < 1:
        return []
    full, pruned = results.answers(UNPRUNED), results.answers(condition)
    pairs = [
        Chosen(full[key], pruned[key]) for key in pruned if key in full and full[key].score >= 1
    ]
    pairs = [pair for pair in pairs if pair.pruned.kept]
    lost = _one_per_family([pair for pair in pairs if pair.pruned.score < 1], count // 3)
    families = {pair.pruned.family for pair in lost}
    kept = [pair for pair in pairs if pair.pruned.score >= 1]
    kept.sort(
        key=lambda pair: pair.pruned.family in families
    )  # stable: families not shown yet come first
    return [*_one_per_family(kept, count - len(lost)), *lost]


def draw_example(number: int, chosen: Chosen, item: Item, grid: Grid) -> Example:
    """The strip of a chosen question."""
    asked = {token for group in item.relevant or () for token in group}
    return Example(
        chosen, draw_retention(number, item.pictures[0](), grid, chosen.pruned.kept, asked)
    )


def _condition(results: Results) -> str | None:
    rows = [row for row in results.rows if row.condition.method == TRANSPRUNE]
    rows = rows or [row for row in results.rows if row.condition.group == "methods"]
    rows.sort(key=lambda row: row.exact_share)
    return rows[len(rows) // 2].condition.name if rows else None


def _one_per_family(pairs: Sequence[Chosen], count: int) -> list[Chosen]:
    """The first of each family, then the second of each, until there are enough."""
    turns: dict[str, int] = {}
    ranked = []
    for place, pair in enumerate(pairs):
        turn = turns[pair.pruned.family] = turns.get(pair.pruned.family, -1) + 1
        ranked.append((turn, place, pair))
    ranked.sort(key=lambda entry: entry[:2])
    return [pair for _, _, pair in ranked[:count]]
