"""The summary of a run, against sums by hand."""

import pytest

from transprune.bench.data.records import read_run
from transprune.bench.results.statistics import holm
from transprune.bench.results.summary import summarise
from transprune.errors import RecordError


def _rows(folder):
    return {row.condition.name: row for row in summarise(read_run(folder), n_resamples=200)}


def _answers(*scores):
    """One answer about each of several pictures."""
    return [(f"image {number}", float(score)) for number, score in enumerate(scores)]


def test_relative_acc_by_hand(write_run) -> None:
    """Tasks at 4/4 and 2/4 unpruned, 3/4 and 2/4 pruned: 100 x mean(0.75, 1) = 87.5.

    The plain mean is 62.5.
    """
    scores = {
        "unpruned": {"color": _answers(1, 1, 1, 1), "mc": _answers(1, 1, 0, 0)},
        "fastv@41": {"color": _answers(1, 1, 1, 0), "mc": _answers(0, 1, 1, 0)},
    }
    rows = _rows(write_run(scores))
    assert rows["unpruned"].relative.value == 100
    assert rows["unpruned"].score.value == pytest.approx(75)

    row = rows["fastv@41"]
    assert row.relative.value == pytest.approx(87.5)
    assert row.score.value == pytest.approx(62.5)
    assert row.against_unpruned.value == pytest.approx(-12.5)
    assert row.relative.low <= 87.5 <= row.relative.high

    by_task = {task.task: task.relative for task in row.tasks}
    assert by_task == pytest.approx({"color": 75, "mc": 100})
    assert row.n == row.expected == 8
    assert row.complete


def test_a_task_the_unpruned_model_always_fails_is_left_out(write_run) -> None:
    scores = {
        "unpruned": {"color": _answers(1, 1), "mc": _answers(0, 0)},
        "fastv@41": {"color": _answers(1, 0), "mc": _answers(1, 0)},
    }
    rows = _rows(write_run(scores))
    assert rows["fastv@41"].relative.value == pytest.approx(50)


def test_pairs_make_differences_sharp(write_run) -> None:
    """`same` misses the same pictures as unpruned, so the difference is 0 in every resample.

    `worse` misses all of them, so the difference is -100 in every resample.
    """
    full = _answers(*[1, 0] * 20)
    worse = _answers(*[0] * 40)
    rows = _rows(
        write_run(
            {"unpruned": {"color": full}, "same@41": {"color": full}, "worse@41": {"color": worse}}
        )
    )

    same = rows["same@41"].against_unpruned
    assert (same.value, same.low, same.high, same.verdict) == (0, 0, 0, "unclear")
    assert not same.sure

    bad = rows["worse@41"].against_unpruned
    assert (bad.value, bad.low, bad.high, bad.verdict) == (-100, -100, -100, "worse")
    assert bad.sure


def test_pictures_are_resampled_with_all_their_answers(write_run) -> None:
    """Ten answers about one picture are one piece of evidence, so two pictures prove nothing."""
    pruned = [("a", 1.0)] * 10 + [("b", 0.0)] * 10
    unpruned = [(image, 1.0) for image, _ in pruned]
    rows = _rows(write_run({"unpruned": {"t": unpruned}, "x@41": {"t": pruned}}))
    assert (rows["x@41"].relative.low, rows["x@41"].relative.high) == (0, 100)


def test_transprune_of_the_same_budget_is_the_partner(write_run) -> None:
    scores = {
        "unpruned": {"t": _answers(1, 1, 1, 1)},
        "transprune@41": {"t": _answers(1, 1, 1, 0)},
        "fastv@41": {"t": _answers(1, 0, 0, 0)},
        "fastv@20": {"t": _answers(1, 0, 0, 0)},
    }
    rows = _rows(write_run(scores))
    assert rows["fastv@41"].against_transprune.value == pytest.approx(-50)
    assert rows["fastv@41"].comparisons == 1

    # itself, and a budget without one
    assert rows["transprune@41"].against_transprune is None
    assert rows["fastv@20"].against_transprune is None


def test_holm_is_over_the_whole_table(write_run) -> None:
    scores = {"unpruned": {"t": _answers(*[1] * 12)}}
    for wrong in (1, 3, 6):
        scores[f"m{wrong}@41"] = {"t": _answers(*[0] * wrong, *[1] * (12 - wrong))}

    rows = _rows(write_run(scores)).values()
    against = [row.against_unpruned for row in rows if row.against_unpruned]
    p_values = [one.p for one in against]
    assert len(set(p_values)) > 1
    assert [one.holm_p for one in against] == pytest.approx(holm(p_values))


def test_an_unfinished_condition_is_compared_on_the_questions_it_answered(write_run) -> None:
    scores = {
        "unpruned": {"t": _answers(1, 0, 0, 0)},
        "x@41": {"t": _answers(1, 0)},
        "none@41": {},
    }

    rows = _rows(write_run(scores))
    assert rows["x@41"].relative.value == 100
    assert (rows["x@41"].n, rows["x@41"].complete) == (2, rows["x@41"].expected == 2)
    assert "none@41" not in rows


def test_a_run_without_unpruned_answers_is_an_error(write_run) -> None:
    with pytest.raises(RecordError, match="no unpruned answers yet"):
        summarise(read_run(write_run({"x@41": {"t": _answers(1)}})))


def test_shares_are_those_of_the_records(run) -> None:
    rows = {row.condition.name: row for row in summarise(run, n_resamples=100)}

    for name, row in rows.items():
        shares = [record.exact_share for record in run.records if record.condition == name]
        assert row.exact_share == pytest.approx(sum(shares) / len(shares))

    assert rows["unpruned"].exact_share == rows["unpruned"].kv_share == 1
    assert rows["fastv@41"].kv_share < 1
