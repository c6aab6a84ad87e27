"""The trials: bad ones are stopped, and a search that was stopped goes on as if it had not been."""

from __future__ import annotations

import random

import pytest

from transprune.errors import FamilyError, TuneError
from transprune.tune.budget import Meter, parse_budget
from transprune.tune.journal import JOURNAL_FILE, drop_incomplete_line, open_study
from transprune.tune.space import Base
from transprune.tune.study import run_trials
from transprune.tune.tried import finished, front, refusals, tried

ONE = parse_budget("0.4", "flops")
RANGE = parse_budget("0.2:0.6", "flops")


class Killed(BaseException):
    """As if the process was killed."""


@pytest.fixture
def search(prepared, items, tmp_path):
    """Run a search whose loss is best for one late cut and a small alpha."""
    meter = Meter(prepared, items, "flops")
    bases = [Base("transprune", meter.prompt, 0.4, mrope=False)]

    def loss(method, number):
        first = method.keep.boundaries[0]
        noise = random.Random(repr(method) + str(number)).random() / 100
        return [abs(first - 4) + 2 * method.alpha + len(method.keep.boundaries) + noise] * 2

    def run(folder, trials, budget=ONE, losses=loss, seed=0):
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        study = open_study(place, budget)
        run_trials(
            study,
            bases,
            meter,
            budget,
            losses,
            3,
            trials=trials,
            seed=seed,
            on_trial=lambda done, total, note: None,
        )
        return study

    run.loss = loss
    return run


def lines(study):
    """What a search tried, without the numbers of the trials."""
    return [(one.cost, one.loss, one.method, one.stopped) for one in tried(study)]


def test_the_search_gets_better_and_never_worse_than_its_start(search):
    found = tried(search("a", 25))
    complete = [one.loss for one in found if not one.stopped]

    assert found[0].method.keep.boundaries  # the start is the first trial
    assert min(complete) < 0.6 * complete[0]
    assert all(one.cost == pytest.approx(0.4, abs=0.01) for one in found)


def test_bad_trials_are_stopped_before_the_last_batch(search):
    asked = []

    def counted(method, number):
        asked.append(number)
        return search.loss(method, number)

    stopped = [one for one in tried(search("a", 30, losses=counted)) if one.stopped]
    assert stopped
    assert asked.count(2) < asked.count(0)


def test_a_stopped_search_goes_on_as_if_it_had_not_been(search):
    whole = lines(search("whole", 15))
    search("parts", 6)
    search("parts", 12)
    assert lines(search("parts", 15)) == whole


def test_a_killed_trial_runs_again(search):
    whole = lines(search("whole", 14))
    asked = []

    def dies(method, number):
        asked.append(number)
        if len(asked) == 31:
            raise Killed
        return search.loss(method, number)

    with pytest.raises(Killed):
        search("killed", 14, losses=dies)
    assert lines(search("killed", 14)) == whole


def test_a_start_that_was_killed_is_tried_again(search):
    def dies(method, number):
        raise Killed

    with pytest.raises(Killed):
        search("killed", 4, losses=dies)
    assert lines(search("killed", 4)) == lines(search("whole", 4))


def test_another_seed_is_another_search(search):
    assert lines(search("a", 4, seed=0)) != lines(search("b", 4, seed=1))


def test_a_search_that_is_done_does_nothing_more(search):
    search("a", 4)

    def never(method, number):
        raise AssertionError("asked again")

    assert len(finished(search("a", 4, losses=never))) == 4


def test_half_a_line_of_a_killed_process_is_dropped(search, tmp_path):
    before = lines(search("a", 6))
    with (tmp_path / "a" / JOURNAL_FILE).open("ab") as stream:
        stream.write(b'{"op_code": 4, "wor')
    assert lines(search("a", 6)) == before
    assert len(lines(search("a", 9))) >= len(before)


def test_complete_lines_stay(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"one\ntwo\n")
    drop_incomplete_line(file)
    assert file.read_bytes() == b"one\ntwo\n"


def test_a_damaged_journal_is_named(search, tmp_path):
    search("a", 3)
    file = tmp_path / "a" / JOURNAL_FILE
    file.write_bytes(b"nonsense\n" + file.read_bytes())
    with pytest.raises(TuneError, match="cannot be used"):
        search("a", 4)


def test_settings_a_model_cannot_run_are_counted_and_told(search):
    def refuses(method, number):
        raise FamilyError("this model has no such thing")

    study = search("a", 5, losses=refuses)
    assert tried(study) == []
    assert refusals(study) == ["this model has no such thing"]


def test_a_loss_that_is_no_number_is_refused_and_the_search_ends(search):
    """Optuna takes such a trial for a failed one, which would be tried again without end."""
    calls = []

    def loss(method, number):
        calls.append(method)
        assert len(calls) < 50, "the same setting is tried without end"
        return [float("nan")] * 2 if len(calls) > 6 else search.loss(method, number)

    study = search("nan", 6, losses=loss)
    assert len(finished(study)) == 6
    assert any("its loss is nan" in reason for reason in refusals(study))
    assert [one.loss for one in tried(study)] == [one.loss for one in tried(study) if one.loss > 0]


def test_a_front_over_a_range(search):
    def loss(method, number):
        # what is kept first is worth most
        return [1.5 - method.keep.keep[0][1]]

    found = tried(search("front", 30, budget=RANGE, losses=loss))
    best = front(found)

    assert not any(one.stopped for one in found)
    assert len(best) > 2
    assert all(0.19 <= one.cost <= 0.61 for one in found)
    for cheap, dear in zip(best, best[1:], strict=False):
        assert cheap.cost < dear.cost and cheap.loss > dear.loss
    for one in found:
        assert any(b.cost <= one.cost and b.loss <= one.loss for b in best)
