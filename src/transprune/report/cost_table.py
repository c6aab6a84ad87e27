"""The table of measured costs, as plain text cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from transprune.report.costs import CostRow
from transprune.report.phrases import MISSING, percent

# without the first, the condition; a share is relative to the quantity before it, unpruned
COST_COLUMNS = (
    "prefill work, visual tokens (paper)",
    "share",
    "prefill work, all tokens (exact)",
    "share",
    "prefill time",
    "of unpruned",
    "time per new token",
    "of unpruned",
    "keys and values (K/V)",
    "share",
    "peak memory",
    "share",
)


def cost_table(costs: Iterable[CostRow]) -> list[dict[str, Any]]:
    """Measured costs, one row per condition; `-` where a value is missing."""
    return [{"name": row["condition"], "cells": _cost_cells(row)} for row in costs]


def _cost_cells(row: CostRow) -> list[str]:
    paper = row["paper"]
    exact = row["exact"]
    # ratios and memory are optional in the format, and may be null
    prefill_ratio = row.get("prefill_ratio") or {}
    decode_ratio = row.get("decode_ratio") or {}

    # in the order of COST_COLUMNS
    return [
        _amount(paper.get("prefill"), paper.get("unit", "MACs")),
        percent(paper.get("prefill_share")),
        _amount(exact.get("prefill"), exact.get("unit", "FLOPs")),
        percent(exact.get("prefill_share")),
        _milliseconds(row.get("prefill_ms")),
        percent(prefill_ratio.get("median")),
        _milliseconds(row.get("decode_ms")),
        percent(decode_ratio.get("median")),
        _bytes(row.get("kv_bytes")),
        percent(row.get("kv_share")),
        _bytes(row.get("peak_bytes")),
        percent(row.get("peak_share")),
    ]


def _milliseconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g} ms"


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return MISSING
    for letter, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:.0f} {unit}"


def _bytes(value: float | None) -> str:
    if value is None:
        return MISSING
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
