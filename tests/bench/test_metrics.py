"""Metrics against numbers by hand."""

import numpy as np
import pytest

from transprune.bench.data.metrics import METRICS, normalise, option_letter

POPE, VQA, MC, EXACT = (METRICS[name] for name in ("pope", "vqa", "mc", "exact_match"))


def _pope(record, kind, item, given, answer):
    return record(kind=kind, item=item, given=given, answers=(answer,))


def test_pope_by_hand(record) -> None:
    """(tp, fp, fn, tn) of (1, 1, 0, 1), (1, 0, 1, 1), (2, 0, 0, 0) have F1 2/3, 2/3 and 1."""
    # the split of a positive is the sum of its id's bytes modulo three
    positives = {"random": "cf", "popular": "ad", "adversarial": "be"}
    records = [
        _pope(record, "positive", positives["random"][0], "yes", "yes"),
        _pope(record, "random", "n1", "Yes.", "no"),
        _pope(record, "random", "n2", "no", "no"),
        _pope(record, "positive", positives["popular"][0], "yes", "yes"),
        _pope(record, "positive", positives["popular"][1], "No, it is not", "yes"),
        _pope(record, "popular", "n3", "no", "no"),
        _pope(record, "positive", positives["adversarial"][0], "there is", "yes"),
        _pope(record, "positive", positives["adversarial"][1], "yes", "yes"),
    ]

    totals = np.sum([POPE.tally(one) for one in records], axis=0)
    assert POPE.score(totals) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)

    details = POPE.details(totals)
    assert details["random accuracy"] == pytest.approx(2 / 3)
    assert details["random precision"] == pytest.approx(1 / 2)
    assert details["popular recall"] == pytest.approx(1 / 2)
    assert details["adversarial yes ratio"] == 1
    assert details["accuracy"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_pope_scores_many_resamples_at_once(record) -> None:
    records = [
        _pope(record, "random", "a", "no", "no"),
        _pope(record, "random", "b", "yes", "no"),
        _pope(record, "positive", "c", "yes", "yes"),
    ]
    tallies = np.array([POPE.tally(one) for one in records])
    weights = np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0]])

    each = [POPE.score((row[:, None] * tallies).sum(axis=0)) for row in weights]
    np.testing.assert_array_equal(POPE.score(weights @ tallies), each)


@pytest.mark.parametrize(
    ("agreeing", "score"),
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
    ids=lambda n: str(n),
)
def test_vqa_by_hand(agreeing, score) -> None:
    """k of ten agree: k subsets miss one of them, the rest none.

    k = 3: (3 x 2/3 + 7 x 1) / 10 = 0.9.
    """
    answers = ["The Red!"] * agreeing + [f"other {i}" for i in range(10 - agreeing)]
    assert VQA.grade("red", answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(b)", "B"),
        (" B. red", "B"),
        ("B: red", "B"),
        ("The answer is C", "C"),
        ("The answer is (D).", "D"),
        ("Blue", ""),
        ("", ""),
    ],
)
def test_option_letters(said, letter) -> None:
    assert option_letter(said) == letter
    assert MC.grade(said, [letter or "A"]) == float(bool(letter))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Red  ball.", "red ball"),
        ("A", "a"),
        ("an apple", "apple"),
        ("it's", "its"),
        ("theatre", "theatre"),
        ("!", ""),
    ],
)
def test_normalise(text, plain) -> None:
    assert normalise(text) == plain


def test_exact_match_takes_any_of_the_answers() -> None:
    assert EXACT.grade("The Crimson.", ["red", "crimson"]) == 1
    assert EXACT.grade("crimson red", ["red", "crimson"]) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("two", "2"), ("none", "0"), ("a red, car", "The red car"), ("don't", "dont")),
        *(("red/blue", "red blue"), ("1,000", "1000"), ("3.5.", "3.5"), ("new\nline", "new line")),
    ],
)
def test_vqa_takes_these_texts_as_the_same_answer(one, other) -> None:
    assert METRICS["vqa"].grade(one, [other] * 10) == 1


def test_vqa_keeps_numbers_apart() -> None:
    assert METRICS["vqa"].grade("3.5", ["35"] * 10) == 0
    assert METRICS["vqa"].grade("10:30", ["1030"] * 10) == 0


def test_exact_text_keeps_articles() -> None:
    assert METRICS["exact_text"].grade("A Dog.", ["a dog"]) == 1
    assert METRICS["exact_text"].grade("a dog", ["dog"]) == 0
    assert METRICS["exact_match"].grade("a dog", ["dog"]) == 1
