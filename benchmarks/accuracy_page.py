"""From a finished run to the figures that are printed: the page of its model.

    make bench ARGS=--no-bill
    python -m benchmarks.accuracy_page out/accuracy

Rewrites the tables between the marks of docs/accuracy.md or docs/smol_accuracy.md; the second has
all costs, too. A run of the bundled model also makes the excerpt in README.md and the figures of
`transprune suggest`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import Condition
from transprune.bench.data.records import read_run
from transprune.bench.results.summary import Row, summarise
from transprune.bench.run.ablations import ablations
from transprune.bench.run.trials import ABLATION
from transprune.cli.suggest_settings import candidates
from transprune.core.plan import UNPRUNED
from transprune.methods.common.recipe_build import from_dict
from transprune.nano import NANO
from transprune.smol import SMOL

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FIGURES = ROOT / "src/transprune/cli/suggest_measured.json"

BUDGETS = (0.60, 0.41, 0.31, 0.20, 0.12)
MINUS = "\N{MINUS SIGN}"
JOINED = "\N{NO-BREAK SPACE}"  # a mark stays beside its number
SIGNS = {"better": f"{JOINED}+", "worse": f"{JOINED}{MINUS}", "unclear": ""}
OF_THE_PAPER = {"worse": "ahead", "better": "**behind**", "unclear": "cannot tell"}

# of the many rows, those that a first page has room for
EXCERPT = (
    "oracle-0",
    "transprune-nano",
    "divprune",
    "asymvlm",
    "fastv",
    "transprune",
    "random",
)

Table = dict[str, dict[float, Row]]


@dataclass(frozen=True)
class Page:
    """Where the tables of a model stand.

    Attributes:
        file: the page.
        ordered_by: budget whose accuracies order the rows; a row without it takes its nearest one.
        fewest: budgets that a row needs.
        costs_at: budget of the table with all costs; without one the page has no such table.
    """

    file: Path
    ordered_by: float
    fewest: int
    costs_at: float | None = None


PAGES = {
    # ordered where methods differ most; a variant at fewer budgets shares its other rows with another
    NANO: Page(ROOT / "docs/accuracy.md", ordered_by=0.20, fewest=3),
    # most methods ran at two budgets
    SMOL: Page(ROOT / "docs/smol_accuracy.md", ordered_by=0.41, fewest=1, costs_at=0.41),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of `transprune bench`")
    run = read_run(parser.parse_args().run)

    rows = summarise(run)
    if unfinished := [row.condition.name for row in rows if not row.complete]:
        raise SystemExit(f"not finished, so not printed: {', '.join(unfinished)}")

    model = run.manifest.settings.model
    if model not in PAGES:
        raise SystemExit(f"a run of {model} has no page; {' and '.join(PAGES)} have")

    page = PAGES[model]
    table = method_table(rows, page)
    write_between(page.file, "table", method_lines(table, table))
    write_between(page.file, "ablations", ablation_lines(rows, run.manifest.geometry["layers"]))

    if page.costs_at is not None:
        write_between(page.file, "costs", cost_lines(rows, page.costs_at))
        write_between(page.file, "own", cost_lines(rows, None))

    if model == NANO:
        write_between(README, "accuracy", method_lines(table, EXCERPT))
        FIGURES.write_text(json.dumps(figures(table), indent=1) + "\n", encoding="utf-8")


def method_table(rows: Iterable[Row], page: Page) -> Table:
    """Method -> budget -> row, the most accurate first."""
    table: Table = {}
    for row in rows:
        condition = row.condition
        if condition.budget in BUDGETS and not condition.group.startswith(ABLATION):
            table.setdefault(condition.method, {})[condition.budget] = row

    entries = [entry for entry in table.items() if len(entry[1]) >= page.fewest]
    return dict(sorted(entries, key=lambda entry: -_rank(entry[1], page.ordered_by)))


def _rank(cells: Mapping[float, Row], ordered_by: float) -> float:
    """The accuracy at the reached budget that is nearest; behind all others where none was."""
    reached = [budget for budget, row in cells.items() if row.condition.reached]
    nearest = min(reached, key=lambda budget: abs(budget - ordered_by), default=None)
    return 0.0 if nearest is None else cells[nearest].relative.value


def method_lines(table: Table, names: Iterable[str]) -> list[str]:
    """The table of methods and budgets, in Markdown."""
    lines = _heading("method", *(f"{100 * budget:.0f} %" for budget in BUDGETS))
    for name in names:
        cells = [_cell(table[name].get(budget)) for budget in BUDGETS]
        # a long recipe may break behind a comma
        lines.append(_line(name.replace(",", ", "), *cells))
    return lines


def _cell(row: Row | None) -> str:
    if row is None:
        return ""

    accuracy = f"{row.relative.value:.1f}"
    # at another cost than TransPrune's nothing is better or worse
    if not row.condition.reached:
        return f"{accuracy}{JOINED}† {100 * row.exact_share:.0f}{JOINED}%"
    if row.against_transprune is None:
        return accuracy
    return accuracy + SIGNS[row.against_transprune.verdict]


def cost_lines(rows: Sequence[Row], budget: float | None) -> list[str]:
    """Methods at a budget, or with their own settings: intervals, tasks and costs, in Markdown."""
    chosen = []
    for row in rows:
        condition = row.condition
        if condition.budget == budget and not condition.group.startswith((UNPRUNED, ABLATION)):
            chosen.append(row)

    tasks = [score.task for score in rows[0].tasks]
    costs = ("exact", "paper's count", "keys and values")
    lines = _heading("method", "positions", "`Acc.`", *tasks, *costs)
    for row in sorted(chosen, key=lambda row: -row.relative.value):
        found = row.relative
        accuracy = f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]"
        scores = [f"{score.score.value:.0f}" for score in row.tasks]
        shares = (row.exact_share, row.paper_share, row.kv_share)
        percents = [f"{100 * share:.1f} %" for share in shares]
        positions = "anew" if renumbers(row.condition) else "kept"
        lines.append(_line(row.condition.method, positions, accuracy, *scores, *percents))
    return lines


def renumbers(condition: Condition) -> bool:
    """Whether the tokens that stay are counted anew; the oracles keep their positions."""
    if condition.recipe is None:
        return False
    return any(step.policy == "renumber" for step in from_dict(condition.recipe).steps)


def ablation_lines(rows: Sequence[Row], layers: int) -> list[str]:
    """Each change of TransPrune with its difference, in Markdown."""
    known = {row.condition.method: row for row in rows}
    lines = _heading("change", "difference", "the paper's choice is")

    for group, variants in ablations(layers).items():
        for variant in variants:
            row = known.get(f"transprune/{variant}")
            if row is None or row.against_transprune is None:
                continue  # the paper's own choice, which is the row of TransPrune

            difference = row.against_transprune
            words = f"{difference.value:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"
            dagger = "" if row.condition.reached else f" (costs {100 * row.exact_share:.0f} %)"
            verdict = OF_THE_PAPER[difference.verdict]
            lines.append(_line(f"{group}: `{variant}`{dagger}", words.replace("-", MINUS), verdict))
    return lines


def figures(table: Table) -> dict[str, dict[str, float]]:
    """Method -> percent -> accuracy, of what `suggest` offers; only budgets that were reached."""
    offered = {*candidates(bundled=True)}
    found: dict[str, dict[str, float]] = {}
    for name, cells in table.items():
        if name not in offered:
            continue
        reached: dict[str, float] = {}
        for budget, row in cells.items():
            if row.condition.reached:
                reached[f"{100 * budget:.0f}"] = round(row.relative.value, 1)

        if reached:
            found[name] = reached
    return found


def write_between(page: Path, mark: str, lines: Sequence[str]) -> None:
    """Replace what stands between the two comments of a mark."""
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {mark}: .*?-->\n).*?(<!-- end of {mark} -->)", re.S)

    table = "".join(f"{line}\n" for line in lines)
    new, count = pattern.subn(lambda found: found[1] + table + found[2], text)
    if count != 1:
        raise SystemExit(f"{page} has {count} places for the {mark}, expected one")
    page.write_text(new, encoding="utf-8")


def _heading(*names: Any) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
