"""The benchmark of the overhead in miniature: what it counts, compares, writes and draws."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from transprune import TransPrune, prune
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
from benchmarks.overhead.model import PAD, Shape, build_inputs, build_model, padded_share
from benchmarks.overhead.operations import count_operations, most_added
from benchmarks.overhead.own_time import MODEL, _watched, own_time
from benchmarks.overhead.reference import reference
from benchmarks.overhead.report import latest
from benchmarks.overhead.rows import Row, count_row, provenance, read_rows, write_row
from benchmarks.overhead.runs import decode_step, prefill, pruned_prefill
from benchmarks.overhead.settings import METHODS, chosen_methods
from benchmarks.overhead.tables import console_tables, markdown_table
from benchmarks.overhead.timing import Contender, paired, ratio

# deep enough for every boundary of TransPrune-High
SMALL = Shape(layers=14, hidden=32, intermediate=32, heads=2, grid=4)


@pytest.fixture(scope="module")
def small():
    return build_model(SMALL, torch.float32)


@pytest.fixture(scope="module")
def prompt():
    return build_inputs(SMALL, torch.float32)


def row(**changes):
    values = {"group": "prefill", "what": "fastv", "value": 3.0, "base": 2.0, "unit": "ms"}
    return Row(**{**values, "ratio": 1.5, **changes})


# ------------------------------------------------------------------------------------------- timing


def test_every_contender_runs_once_per_round_in_changing_order():
    ran = []
    group = {name: Contender(partial(ran.append, name)) for name in "abc"}
    times = paired([group], rounds=8)

    assert {name: len(values) for name, values in times.items()} == {"a": 8, "b": 8, "c": 8}
    rounds = ["".join(ran[start : start + 3]) for start in range(3, len(ran), 3)]
    assert len(rounds) == 8 and all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 1


def test_contexts_are_entered_outside_the_clock():
    entered = []

    @contextmanager
    def slow():
        entered.append(True)
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        yield

    ran = []
    times = paired([{"a": Contender(lambda: ran.append(True), slow)}], rounds=2, calls=3)
    assert len(entered) == 3  # an uncounted round and two
    assert len(ran) == 1 + 2 * (1 + 3)
    assert max(times["a"]) < 0.01


def test_ratios_of_medians_and_of_minima():
    times = {"a": [3.0, 30.0, 4.0], "b": [2.0, 3.0, 2.0]}
    figures = ratio(times, "a", "b")
    assert figures["ratio"] == 2.0
    assert figures["minima"] == 1.5
    assert figures["low"] == 1.75 and figures["high"] == 6.0


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


# ------------------------------------------------------------------------------- models and prompts


def test_prompts_are_padded_on_the_left():
    inputs = build_inputs(SMALL, torch.bfloat16, after=[4, 6], pictures=[2, 1])
    lengths = [8 + 4 + 32, 8 + 6 + 16]

    assert inputs["attention_mask"].sum(dim=1).tolist() == lengths
    assert inputs["input_ids"].shape == (2, 44)
    assert (inputs["input_ids"][1, :14] == PAD).all()
    assert inputs["pixel_values"].shape == (3, 3, 16, 16)
    assert inputs["pixel_values"].dtype == torch.bfloat16
    assert padded_share(lengths) == pytest.approx(14 / 88)


def test_the_reference_without_a_boundary_is_the_model(small, prompt):
    inputs = {name: value for name, value in prompt.items() if name != "attention_mask"}
    session = prune(small, "visionzip:keep=1.0")
    pruned_prefill(small, inputs, session)

    run = reference(small, SMALL, inputs, session.trace)
    torch.testing.assert_close(run(), prefill(small, inputs).logits)


def test_the_reference_keeps_as_many_rows(small, prompt):
    session = prune(small, TransPrune.high())
    pruned_prefill(small, prompt, session)
    operations = count_operations(reference(small, SMALL, prompt, session.trace))

    # each boundary takes rows of the hidden states, of cos and of sin
    assert operations["index_select"] == 3 * len(session.trace.stages)


def test_a_decode_step_leaves_the_cache_as_it_was(small, prompt):
    session = prune(small, TransPrune.high())
    step = decode_step(small, prompt, session)
    with session:
        first = count_operations(step)
        assert count_operations(step) == first
    assert decode_step(small, prompt)() is None


# --------------------------------------------------------------------------- operations and own time


def test_views_and_allocations_are_no_operations():
    x = torch.ones(3, 4)

    def run():
        x.view(4, 3).t().detach()[1:].unsqueeze(0)
        torch.empty(5)
        torch.empty_like(x)
        torch.ones(2, 0) + 1
        (x + 1).add_(2)
        x.sum()

    counts = count_operations(run)
    assert counts == Counter({"add": 1, "add_": 1, "sum": 1})
    assert most_added(counts, Counter({"add": 1})) == "add_ +1, sum +1"


def test_no_time_is_ours_in_an_unpruned_run(small, prompt):
    assert own_time(partial(prefill, small, prompt), 1) == {}


def test_time_in_the_files_of_the_package(small, prompt):
    session = prune(small, TransPrune.high())
    run = partial(pruned_prefill, small, prompt, session)
    run()
    watch = _watched(run)

    # layers are the model's, also between hooks; the maths of the method is ours
    assert watch.python_calls["methods/transprune.py"] > 0
    assert watch.python_calls["session.py"] > 0
    assert watch.raw[MODEL] > 0
    assert sys.getprofile() is None
    assert set(own_time(run, 1)) <= set(watch.raw)


def test_a_layer_called_by_our_code_is_not_ours(small):
    # a function that looks as if it were in session.py
    names: dict = {}
    exec(compile("def call(f): return f()", prune.__code__.co_filename, "exec"), names)

    layer = small.model.language_model.layers[0]
    hidden = torch.ones(1, 2, 32)
    with torch.no_grad():
        of_mlp = _watched(lambda: names["call"](lambda: layer.mlp(hidden)))
        of_norm = _watched(lambda: names["call"](lambda: layer.input_layernorm(hidden)))

    # an MLP runs for the model wherever it is called from, a norm for its caller
    assert of_mlp.python_calls["session.py"] > 0
    assert of_mlp.python_calls[MODEL] > 3
    assert of_norm.python_calls["session.py"] > 3
    assert of_norm.python_calls[MODEL] == 1  # the lambda that is watched


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

    ragged = growth.Cell(4, batch=3, ragged=True)
    rows = list(growth.measure_cell(ragged, rounds=1, shape=SMALL))
    fillers = rows[-1]
    # the longest sample has no fillers, before and behind the boundaries
    lengths = [8 + 32 + sample + 16 for sample in range(3)]
    assert fillers.base == pytest.approx(padded_share(lengths))
    kept = [8 + 32 + sample + 2 for sample in range(3)]  # an eighth of 16
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
