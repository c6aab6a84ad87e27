"""`python -m benchmarks.gpu`: tables and sentences on stdout, one error line without a GPU."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(monkeypatch):
    """The command, with one miniature and one batch."""
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("benchmarks.gpu.__main__")
    monkeypatch.setitem(module.SHAPES, "tiny", ("llava-1.5-tiny",))
    monkeypatch.setitem(module.BATCHES, "tiny", (1,))
    return module


@pytest.fixture
def call(command):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command.main)
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])


def test_it_prints_tables_and_where_pruning_pays(call, tmp_path):
    out = tmp_path / "gpu.jsonl"
    result = call("--size", "tiny", "--device", "cpu", "--out", out)
    assert result.exit_code == 0, result.output

    # one Markdown table, with a row per variant and a ratio in brackets
    rows = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 8
    assert "prefill, ms" in [cell.strip() for cell in rows[0].split("|")]
    assert all(row.count("(") == 5 for row in rows[2:])
    assert "…" not in result.stdout

    assert "Where pruning pays, and where it does not" in result.stdout
    assert "- LLaVA-1.5-tiny, sdpa, batch 1: " in result.stdout
    assert "skipped: FlashAttention needs a CUDA device" in result.stdout
    assert "llava-1.5-tiny, sdpa, batch 1, prefill: 8 of 8 measured" in result.stderr

    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == 4 * 8
    assert all(record["provenance"]["card"].startswith("CPU") for record in records)


def test_the_time_may_be_over_before_anything_ran(call, tmp_path):
    result = call(
        "--size", "tiny", "--device", "cpu", "--minutes", 0, "--out", tmp_path / "x.jsonl"
    )
    assert result.exit_code == 0
    assert "not run: no time was left: LLaVA-1.5-tiny, sdpa, batch 1" in result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_there_is_one_line_that_says_what_to_do(call, tmp_path):
    out = tmp_path / "gpu.jsonl"
    result = call("--out", out)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "error: this benchmark needs a CUDA device, and torch finds none; run it on a machine with "
        "one, or in miniature with --size tiny --device cpu\n"
    )
    assert not out.exists()


def test_an_unknown_size_names_the_known_ones(call, tmp_path):
    result = call("--size", "huge", "--device", "cpu", "--out", tmp_path / "x.jsonl")
    assert result.exit_code == 1
    assert "--size is one of full, tiny; got 'huge'" in result.stderr


@pytest.mark.slow
def test_a_variant_that_failed_ends_with_an_error(call, command, tmp_path, monkeypatch):
    from transprune.speed import warm_up

    def broken(session):
        raise ValueError("a bug")

    monkeypatch.setattr(warm_up, "kept_tokens", broken)
    result = call("--size", "tiny", "--device", "cpu", "--out", tmp_path / "x.jsonl")
    assert result.exit_code == 1
    assert "failed: a bug: LLaVA-1.5-tiny, sdpa, batch 1 (transprune-high, " in result.stdout
