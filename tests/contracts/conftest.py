"""Which contracts run every time, and which only with the whole product of methods and families.

What a method does hardly depends on the family, and the other way round. So every method runs on one
family, and every family with a few methods that between them take each path through the runtime. The
rest of the product is marked `slow` and runs with `make test-all`. The quick part therefore grows as
methods + families.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from methods.cases import PROBES

HERE = Path(__file__).parent
FAMILY, ATTENTION = "llava", "sdpa"


def is_quick(case: str, family: str, attention: str) -> bool:
    """Whether a method runs on a family with an attention implementation every time."""
    if family == FAMILY and attention == ATTENTION:
        return True
    return case in PROBES and (family == FAMILY or attention == ATTENTION)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what the command line does not select
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in item.path.parents or not hasattr(item, "callspec"):
            continue
        chosen = item.callspec.params
        if {"case", "family", "attn"} <= set(chosen) and not is_quick(
            chosen["case"], chosen["family"], chosen["attn"]
        ):
            item.add_marker(pytest.mark.slow)
