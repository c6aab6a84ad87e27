"""The bill: real bytes, pairs of times, and a file that the report reads."""

import json

import pytest
import torch

from transprune.bench.measure.costs import COSTS_FILE, measure_costs
from transprune.bench.measure.memory import peak_bytes
from transprune.bench.run.trials import plan_trials
from transprune.errors import RecordError
from transprune.report.results import read_bill

RATIOS = {"median", "low", "high"}
COST = {"prefill", "scoring", "decode", "prefill_share", "decode_share", "unit"}
ROW = {
    "condition",
    "prefill_ms",
    "prefill_ratio",
    "decode_ms",
    "decode_ratio",
    "kv_bytes",
    "kv_share",
}
ROW |= {"peak_bytes", "peak_share", "paper", "exact"}


@pytest.fixture(scope="module")
def trials(prompts):
    return plan_trials(["transprune", "visionzip"], [0.41], prompts.nominal())


@pytest.fixture(scope="module")
def folder(prompts, questions, trials, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bill")
    measure_costs(folder, prompts, questions.items, trials, rounds=1)
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return {row["condition"]: row for row in read_bill(folder / COSTS_FILE)[0]}


def test_it_is_as_documented(folder, trials, rows) -> None:
    document = json.loads((folder / COSTS_FILE).read_text())
    assert set(document) == {"schema", "threads", "rounds", "prompts", "rows"}
    assert (document["schema"], document["rounds"], document["prompts"]) == (1, 1, 3)
    assert list(rows) == [trial.condition.name for trial in trials]
    for row in rows.values():
        assert set(row) == ROW
        assert set(row["prefill_ratio"]) == set(row["decode_ratio"]) == RATIOS
        assert set(row["paper"]) == set(row["exact"]) == COST
        assert row["prefill_ms"] > 0 and row["decode_ms"] > 0 and row["peak_bytes"] > 0
        assert (
            row["prefill_ratio"]["low"]
            <= row["prefill_ratio"]["median"]
            <= row["prefill_ratio"]["high"]
        )


def test_bytes_of_keys_and_values_are_those_of_the_records(
    prompts, questions, trials, rows
) -> None:
    from transprune.bench.run.answers import answer

    item = questions.items[0]
    for trial in trials:
        (given,) = answer(prompts, [item], trial.bind([item], 0), 1)
        assert rows[trial.condition.name]["kv_bytes"] == given.kv_bytes


def test_shares_are_of_the_unpruned_model(rows) -> None:
    full = rows["unpruned"]
    assert full["kv_share"] == full["exact"]["prefill_share"] == full["paper"]["prefill_share"] == 1
    assert full["peak_share"] == pytest.approx(1)
    for name in ("transprune@41", "visionzip@41"):
        assert rows[name]["kv_share"] == rows[name]["kv_bytes"] / full["kv_bytes"] < 1
        assert rows[name]["exact"]["prefill_share"] == pytest.approx(0.41, abs=0.01)
    assert rows["visionzip@41"]["peak_share"] > 0


def test_both_runs_of_a_pair_get_the_same_inputs(
    prompts, questions, trials, tmp_path, monkeypatch
) -> None:
    """VisionZip listens to the vision tower, so the tower runs for its unpruned partner too; for others for neither."""
    seen, original = [], prompts.batch

    def batch(items, *, encoded):
        seen.append(encoded)
        return original(items, encoded=encoded)

    monkeypatch.setattr(prompts, "batch", batch)
    for number, listens in ((1, False), (2, True)):
        seen.clear()
        (tmp_path / str(number)).mkdir()
        measure_costs(tmp_path / str(number), prompts, questions.items, [trials[number]], rounds=1)
        assert set(seen) == {not listens}


def test_measured_rows_are_kept_and_others_added(
    folder, prompts, questions, trials, tmp_path
) -> None:
    (tmp_path / COSTS_FILE).write_bytes((folder / COSTS_FILE).read_bytes())
    more = plan_trials(["fastv"], [0.41], prompts.nominal())
    measure_costs(tmp_path, prompts, questions.items, more, rounds=1)
    before, after = (read_bill(place / COSTS_FILE)[0] for place in (folder, tmp_path))
    assert after[: len(before)] == before
    assert [row["condition"] for row in after[len(before) :]] == ["fastv@41"]


def test_a_damaged_bill_is_named(prompts, questions, trials, tmp_path) -> None:
    (tmp_path / COSTS_FILE).write_text('{"schema"')
    with pytest.raises(RecordError, match=r"bill\.json is damaged"):
        measure_costs(tmp_path, prompts, questions.items, trials, rounds=1)
    assert (tmp_path / COSTS_FILE).read_text() == '{"schema"'


def test_peak_counts_what_lives_at_once() -> None:
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
