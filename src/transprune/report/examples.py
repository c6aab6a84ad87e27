"""Which questions are shown as examples, chosen by a rule that does not flatter any method.

The condition is TransPrune at the middle of the run's budgets, or the first method where TransPrune
did not run. Of the questions that the unpruned model answers right, up to a third of the examples
are ones that the pruned model gets wrong, the rest ones that it still gets right. Within both
groups the categories of questions take turns, in the order of the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transprune.bench.data.records import Record
from transprune.bench.data.tasks import Item
from transprune.bench.results.summary import TRANSPRUNE
from transprune.core.plan import UNPRUNED
from transprune.report.figures.retention import draw_retention
from transprune.report.kept_panels import KeptPanel, kept_panels
from transprune.report.overlay import Grid
from transprune.report.picture import Picture
from transprune.report.results import Results


@dataclass(frozen=True)
class AnswerPair:
    """The answers of the unpruned and of the pruned model to one question."""

    unpruned: Record
    pruned: Record

    @property
    def right(self) -> bool:
        """Whether the pruned model answers right."""
        return self.pruned.score >= 1

    @property
    def category(self) -> str:
        """The category of the question."""
        return self.pruned.family  # its name in the record format


@dataclass(frozen=True)
class Example:
    """A chosen question with its figure.

    Attributes:
        pair: the question with both answers.
        picture: the figure, for its file.
        panels: the same for the page.
    """

    pair: AnswerPair
    picture: Picture
    panels: tuple[KeptPanel, ...]

    @property
    def verdict(self) -> str:
        """Whether the pruned model still answers right, in words."""
        return "still right" if self.pair.right else "wrong after pruning"


def choose_examples(results: Results, count: int) -> list[AnswerPair]:
    """Up to `count` questions that the unpruned model answers right."""
    condition = _example_condition(results)
    if condition is None or count < 1:
        return []

    right: list[AnswerPair] = []
    wrong: list[AnswerPair] = []
    unpruned = results.answers(UNPRUNED)
    for question, record in results.answers(condition).items():
        answered = unpruned.get(question)
        # without any stage (`kept` is empty) there is nothing to draw
        if answered is None or answered.score < 1 or not record.kept:
            continue
        pair = AnswerPair(answered, record)
        if pair.right:
            right.append(pair)
        else:
            wrong.append(pair)

    shown_wrong = _take_turns(wrong, count // 3)

    # categories that are not shown yet come first; the sort is stable
    shown_categories = {pair.category for pair in shown_wrong}
    right.sort(key=lambda pair: pair.category in shown_categories)
    return [*_take_turns(right, count - len(shown_wrong)), *shown_wrong]


def draw_example(number: int, pair: AnswerPair, item: Item, grid: Grid) -> Example:
    """The strip of a chosen question: its image, and the tokens kept at each stage."""
    target = {token for tokens in item.relevant or () for token in tokens}
    image = item.pictures[0]()
    kept = pair.pruned.kept

    picture = draw_retention(number, image, grid, kept, target)
    return Example(pair, picture, kept_panels(image, grid, kept, target))


def _example_condition(results: Results) -> str | None:
    rows = [row for row in results.rows if row.condition.method == TRANSPRUNE]
    if not rows:
        rows = [row for row in results.rows if row.condition.group == "methods"]
    if not rows:
        return None

    rows.sort(key=lambda row: row.exact_share)  # cheapest first
    return rows[len(rows) // 2].condition.name


def _take_turns(pairs: Sequence[AnswerPair], count: int) -> list[AnswerPair]:
    """The first pair of each category, then the second of each, until there are `count`."""
    seen: dict[str, int] = {}
    rounds: list[tuple[int, AnswerPair]] = []
    for pair in pairs:
        number = seen.get(pair.category, 0)
        seen[pair.category] = number + 1
        rounds.append((number, pair))

    rounds.sort(key=lambda entry: entry[0])  # stable: otherwise in the order of the run
    return [pair for _, pair in rounds[:count]]
