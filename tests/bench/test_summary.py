"""What a run says, against sums by hand."""

import pytest

from transprune.bench.data.records import read_run
from transprune.bench.results.statistics import holm
from transprune.bench.results.summary import summarise
from transprune.errors import RecordError


def _rows(folder):
    return {row.condition.name: row for row in summarise(read_run(folder), n_resamples=200)}


def _answers(*scores):
    return [(f"image {number}", float(score)) for number, score in enumerate(scores)]


def test_relative_acc_by_hand(write_run) -> None:
    """Tasks at 4/4 and 2/4 unpruned; pruned 3/4 and 2/4: 100 x mean(0.75, 1) = 87.5, though the plain mean is 62.5."""
    rows = _rows(
        write_run(
            {
                "unpruned": {"color": _answers(1, 1, 1, 1), "mc": _answers(1, 1, 0, 0)},
                "fastv@41": {"color": _answers(1, 1, 1, 0), "mc": _answers(0, 1, 1, 0)},
            }
        )
    )
    assert rows["unpruned"].relative.value == 100
    assert rows["unpruned"].score.value == pytest.approx(75)
    row = rows["fastv@41"]
    assert row.relative.value == pytest.approx(87.5)
    assert row.score.value == pytest.approx(62.5)
    assert row.against_unpruned.value == pytest.approx(-12.5)
    assert row.relative.low <= 87.5 <= row.relative.high
    assert {task.task: task.relative for task in row.tasks} == pytest.approx(
        {"color": 75, "mc": 100}
    )
    assert row.n == row.expected == 8 and row.complete


def test_a_task_the_model_always_fails_says_nothing(write_run) -> None:
    rows = _rows(
        write_run(
            {
                "unpruned": {"color": _answers(1, 1), "mc": _answers(0, 0)},
                "fastv@41": {"color": _answers(1, 0), "mc": _answers(1, 0)},
            }
        )
    )
    assert rows["fastv@41"].relative.value == pytest.approx(50)


def test_pairs_make_differences_sharp(write_run) -> None:
    """Both miss the same pictures, so there is no doubt that they differ by nothing; and none that a third is worse."""
    full, worse = _answers(*[1, 0] * 20), _answers(*[0] * 40)
    rows = _rows(
        write_run(
            {"unpruned": {"color": full}, "same@41": {"color": full}, "worse@41": {"color": worse}}
        )
    )
    same, bad = rows["same@41"].against_unpruned, rows["worse@41"].against_unpruned
    assert (same.value, same.low, same.high, same.verdict) == (0, 0, 0, "unclear")
    assert (bad.value, bad.low, bad.high, bad.verdict) == (-100, -100, -100, "worse")
    assert bad.sure and not same.sure


def test_pictures_are_resampled_with_all_their_answers(write_run) -> None:
    """Ten answers about one picture are one piece of evidence: two pictures, one right, one wrong, say nothing."""
    one_each = [("a", 1.0)] * 10 + [("b", 0.0)] * 10
    rows = _rows(
        write_run({"unpruned": {"t": [(i, 1.0) for i, _ in one_each]}, "x@41": {"t": one_each}})
    )
    assert (rows["x@41"].relative.low, rows["x@41"].relative.high) == (0, 100)


def test_transprune_of_the_same_budget_is_the_partner(write_run) -> None:
    rows = _rows(
        write_run(
            {
                "unpruned": {"t": _answers(1, 1, 1, 1)},
                "transprune@41": {"t": _answers(1, 1, 1, 0)},
                "fastv@41": {"t": _answers(1, 0, 0, 0)},
                "fastv@20": {"t": _answers(1, 0, 0, 0)},
            }
        )
    )
    assert rows["fastv@41"].against_transprune.value == pytest.approx(-50)
    assert rows["transprune@41"].against_transprune is None
    assert rows["fastv@20"].against_transprune is None
    assert rows["fastv@41"].comparisons == 1


def test_holm_is_over_the_whole_table(write_run) -> None:
    scores = {"unpruned": {"t": _answers(*[1] * 12)}}
    scores |= {
        f"m{wrong}@41": {"t": _answers(*[0] * wrong, *[1] * (12 - wrong))} for wrong in (1, 3, 6)
    }
    against = [
        row.against_unpruned for row in _rows(write_run(scores)).values() if row.against_unpruned
    ]
    assert [one.holm_p for one in against] == pytest.approx(holm([one.p for one in against]))
    assert len({one.p for one in against}) > 1


def test_an_unfinished_condition_is_compared_on_what_it_answered(write_run) -> None:
    rows = _rows(
        write_run(
            {"unpruned": {"t": _answers(1, 0, 0, 0)}, "x@41": {"t": _answers(1, 0)}, "none@41": {}}
        )
    )
    assert rows["x@41"].relative.value == 100
    assert (rows["x@41"].n, rows["x@41"].complete) == (2, rows["x@41"].expected == 2)
    assert "none@41" not in rows


def test_without_unpruned_there_is_nothing_to_compare_with(write_run) -> None:
    with pytest.raises(RecordError, match="no unpruned answers yet"):
        summarise(read_run(write_run({"x@41": {"t": _answers(1)}})))


def test_shares_are_those_of_the_records(run) -> None:
    rows = {row.condition.name: row for row in summarise(run, n_resamples=100)}
    for name, row in rows.items():
        shares = [record.exact_share for record in run.records if record.condition == name]
        assert row.exact_share == pytest.approx(sum(shares) / len(shares))
    assert rows["unpruned"].exact_share == rows["unpruned"].kv_share == 1
    assert rows["fastv@41"].kv_share < 1
