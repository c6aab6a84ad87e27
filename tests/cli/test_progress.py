"""Progress in a log: one line every half minute, with the time left, under a clock of our own."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from transprune.cli import progress
from transprune.cli.progress import EVERY, ProgressLines, follow


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(clock):
    """Progress lines, and the list they are written to as `written`."""
    written: list[str] = []
    made = ProgressLines(written.append, clock=clock)
    made.written = written
    return made


def test_quick_work_prints_nothing(lines, clock) -> None:
    for done in range(100):
        clock.now += 0.29
        lines.update("fastv", done, 100)
    assert lines.written == []


def test_one_line_every_half_minute(lines, clock) -> None:
    for done in range(600):
        clock.now += 1
        lines.update("fastv@41", done, 1000)
    assert len(lines.written) == 600 / EVERY
    assert all("\n" not in line for line in lines.written)


def test_a_line_says_how_much_and_how_long(lines, clock) -> None:
    lines.update("fastv@41", 0, 400)
    clock.now += 30
    lines.update("fastv@41", 100, 400, note="loss 1.25")
    assert lines.written == ["0:00:30  fastv@41: 100 of 400 (25 %), about 0:01:30 left, loss 1.25"]


def test_a_continued_run_does_not_count_what_was_there(lines, clock) -> None:
    lines.update("fastv@41", 9000, 10_000)
    clock.now += 30
    lines.update("fastv@41", 9100, 10_000)
    assert "about 0:04:30 left" in lines.written[0]  # 100 in 30 s, 900 to go


def test_another_count_begins_anew(lines, clock) -> None:
    lines.update("answers", 0, 1000)
    clock.now += 300
    lines.update("answers", 1000, 1000)
    lines.update("time and memory", 0, 10)
    clock.now += 30
    lines.update("time and memory", 1, 10)
    assert lines.written[-1] == "0:05:30  time and memory: 1 of 10 (10 %), about 0:04:30 left"


def test_a_step_without_a_count_and_one_that_takes_long(lines, clock) -> None:
    lines.update("loading nano")
    clock.now += 31
    lines.tick()
    clock.now += 5
    lines.tick()  # too early
    clock.now += 31
    lines.tick()
    assert lines.written == ["0:00:31  loading nano", "0:01:07  loading nano"]


def test_nothing_is_left_at_the_end(lines, clock) -> None:
    lines.update("answers", 0, 10)
    clock.now += 30
    lines.update("answers", 10, 10)
    assert lines.written == ["0:00:30  answers: 10 of 10 (100 %)"]


@pytest.fixture
def log(monkeypatch) -> io.StringIO:
    """What reaches stderr when it is a file; every tick prints."""
    stream = io.StringIO()
    monkeypatch.setattr(progress, "err", lambda: Console(file=stream, width=200))
    monkeypatch.setattr(progress, "EVERY", 0.01)
    return stream


@pytest.mark.parametrize("as_json", [False, True])
def test_a_log_gets_lines_while_one_step_runs(log, monkeypatch, as_json) -> None:
    import time

    monkeypatch.setattr(ProgressLines.__init__, "__defaults__", (0.01, time.monotonic))
    with follow(as_json=as_json) as report:
        report("a long step", 1, 4)
        time.sleep(0.2)
    written = log.getvalue().splitlines()
    assert len(written) > 3
    assert all(line.endswith("a long step: 1 of 4 (25 %)") for line in written)

    time.sleep(0.05)
    assert log.getvalue().splitlines() == written  # the thread has ended


def test_a_terminal_gets_a_bar(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(
        progress, "err", lambda: Console(file=stream, force_terminal=True, width=100)
    )
    with follow() as report:
        report("loading")
        report("fastv@41", 3, 9)
        report("pdrop@41", 9, 9)
    assert "pdrop@41" in stream.getvalue()
    assert "9/9" in stream.getvalue()
