"""`pytest --support FILE`: what the contract tests of all families showed, one line per cell of the support matrix.

A test notes its cell with `record_property("support", {...})`, as `families.contract.declared` does; its outcome is
added here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

OPTION = "--support"
NAME = "support"


class Recorder:
    """Collects the cells of all tests, also of those that other processes ran."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        cells = [value for name, value in report.user_properties if name == NAME]
        for cell in cells:
            why = report.longrepr[2] if report.skipped else ""
            self.cells.append({**cell, "outcome": report.outcome, "why": why})

    def pytest_sessionfinish(self) -> None:
        """Write the cells, and keep what the file says of methods and modes that did not run now."""
        ran = {key_of(cell) for cell in self.cells}
        kept = [cell for cell in read(self.path) if key_of(cell) not in ran]
        lines = sorted(json.dumps(cell, sort_keys=True) for cell in [*kept, *self.cells])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")


def key_of(cell: dict[str, Any]) -> tuple[str, str, str]:
    """Family, kind and item."""
    return cell["family"], cell["kind"], cell["item"]


def read(path: Path) -> list[dict[str, Any]]:
    """The cells of a file; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def add_option(parser: pytest.Parser) -> None:
    """The option itself."""
    parser.addoption(OPTION, type=Path, help="write what the contract tests showed to a file")


def start(config: pytest.Config) -> None:
    """Collect, where the option asks for it."""
    path = config.getoption(OPTION)
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist: its parent gets all reports
    if path is not None and not is_worker:
        config.pluginmanager.register(Recorder(path), "support-recorder")
