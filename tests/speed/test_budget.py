"""The time limit: on a clock that only simulated work advances, no plan runs beyond it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from transprune.speed import benchmark, measure, warm_up
from transprune.speed.benchmark import Settings, run_benchmark
from transprune.speed.cells import SDPA, plan
from transprune.speed.records import RecordFile

SHAPES = ("llava-1.5-7b", "llava-next-7b", "qwen2.5-vl-7b")

# seconds on an imagined card: of a prompt's prefill, of a token, of building a model
PREFILL = {"llava-1.5-7b": 0.03, "llava-next-7b": 0.13, "qwen2.5-vl-7b": 0.07}
TOKEN = 0.027
BUILD = 12.0


class Machine:
    """Stands in for models and clocks: every run takes the time it is said to take."""

    def __init__(self, speed):
        self.now = 0.0
        self.speed = speed
        self.shape, self.batch = "", 0

    def monotonic(self):
        return self.now

    def build(self, shape, *rest):
        self.shape = shape.name
        self.now += BUILD / self.speed
        return torch.nn.Linear(1, 1)

    def inputs(self, shape, batch, *rest):
        self.batch = batch
        return {}

    def prefill(self, bench, session):
        seconds = PREFILL[self.shape] * self.batch / self.speed
        self.now += seconds
        return {"prefill": seconds}

    def decode(self, bench, session, steps):
        times = self.prefill(bench, session)
        self.now += steps * TOKEN / self.speed
        return {**times, "per_token": TOKEN / self.speed}

    def generate(self, bench, session, lengths):
        return self.decode(bench, session, lengths[-1] - 1)

    def peak(self, bench, session):
        self.prefill(bench, session)
        return 1


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the plan of the command on a machine of this speed; -> machine, records."""

    def start(speed, seconds):
        machine = Machine(speed)
        for module in (benchmark, measure):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=machine.monotonic))
        monkeypatch.setattr(benchmark, "build_model", machine.build)
        monkeypatch.setattr(benchmark, "build_inputs", machine.inputs)
        monkeypatch.setattr(measure, "time_prefill", machine.prefill)
        monkeypatch.setattr(measure, "time_generate", machine.generate)
        monkeypatch.setattr(warm_up, "time_generate", machine.generate)
        monkeypatch.setattr(warm_up, "time_prefill_and_decode", machine.decode)
        monkeypatch.setattr(warm_up, "peak_of_prefill", machine.peak)
        monkeypatch.setattr(warm_up, "prune", lambda *_: object())
        monkeypatch.setattr(warm_up, "kept_tokens", lambda session: [1])

        file = RecordFile(tmp_path / f"{speed}-{seconds}.jsonl")
        settings = Settings("cpu", torch.bfloat16, seconds)
        return machine, run_benchmark(plan(SHAPES, (1, 8, 32), (SDPA,)), settings, file)

    return start


@pytest.mark.slow
@pytest.mark.parametrize("speed", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("seconds", [60.0, 480.0])
def test_it_ends_in_time_on_a_slow_card_too(run, speed, seconds):
    machine, records = run(speed, seconds)
    # the first build and the first run of a shape are not foreseen
    slack = (BUILD + 2 * PREFILL["llava-next-7b"]) / speed
    assert machine.now <= seconds + slack
    assert len(records) == 8 * len(plan(SHAPES, (1, 8, 32), (SDPA,)))


@pytest.mark.slow
def test_eight_minutes_are_enough_for_the_table_of_the_paper(run):
    machine, records = run(1.0, 480.0)
    assert machine.now <= 480.0
    for record in records:
        if record.batch == 1:
            assert record.status == "measured", record.cell
            assert len(record.seconds) >= (9 if record.measure == "prefill" else 2)

    measured = Counter(record.measure for record in records if record.status == "measured")
    assert measured["prefill"] >= 5 * 8  # of nine cells
    missing = {record.reason for record in records if record.status == "not run"}
    assert all("left" in reason for reason in missing)


@pytest.mark.slow
def test_more_time_measures_everything(run):
    _, records = run(1.0, 7200.0)
    assert {record.status for record in records} == {"measured"}
