"""One small run and its report, made once per session."""

from __future__ import annotations

import shutil

import pytest

from report.pages import Page
from report.runs import add_costs, make_run
from transprune.cli.guard import quiet_libraries
from transprune.report.build import build_report

METHODS = ("transprune", "fastv", "transprune-iga", "pdrop", "random", "oracle")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run: 4 scenes, six methods, two budgets, measured costs. Never changed."""
    with quiet_libraries(bars=False):
        folder = make_run(
            tmp_path_factory.mktemp("bench") / "run", n=4, methods=METHODS, budgets=(0.41, 0.2)
        )
    add_costs(folder, ("unpruned", "transprune@41"))
    return folder


@pytest.fixture(scope="session")
def report(run, tmp_path_factory):
    """The report of that run."""
    with quiet_libraries(bars=False):
        return build_report(
            run,
            tmp_path_factory.mktemp("report") / "a b",
            examples=3,
            command="transprune report RUN",
        )


@pytest.fixture
def run_copy(run, tmp_path):
    """The run in a folder that may be damaged."""
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture(scope="session")
def page(report):
    """The page of that report, parsed."""
    return Page(report.page.read_text(encoding="utf-8"))
