"""Accuracies measured here, on the bundled model: rows of the table in docs/accuracy.md. Data only.

200 test scenes, 1,796 questions; docs/accuracy.md says how, and what they mean. A blank stands
where a method was not measured at that budget, or could not reach it.
"""

from __future__ import annotations

# exact share of the unpruned prefill, in percent -> column
BUDGETS = (60, 41, 31, 20, 12)

_TABLE = """
divprune:proportional=true | 99.9 | 99.9 | 100.1 | 99.6 | 97.5
transprune-nano            | 100.1 | 99.8 | 99.6 | 99.9 | 99.0
divprune                   | 100.0 | 100.0 | 99.7 | 99.4 | 96.6
vscan                      | 98.4 | 96.6 | 94.4 | 91.2 | 86.2
cdpruner                   | 96.7 | 94.1 | 94.1 | 93.3 | 91.2
vispruner                  | 96.7 | 94.5 | 94.0 | 91.0 | 76.6
tome                       | 94.9 | 92.9 | 92.3 | 80.3 | 65.6
visionzip                  | 97.5 | 90.3 | 87.6 | 79.8 | 65.7
visionzip-288-transprune   | 98.4 | 88.2 | 84.3 | 76.9 | 65.8
cdpruner-288-transprune    | 98.5 | 87.8 | 83.7 | 76.5 | 75.8
prumerge-plus              | 93.3 | 88.2 | 83.2 | 75.2 | 52.0
fastervlm                  | 86.2 | 81.2 | 79.7 | 74.4 | 66.0
transprune-low             |      | 94.0 | 66.5 | 72.1 |
fastv                      | 94.2 | 87.4 | 79.3 | 62.5 | 38.5
sparsevlm                  | 91.5 | 82.3 | 76.1 | 63.8 |
sparsevlm-plus             | 90.6 | 82.7 | 74.7 | 64.8 | 37.8
transprune                 | 99.4 | 92.2 | 56.8 | 68.6 | 39.5
prumerge                   | 75.2 | 68.8 | 66.7 | 61.8 | 53.3
adaptinfer                 | 97.3 | 77.0 | 67.8 | 52.2 | 34.0
pdrop                      | 84.6 | 44.4 | 82.0 | 69.8 | 39.2
"""


def measured_table() -> dict[str, dict[int, float]]:
    """Method -> budget in percent -> accuracy relative to unpruned, 100 is as good."""
    table = {}
    for line in _TABLE.strip().splitlines():
        name, *cells = (cell.strip() for cell in line.split("|"))
        figures = zip(BUDGETS, cells, strict=True)
        table[name] = {budget: float(cell) for budget, cell in figures if cell}
    return table
