"""What the paper prints: one file of `exhibits/` for each table and figure.

TransPrune, Li et al., CVPR 2026, https://arxiv.org/abs/2507.20630, and its supplement. Figures are
texts with all their digits, as printed; `-` where nothing is printed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from transprune.bench.data.typed import build
from transprune.core import strict_json
from transprune.core.plan import UNPRUNED
from transprune.core.schedule import Schedule
from transprune.errors import BenchError
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import resolve
from transprune.registry import did_you_mean

NONE = "-"  # a cell in which the paper prints nothing


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: as the table calls it.
        cells: published figures, one for each column.
        recipe: what runs, or `"unpruned"`; empty where the configuration is not known.
        unknown: why nothing can run; empty if something can.
        inferred: what is not printed and was filled in; empty if nothing was.
        cost: published cost, in the table's unit.
        share: the same in percent of the unpruned one.
        acc: published `Acc.`.
        final: published number of tokens at the end; 0 where none is printed.
        depth: layers that the boundaries of the recipe are written for; 0 for the recipe's own.
        geometry: sizes that the cost is counted for, where they are not the table's.
        milliseconds, gigabytes: published time and memory.
    """

    name: str
    cells: tuple[str, ...]
    recipe: str = ""
    unknown: str = ""
    inferred: str = ""
    cost: str = NONE
    share: str = NONE
    acc: str = NONE
    final: int = 0
    depth: int = 0
    geometry: str = ""
    milliseconds: str = NONE
    gigabytes: str = NONE

    @property
    def unpruned(self) -> bool:
        """Whether it is the model as it is."""
        return self.recipe == UNPRUNED

    def method(self) -> Method | None:
        """What runs; None for the unpruned model.

        Raises:
            BenchError: the configuration is unknown.
        """
        if not self.recipe:
            raise BenchError(f"{self.name}: {self.unknown}")
        if self.unpruned:
            return None

        method: Any = resolve(self.recipe)
        if self.depth:
            # so that a model of another depth gets the boundaries of the same relative depth
            method = replace(method, keep=Schedule(method.keep.keep, depth=self.depth))

        return method


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure of the paper.

    Attributes:
        id: `"table1"`, `"figureS2"`.
        title: what it shows.
        kind: `"accuracy"`, `"timing"` (of answers), `"cost"` (counted only) or `"figure"`.
        model: hub id of its model; empty where none is needed.
        geometry: name of the sizes that its costs are counted for.
        columns: names of its benchmarks.
        rows: of a table, in its order.
        unit: of its cost column: `"T"` (tera MACs) or `"%"` (share of token-layers).
        note: anything a reader should know.
        draws: what a figure draws: `"transitions"`, `"positions"` or `"kept"`.
    """

    id: str
    title: str
    kind: str
    model: str
    geometry: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    unit: str = "T"
    note: str = ""
    draws: str = ""

    @property
    def label(self) -> str:
        """`Table 1`, `Figure S2`."""
        word, number = re.findall(r"table|figure|S?\d+", self.id)
        return f"{word.capitalize()} {number}"


def exhibit_names() -> tuple[str, ...]:
    """All tables, then all figures, in the order of paper and supplement."""
    found = []
    for file in _folder().iterdir():
        if file.name.endswith(".json"):
            found.append(file.name.removesuffix(".json"))
    return tuple(sorted(found, key=_order))


@cache
def read_exhibit(name: str) -> Exhibit:
    """The table or figure of this name, as `"table1"`; case and spaces do not matter.

    Raises:
        BenchError: there is none, with the closest name.
    """
    names = exhibit_names()
    found = {known.lower(): known for known in names}.get(name.lower().replace(" ", ""))
    if found is None:
        raise BenchError(
            f"no table or figure {name!r}.{did_you_mean(name[:100], names)} Known: "
            f"{', '.join(names)}; `transprune reproduce --list` describes them"
        )

    data = strict_json.read((_folder() / f"{found}.json").read_bytes())
    rows = tuple(build(Row, row) for row in data.pop("rows"))
    return build(Exhibit, {"id": found, **data, "rows": rows})


def choose_rows(exhibit: Exhibit, wanted: Sequence[str]) -> tuple[Row, ...]:
    """The rows of these names, in the order of the table; all of them for none.

    Raises:
        BenchError: a name that no row has.
    """
    known = {row.name.lower(): row for row in exhibit.rows}
    for name in wanted:
        if name.lower() not in known:
            hint = did_you_mean(name[:100], [row.name for row in exhibit.rows])
            raise BenchError(
                f"{exhibit.label} has no row {name!r}.{hint} Its rows: "
                f"{', '.join(row.name for row in exhibit.rows)}"
            )

    chosen = {name.lower() for name in wanted}
    return tuple(row for row in exhibit.rows if not chosen or row.name.lower() in chosen)


def check_plan(name: str, rows: Sequence[str], benchmarks: Sequence[str]) -> Exhibit:
    """The table or figure of this name, which has these rows and benchmarks.

    Raises:
        BenchError: there is no such table, row or benchmark.
    """
    exhibit = read_exhibit(name)
    choose_rows(exhibit, rows)
    # nothing is asked for a table of costs
    if exhibit.kind != "cost":
        check_benchmarks(exhibit, benchmarks)
    return exhibit


def check_benchmarks(exhibit: Exhibit, wanted: Sequence[str]) -> None:
    """Refuse names that are no columns of a table.

    Raises:
        BenchError: one that is none; those that are there are named.
    """
    if unknown := [name for name in wanted if name not in exhibit.columns]:
        raise BenchError(
            f"{exhibit.label} has no benchmark {', '.join(unknown)}; it has "
            f"{', '.join(exhibit.columns)}"
        )


def _folder() -> Any:
    return files("transprune.reproduce") / "exhibits"


def _order(name: str) -> tuple[bool, bool, int]:
    """Tables before figures, the paper before its supplement."""
    number = re.search(r"\d+", name)
    assert number is not None
    return name.startswith("figure"), "S" in name, int(number.group())
