"""Measured costs of a run, as `transprune bench --bill` wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transprune.core.shown import shown
from transprune.core.strict_json import read
from transprune.errors import RecordError

NUMBERS = ("prefill_ms", "decode_ms", "kv_bytes", "kv_share", "peak_bytes", "peak_share")
COUNTS = ("paper", "exact")  # work by the two conventions
LARGEST = 1e30
RATIOS = ("prefill_ratio", "decode_ratio")

CostRow = dict[str, Any]


def read_costs(folder: Path) -> tuple[tuple[CostRow, ...] | None, dict[str, Any]]:
    """Rows and setup of the measured costs of a run; (None, {}) where they were not measured.

    Raises:
        RecordError: the file is damaged or of a newer schema.
    """
    # late: measuring needs transformers, which takes seconds to import
    from transprune.bench.measure.costs import COSTS_FILE, COSTS_SCHEMA

    file = folder / COSTS_FILE
    if not file.exists():
        return None, {}

    try:
        data = read(file.read_bytes())
        schema = data["schema"]  # checked below, once the file is known to be whole
        rows = tuple(_checked(row) for row in data["rows"])
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise RecordError(
            f"{file} holds no measured costs: {error} is missing; measure them again with --bill"
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise RecordError(f"{file} is damaged: {error}; measure it again with --bill") from error

    if not isinstance(schema, int) or schema > COSTS_SCHEMA:
        raise RecordError(f"{file} has schema {schema}; this release reads up to {COSTS_SCHEMA}")

    setup = {key: value for key, value in data.items() if key != "rows"}
    return rows, setup


def _checked(row: CostRow) -> CostRow:
    """The row, if its table can be made of it; every key but four is optional.

    Raises:
        KeyError, TypeError, ValueError: it cannot.
    """
    for key in ("condition", "prefill_ms", *COUNTS):
        if row[key] is None:
            raise ValueError(f"{key} of {row.get('condition')} is null")

    for key in NUMBERS:
        _check_number(key, row.get(key))

    for key in (*COUNTS, *RATIOS):
        part = row.get(key)
        if part is None:
            continue
        if not isinstance(part, Mapping):
            raise TypeError(f"{key} has to be an object; got {part!r}")

        for name, value in part.items():
            if name != "unit":
                _check_number(f"{key}, {name}", value)
    return dict(row)


def _check_number(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} has to be a number or null; got {shown(value)}")
    if not -LARGEST < value < LARGEST:  # a larger whole number has no float
        raise ValueError(f"{name} is too large a number")
