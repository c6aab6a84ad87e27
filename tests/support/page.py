"""Write docs/support.md from what `pytest --support FILE` recorded: `python -m support.page FILE PAGE`.

A cell says what was run, or with a number why it was refused, or that nobody tried. Nothing is filled in by hand.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.record import read

TESTED, FAILS, UNTESTED = "✓", "✗", "·"
ATTENTIONS = {"eager", "sdpa"}

HEAD = """# What works with which model

Every cell of this page was written by the contract tests (`make support`), on tiny random models of the
true Hugging Face classes, float32, on a CPU: what a pruned model computes is compared with a slow
replay of its layers on the tokens that stay, at prefill and at every decode step. It says that pruning
computes what it should, and nothing of how good the answers of a real checkpoint are.

`✓` tested with eager attention and SDPA (the modes: with SDPA); `✓ sdpa`, `✓ eager` with that only; a
number: refused, with the reason below; `·` not tested; `✗` does not work today.

{summary}
Recorded with {versions}.
"""

METHODS_HEAD = """
## Methods

How each is set up stands in `tests/methods/cases.py`; ragged, left-padded batches of prompts with one
and two pictures, nine tokens, and the replay told which tokens stay, what they became, what their keys
weigh and which layers were frozen.
"""

MODES_HEAD = """
## Modes

Greedy runs cover keep-all to the bit and pruned logits, with boundaries from 0 to the last layer, for
one prompt with two pictures, even, level and ragged batches, positions kept and (where they have a
definition) renumbered. Attention rows are those that a method reads, against eager maps.
"""

OTHER = """
## Not in these tables

Not run at all: FlashAttention kernels, several devices, tensor parallelism, bitsandbytes, real
checkpoints. In tests of their own, for the families named there: videos, compiled decoding, further
training settings (`tests/families/test_*video*.py`, `tests/runtime`), layers that read the keys of
earlier ones (Gemma 4 E2B and E4B, `tests/families/test_gemma4.py`), GOT-OCR
2, PaliGemma and Kimi K2.5 (`tests/families/test_embedded.py`), models of no listed type
(`tests/families/test_generic.py`), and recurrent layers in float64
(`tests/families/test_contract_recurrent.py`).
"""


@dataclass
class Page:
    """The recorded cells, and the reasons in the order in which they are first quoted."""

    cells: list[dict[str, Any]]
    reasons: list[str] = field(default_factory=list)

    def cell(self, family: str, kind: str, item: str) -> str:
        """What the table says of one method or mode on one family."""
        found = [
            cell
            for cell in self.cells
            if (cell["family"], cell["kind"], cell["item"]) == (family, kind, item)
        ]
        if any(cell["outcome"] == "failed" for cell in found):
            return FAILS
        passed = [cell for cell in found if cell["outcome"] == "passed"]
        refused = {cell["refused"] for cell in passed if cell["refused"]}
        if not passed:
            refused = {cell["why"].removeprefix("Skipped: ") for cell in found}
        if refused:
            return ", ".join(self.number(reason) for reason in sorted(refused))
        if not passed:
            return UNTESTED
        ran = {cell["attention"] for cell in passed}
        whole = ran >= ATTENTIONS or kind == "mode"
        return TESTED if whole else f"{TESTED} {', '.join(sorted(ran))}"

    def number(self, reason: str) -> str:
        """The number under which a reason is listed."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        return str(self.reasons.index(reason) + 1)

    def table(self, kind: str, families: Sequence[str], items: Sequence[str]) -> str:
        """One row per family, one column per method or mode."""
        rows = [["model type", *items]]
        for family in families:
            rows.append([label(family), *(self.cell(family, kind, item) for item in items)])
        return "\n".join(_lines(rows))

    def summary(self) -> str:
        """How many cells there are of each kind."""
        counts = Counter(
            self.cell(family, kind, item)[0]
            for family in families()
            for kind, items in (("method", methods()), ("mode", modes()))
            for item in items
        )
        refused = sum(count for cell, count in counts.items() if cell.isdigit())
        self.reasons.clear()
        return (
            f"{counts[TESTED]} cells are tested, {refused} refused, {counts[UNTESTED]} not tested, "
            f"{counts[FAILS]} do not work."
        )

    def listed_reasons(self) -> str:
        """The reasons by their numbers."""
        lines = [f"{number}. {reason}" for number, reason in enumerate(self.reasons, start=1)]
        return "\n## Refused\n\n" + ("\n".join(lines) if lines else "Nothing.") + "\n"


def _lines(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """A Markdown table; the first row is its head."""
    head, *body = rows
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in body:
        yield "| " + " | ".join(row) + " |"


def families() -> list[str]:
    """All registered families, and further models that the tests build."""
    from families.cases import MODELS
    from transprune.families.base import FAMILIES

    # those of no type of their own are found by their shape, and stand for all others
    listed = [name for name in FAMILIES if not FAMILIES.get(name).__module__.endswith(".generic")]
    return sorted({*listed, *MODELS})


def label(name: str) -> str:
    """The model type and the family's name for people; a variant under test has none."""
    from transprune.families.base import FAMILIES

    title = FAMILIES.get(name).title if name in set(FAMILIES) else "a variant"
    return f"`{name}` {title}"


def methods() -> list[str]:
    """All methods of this library."""
    from methods.cases import METHODS

    return sorted(METHODS)


def modes() -> list[str]:
    """What else the contracts try, the plainest first."""
    from families.test_contract_modes import MODES, TABLES

    order = [table.__name__ for table in TABLES]
    names = sorted(MODES, key=lambda name: order.index(MODES[name].__module__))
    rows = [f"attention rows, {source} layer" for source in ("next", "previous")]
    return ["greedy", *rows, *names]


def write(cells: list[dict[str, Any]], versions: str) -> str:
    """The page."""
    page, names = Page(cells), families()
    parts = [
        HEAD.format(versions=versions, summary=page.summary()),
        METHODS_HEAD,
        page.table("method", names, methods()),
        MODES_HEAD,
        page.table("mode", names, modes()),
        page.listed_reasons() + OTHER,
    ]
    return "\n".join(parts)


def main(source: str, target: str) -> None:
    """Read the recorded cells and write the page."""
    import torch
    import transformers

    cells = read(Path(source))
    versions = f"torch {torch.__version__} and transformers {transformers.__version__}"
    Path(target).write_text(write(cells, versions), encoding="utf-8")
    failed = sorted({f"{c['family']}: {c['item']}" for c in cells if c["outcome"] == "failed"})
    print(f"{target}: {len(cells)} cells" + "".join(f"\nfails: {line}" for line in failed))


if __name__ == "__main__":
    main(*sys.argv[1:])
