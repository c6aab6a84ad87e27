"""The log of a training stage: one JSON line every few steps."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

Metrics = dict[str, float]


class Log:
    """Means of the metrics since the last line; a resumed run logs no step twice.

    Args:
        file: the log, `<stage>.jsonl`; lines behind the checkpoint are removed from it.
        first: finished steps at the checkpoint.
    """

    def __init__(self, file: Path, first: int) -> None:
        self._file = file
        self._step = first
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._start = time.monotonic()

        lines: list[str] = []
        if file.exists():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()

        # steps after the checkpoint will be trained, and logged, again
        kept = [line for line in lines if _step_of(line) <= first]
        self._seconds_before = json.loads(kept[-1]).get("seconds", 0.0) if kept else 0.0
        file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def add(self, step: int, metrics: Metrics) -> None:
        """Add the metrics of one step; NaN stands for a metric that the step did not measure."""
        self._step = step

        for name, value in metrics.items():
            if not math.isnan(value):
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1

    def write(self) -> Metrics:
        """Write and return the means since the last line; without new steps, nothing is written."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        if not means:
            return means

        seconds = self._seconds_before + time.monotonic() - self._start
        line = {"step": self._step, "seconds": round(seconds, 1)}
        for name, value in means.items():
            line[name] = round(value, 5)

        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

        self._sums = {}
        self._counts = {}
        return means


def read_log(file: Path) -> list[dict[str, Any]]:
    """Read the lines of a log, without the half line that a killed run may leave at the end."""
    lines = []
    for text in file.read_bytes().splitlines():
        line = _parse(text)
        if line is not None:
            lines.append(line)
    return lines


def _parse(text: bytes | str) -> dict[str, Any] | None:
    """The metrics of a line by name; None for anything else than an object of numbers."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None

    if not isinstance(line, dict) or "step" not in line:
        return None

    numeric = all(type(value) in (int, float) for value in line.values())
    return line if numeric else None


def _step_of(line: str) -> float:
    """The step of a log line; infinite for half a line, so that it is dropped."""
    found = _parse(line)
    return math.inf if found is None else float(found["step"])
