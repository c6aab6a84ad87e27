"""What a family refuses, and the words of the error: the contracts expect them, and docs/support.md quotes them.

A pair that is in no table here must work; one that is must raise exactly this.
"""

from __future__ import annotations

from collections.abc import Mapping

from transprune.methods import Method

# family -> what it refuses -> words of the error. What: a method, a mode of `test_contract_modes`, or
# something that methods read: "vision" (signals of the tower), "picture", "attention"
REFUSES: Mapping[str, Mapping[str, str]] = {}


def refusal(family: str, item: str, method: Method | None = None) -> str | None:
    """The words in which the family refuses a method or mode, or None."""
    table = REFUSES.get(family, {})
    for name in (item, *(_reads(method) if method is not None else ())):
        if name in table:
            return table[name]
    return None


def _reads(method: Method) -> list[str]:
    """What the steps of a method read, by the names of the table."""
    names = []
    for step in method.steps:
        signals = step.reads.vision
        names += [
            name
            for name, wanted in {
                "picture": "picture" in signals,
                "vision": bool(signals),
                "attention": step.reads.rows is not None,
            }.items()
            if wanted
        ]
    return names
