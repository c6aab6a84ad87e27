"""Read those answers of a run that are needed: a run of everything has half a million."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from transprune.bench.data.manifest import Condition, Manifest, read_manifest
from transprune.bench.data.records import RECORDS_FILE, Record, Run
from transprune.core import strict_json
from transprune.core.plan import UNPRUNED
from transprune.errors import RecordError

NEAR = 0.01  # a method is at a cost if it is within a point of it, as budgets are met

# a method, the share of the unpruned prefill, and the convention by which it is counted
MethodAt = tuple[str, float, str]

# how `Record.to_json` begins a line
_BEGINNING = re.compile(rb'\{"condition":("(?:[^"\\]|\\.)*")')


def is_at(condition: Condition, wanted: MethodAt) -> bool:
    """Whether a condition runs this method at about this cost."""
    method, share, convention = wanted
    cost = condition.exact_share if convention == "exact" else condition.paper_share
    return method in (condition.method, *condition.also) and abs(cost - share) <= NEAR


def read_chosen(folder: Path, wanted: Collection[MethodAt]) -> Run:
    """The answers of the unpruned model, and of all conditions that are wanted.

    Args:
        folder: of `transprune bench`.
        wanted: methods at costs, with names as in the run, variants included.

    Raises:
        RecordError: no run, a damaged line, or a condition without all its answers.
    """
    manifest = read_manifest(folder)
    names = {UNPRUNED}
    for condition in manifest.conditions:
        if any(is_at(condition, one) for one in wanted):
            names.add(condition.name)

    records = list(_read(folder / RECORDS_FILE, names))
    _check_complete(folder, manifest, records, names)
    return Run(folder, manifest, records)


def _read(file: Path, wanted: Collection[str]) -> Iterator[Record]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                # a killed run leaves one incomplete line, at the end
                if not line.endswith(b"\n"):
                    return
                try:
                    if _condition(line) in wanted:
                        yield Record.from_json(line)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise RecordError(
                        f"{file}, line {number} is not a record ({error!r})"
                    ) from error
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror or error}") from error


def _condition(line: bytes) -> str:
    """The condition of a line, without reading all of it where that can be avoided."""
    found = _BEGINNING.match(line)
    data = strict_json.read(found[1]) if found else strict_json.read(line)["condition"]
    return str(data)


def _check_complete(
    folder: Path, manifest: Manifest, records: Collection[Record], wanted: Collection[str]
) -> None:
    """Raise RecordError for answers that are missing or there twice."""
    expected = sum(task.items for task in manifest.tasks)
    keys = {record.key for record in records}
    if len(keys) != len(records):
        raise RecordError(f"{folder}: {len(records) - len(keys)} questions are answered twice")

    counts = Counter(record.condition for record in records)
    for name in sorted(wanted):
        if counts[name] != expected:
            raise RecordError(
                f"{folder}: {name} has {counts[name]} of {expected} answers; continue the run with "
                "the same command"
            )
