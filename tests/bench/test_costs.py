"""Measured costs: real bytes, pairs of times, and a file that the report can read."""

import json

import pytest
import torch

from transprune.bench.measure.costs import COSTS_FILE, measure_costs
from transprune.bench.measure.memory import peak_bytes
from transprune.bench.run.answers import answer
from transprune.bench.run.trials import plan_trials
from transprune.errors import RecordError
from transprune.report.results import read_costs

RATIOS = {"median", "low", "high"}
COUNTS = {"prefill", "scoring", "decode", "prefill_share", "decode_share", "unit"}
ROW = {
    "condition",
    "prefill_ms",
    "prefill_ratio",
    "decode_ms",
    "decode_ratio",
    "kv_bytes",
    "kv_share",
    "peak_bytes",
    "peak_share",
    "paper",
    "exact",
}


@pytest.fixture(scope="module")
def trials(prepared):
    return plan_trials(["transprune", "visionzip"], [0.41], prepared.nominal())


@pytest.fixture(scope="module")
def folder(prepared, questions, trials, tmp_path_factory):
    folder = tmp_path_factory.mktemp("costs")
    measure_costs(folder, prepared, questions.items, trials, rounds=1)
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return {row["condition"]: row for row in read_costs(folder)[0]}


def test_the_file_is_as_documented(folder, trials, rows) -> None:
    document = json.loads((folder / COSTS_FILE).read_text())
    assert set(document) == {"schema", "threads", "rounds", "prompts", "rows"}
    assert (document["schema"], document["rounds"], document["prompts"]) == (1, 1, 3)
    assert list(rows) == [trial.condition.name for trial in trials]

    for row in rows.values():
        assert set(row) == ROW
        assert set(row["prefill_ratio"]) == set(row["decode_ratio"]) == RATIOS
        assert set(row["paper"]) == set(row["exact"]) == COUNTS
        assert row["prefill_ms"] > 0
        assert row["decode_ms"] > 0
        assert row["peak_bytes"] > 0

        ratio = row["prefill_ratio"]
        assert ratio["low"] <= ratio["median"] <= ratio["high"]


def test_bytes_of_keys_and_values_are_those_of_the_records(
    prepared, questions, trials, rows
) -> None:
    item = questions.items[0]
    for trial in trials:
        (given,) = answer(prepared, [item], trial.bind([item], 0), 1)
        assert rows[trial.condition.name]["kv_bytes"] == given.kv_bytes


def test_shares_are_relative_to_the_unpruned_model(rows) -> None:
    full = rows["unpruned"]
    assert full["kv_share"] == full["exact"]["prefill_share"] == full["paper"]["prefill_share"] == 1
    assert full["peak_share"] == pytest.approx(1)

    for name in ("transprune@41", "visionzip@41"):
        row = rows[name]
        assert row["kv_share"] == row["kv_bytes"] / full["kv_bytes"] < 1
        assert row["exact"]["prefill_share"] == pytest.approx(0.41, abs=0.01)
    assert rows["visionzip@41"]["peak_share"] > 0


@pytest.mark.parametrize(("number", "encoded"), [(1, True), (2, False)])
def test_both_runs_of_a_pair_get_the_same_inputs(
    prepared, questions, trials, tmp_path, monkeypatch, number, encoded
) -> None:
    """VisionZip reads the vision tower, so its unpruned partner runs the tower too."""
    seen = []
    original = prepared.batch

    def batch(items, *, encoded):
        seen.append(encoded)
        return original(items, encoded=encoded)

    monkeypatch.setattr(prepared, "batch", batch)
    measure_costs(tmp_path, prepared, questions.items, [trials[number]], rounds=1)
    assert set(seen) == {encoded}


def test_measured_rows_are_kept_and_others_added(
    folder, prepared, questions, trials, tmp_path
) -> None:
    (tmp_path / COSTS_FILE).write_bytes((folder / COSTS_FILE).read_bytes())
    more = plan_trials(["fastv"], [0.41], prepared.nominal())
    measure_costs(tmp_path, prepared, questions.items, more, rounds=1)

    before = read_costs(folder)[0]
    after = read_costs(tmp_path)[0]
    assert after[: len(before)] == before
    assert [row["condition"] for row in after[len(before) :]] == ["fastv@41"]


def test_other_settings_are_measured_anew(folder, prepared, questions, trials, tmp_path) -> None:
    (tmp_path / COSTS_FILE).write_bytes((folder / COSTS_FILE).read_bytes())
    measure_costs(tmp_path, prepared, questions.items, trials[:1], rounds=2)

    document = json.loads((tmp_path / COSTS_FILE).read_text())
    assert document["rounds"] == 2
    assert [row["condition"] for row in document["rows"]] == ["unpruned"]


def test_a_damaged_file_is_named(prepared, questions, trials, tmp_path) -> None:
    (tmp_path / COSTS_FILE).write_text('{"schema"')
    with pytest.raises(RecordError, match=r"bill\.json is damaged"):
        measure_costs(tmp_path, prepared, questions.items, trials, rounds=1)
    assert (tmp_path / COSTS_FILE).read_text() == '{"schema"'


def test_peak_counts_tensors_alive_at_once() -> None:
    kib = 1024 // 4
    held = torch.zeros(kib)

    def one_after_another():
        for _ in range(5):
            torch.zeros(kib)

    def at_once():
        return [torch.zeros(kib) for _ in range(5)]

    assert peak_bytes(one_after_another) == 1024
    assert peak_bytes(at_once) == 5 * 1024
    assert peak_bytes(lambda: held.view(2, -1).t()[0]) == 0  # a view has no memory of its own
    assert peak_bytes(lambda: held.add_(1)) == 0
    assert peak_bytes(lambda: (held + 1) * 2) == 2 * 1024
