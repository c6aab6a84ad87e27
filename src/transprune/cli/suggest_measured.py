"""Accuracies measured here, on the bundled model: the rows of docs/accuracy.md.

200 test scenes, 1,796 questions; docs/accuracy.md says how, and what they mean. A method or a
budget is absent where it was not measured, or could not be reached. `benchmarks/accuracy_page.py`
writes the figures, from a finished run.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

FILE = "suggest_measured.json"


@cache
def measured_table() -> dict[str, dict[int, float]]:
    """Method -> budget in percent -> accuracy relative to unpruned, 100 is as good."""
    text = files("transprune.cli").joinpath(FILE).read_text(encoding="utf-8")

    table = {}
    for method, figures in json.loads(text).items():
        table[method] = {int(budget): accuracy for budget, accuracy in figures.items()}
    return table
