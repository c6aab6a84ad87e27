"""The benchmark of the overhead in miniature: its parts, what it writes, and what it draws."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from transprune.errors import BenchError, UnknownMethod

# the benchmark belongs to the repository, not to the package
sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.overhead import __main__ as command
from benchmarks.overhead import growth
from benchmarks.overhead.beside_reference import measure_ratio
from benchmarks.overhead.bundled import measure_nano
from benchmarks.overhead.figure import draw
from benchmarks.overhead.host import measure_host
from benchmarks.overhead.kernels import measure_kernels
from benchmarks.overhead.model import Shape, padded_share
from benchmarks.overhead.report import latest
from benchmarks.overhead.rows import Row, count_row, provenance, read_rows, write_row
from benchmarks.overhead.settings import METHODS, chosen_methods
from benchmarks.overhead.tables import console_tables, markdown_table

# deep enough for every boundary of TransPrune-High
SMALL = Shape(layers=14, hidden=32, intermediate=32, heads=2, grid=4)


def row(**changes):
    values = {"group": "prefill", "what": "fastv", "value": 3.0, "base": 2.0, "unit": "ms"}
    return Row(**{**values, "ratio": 1.5, **changes})


# -------------------------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({"limit": None}, ""),
        ({"limit": 1.6}, "met"),
        ({"limit": 1.4}, "missed"),
        ({"limit": 1.6, "minima": 1.7}, "open"),
        ({"limit": 1.4, "minima": 1.7}, "missed"),
    ],
)
def test_verdicts(figures, verdict):
    measured = row(**figures)
    assert measured.verdict == verdict
    assert measured.because("it is slow").reason == (
        "it is slow" if verdict in ("missed", "open") else ""
    )


def test_rows_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "host.jsonl"
    rows = [row(), count_row("batch 1", "fastv", 4, 2, "operations", limit=1.15)]
    for one in rows:
        write_row(file, one, provenance("host", 3))

    read = list(read_rows(file))
    assert [one for one, _ in read] == rows
    source = read[0][1]
    assert source["rounds"] == 3 and source["versions"]["torch"] == torch.__version__
    assert list(read_rows(tmp_path / "nothing.jsonl")) == []


def test_the_last_measurement_of_a_row_counts(tmp_path):
    file = tmp_path / "host.jsonl"
    for value, what in ((1.0, "fastv"), (2.0, "pdrop"), (3.0, "fastv")):
        write_row(file, row(value=value, what=what), provenance("host", 3))

    rows, sources = latest(file)
    assert [(one.what, one.value) for one in rows] == [("fastv", 3.0), ("pdrop", 2.0)]
    assert len(sources) == 1


def test_tables_show_every_row_and_the_reasons():
    missed = row(limit=1.15, minima=1.4, low=1.3, high=1.6).because("most in runtime/x.py")
    rows = [missed, row(group="decode step", what="pdrop")]

    text = markdown_table(rows)
    assert (
        "| prefill | fastv | 3.00 ms | 2.00 ms | 1.500 | 1.400 | 1.300 to 1.600 | 1.150 | missed |"
        in text
    )
    assert "- prefill, fastv: most in runtime/x.py" in text
    assert [table.title for table in console_tables(rows)] == ["prefill", "decode step"]


# --------------------------------------------------------------------------------------- the parts


def test_host_time_of_every_method():
    rows = list(measure_host(rounds=1, shape=SMALL))
    groups = Counter(one.group for one in rows)
    assert groups["prefill"] == groups["attach, prefill, detach"] == 6
    assert groups["decode step"] == 8

    names = {one.what for one in rows if one.group == "decode step"}
    assert {"transprune-high, renumbered", "transprune-high, kept positions"} < names
    limits = {one.what: one.limit for one in rows if one.group == "prefill"}
    assert limits["transprune-high"] == 1.15 and limits["pdrop"] is None

    parts = [one for one in rows if one.group.startswith("parts")]
    assert parts[0].value == pytest.approx(sum(one.value for one in parts[1:]))


def test_operations_of_three_batches():
    rows = list(measure_kernels(shape=SMALL))
    groups = Counter(one.group for one in rows)
    assert len(groups) == 6 and set(groups.values()) == {6}
    assert all(one.value >= one.base > 100 for one in rows)


def test_ratio_to_the_reference():
    names = ["transprune-high", "fastv"]
    rows = list(measure_ratio(1, names, ["float32"], shape=SMALL))
    found = {(one.group, one.what) for one in rows}

    assert ("float32: prefill / reference", "fastv") in found
    assert ("float32: parts of transprune-high / reference", "sum of parts, gross") in found
    memory = [one for one in rows if one.group == "float32: peak memory / unpruned"]
    assert len(memory) == 2 and all(one.unit == "MiB" for one in memory)


def test_the_bundled_model():
    rows = list(measure_nano(rounds=1, batches=(2,)))
    assert {one.group for one in rows} == {"batch 2: prefill", "batch 2: generate 8 tokens"}
    assert len(rows) == 6


def test_cells_of_growth():
    assert len(growth.CELLS) == 13
    assert {"256x1", "576x4", "2916x8", "2916x8r", "8192x1"} < set(growth.CELLS)
    rounds = {name: growth.rounds_of(cell) for name, cell in growth.CELLS.items()}
    assert (rounds["256x1"], rounds["8192x1"], rounds["2916x8r"]) == (9, 5, 3)

    # a grid of 6, or the texts would differ by less than a token
    ragged = growth.Cell(6, batch=3, ragged=True)
    shape = replace(SMALL, grid=6)
    rows = list(growth.measure_cell(ragged, rounds=1, shape=shape))
    fillers = rows[-1]
    # the longest sample has no fillers, before and behind the boundaries
    lengths = [8 + 32 + sample + 36 for sample in range(3)]
    assert fillers.base == pytest.approx(padded_share(lengths))
    kept = [8 + 32 + sample + 4 for sample in range(3)]  # an eighth of 36, rounded down
    assert fillers.value == pytest.approx(padded_share(kept))


# -------------------------------------------------------------------------------------- the command


def test_growth_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    measured = []

    def measure(cell, rounds):
        measured.append(cell.name)
        yield row(group=cell.name, what=growth.OVER_CONTROL)

    monkeypatch.setattr(growth, "measure_cell", measure)
    options = command.Options(rounds=1, methods=[], dtypes=[], cells=["256x1"])
    first = list(command.measure_part("growth", options, tmp_path))

    more = command.Options(rounds=1, methods=[], dtypes=[], cells=["256x1", "576x1"])
    assert list(command.measure_part("growth", more, tmp_path))[:1] == first
    assert measured == ["256x1", "576x1"]


def test_each_part_is_written_as_it_is_measured(tmp_path, monkeypatch):
    def measure(rounds):
        yield row()
        raise KeyboardInterrupt

    monkeypatch.setattr(command.host, "measure_host", measure)
    options = command.Options(rounds=None, methods=[], dtypes=[], cells=[])
    with pytest.raises(KeyboardInterrupt):
        list(command.measure_part("host", options, tmp_path))

    ((found, source),) = read_rows(tmp_path / "host.jsonl")
    assert found == row() and source["rounds"] == 30


@pytest.mark.parametrize(
    "wrong", [{"parts": ["hosts"]}, {"dtypes": "int8"}, {"cells": "17x1"}, {"methods": "fastw"}]
)
def test_unknown_names_are_one_line(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(**{"parts": ["host"], "rounds": 1, "out": tmp_path, **wrong})
    assert stop.value.code == 1
    assert "known:" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_names_of_methods():
    assert chosen_methods("all") == list(METHODS)
    assert chosen_methods("fastv, pdrop") == ["fastv", "pdrop"]
    with pytest.raises(UnknownMethod, match="known: transprune-high"):
        chosen_methods("fastw")
    with pytest.raises(BenchError, match="no part 'x'"):
        command._checked("part", ["x"], ["host"])


def test_the_picture(tmp_path):
    measured = {
        "host": [row(), row(group="decode step")],
        "growth": [row(group=name, what=growth.OVER_CONTROL) for name in growth.CELLS],
    }
    path = tmp_path / "overhead.png"
    draw(measured, path)
    assert path.read_bytes().startswith(b"\x89PNG")
