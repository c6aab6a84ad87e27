"""Clocks: what they count."""

from __future__ import annotations

import time

import pytest
import torch

from transprune.speed.clocks import clock_of


def seconds_of(run, device="cpu"):
    clock = clock_of(device)
    start = clock.start()
    run()
    return clock.seconds(start, clock.mark())


def test_the_clock_of_one_thread_does_not_count_waiting():
    assert torch.get_num_threads() == 1
    assert clock_of("cpu").name == "CPU time of one thread"
    assert seconds_of(lambda: time.sleep(0.05)) < 0.04


def test_several_threads_are_timed_on_the_wall(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert clock_of("cpu").name == "wall time"
    assert seconds_of(lambda: time.sleep(0.05)) >= 0.05


class FakeEvent:
    """An event on a device whose stream has done `FakeEvent.done` milliseconds of work."""

    done = 0.0

    def __init__(self, enable_timing):
        assert enable_timing
        self.waited = False

    def record(self, stream):
        assert stream == "stream of cuda"
        self.at = FakeEvent.done

    def synchronize(self):
        self.waited = True

    def elapsed_time(self, other):
        assert other.waited  # an event that is not done yet has no time
        return other.at - self.at


def test_events_are_read_in_seconds_after_their_work(monkeypatch):
    """The calls of the CUDA clock, where there is no GPU: idle before, no waiting in between."""
    synchronized = []
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronized.append)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")

    clock = clock_of("cuda")
    start = clock.start()
    FakeEvent.done += 1500.0
    end = clock.mark()
    assert synchronized == [torch.device("cuda")]
    assert not end.waited
    assert clock.seconds(start, end) == pytest.approx(1.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_events_count_the_work_of_the_gpu():
    square = torch.ones(4096, 4096, device="cuda")

    def work(products):
        for _ in range(products):
            square @ square

    seconds_of(lambda: work(1), "cuda")
    few, many = (seconds_of(lambda n=n: work(n), "cuda") for n in (2, 20))
    assert many > 4 * few > 0
