"""Our metrics against lmms-eval's own functions, answer by answer.

For each benchmark of the tables the same rows get the same answers: right ones, wrong ones, odd
spellings, lists, punctuation, sentences and nothing at all.
"""

from __future__ import annotations

import copy
import itertools
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.metrics import METRICS
from transprune.reproduce.smoke import rows as drawn

YES_NO = (
    *("yes", "Yes", "YES.", "yes, there is", "Yes\n", " yes", "y", "Y.", "yess", "yea", "the yes"),
    *(
        "no",
        "No",
        "NO.",
        "no, there is not",
        "not",
        "nobody",
        "n",
        "N",
        "nope",
        "Not at all",
        "a no",
    ),
    *("", " ", ".", "maybe", "yes and no", "no yes", "unknown", "none", "1", "['yes']", "{yes}"),
    *("I do not see it", "There is no dog", "eyes", "ye.s", "..yes", "o no", "never"),
)
LETTERS = (
    *("A", "B", "C", "D", "E", "a", "b", "c", "d", " B ", "B.", "b.", "B)", "(B)", "(B).", "[B]"),
    *(
        "B. red",
        "b. red",
        "B red",
        "B: red",
        "B, C",
        "A or B",
        "A. red B. blue",
        "A B",
        "AB",
        "B\nC",
    ),
    *("The answer is B", "The answer is B.", "the correct option is C!", "Answer: D", "I choose A"),
    *(
        "A red circle is shown",
        "A dog",
        "cyan",
        "blue",
        "red",
        "red or blue",
        "the red one",
        "Red.",
    ),
    *(
        "",
        " ",
        ".",
        "none of them",
        "option B",
        "'B'",
        '"B"',
        "B;",
        "B?",
        "(A) and (B)",
        "D)",
        ":C",
    ),
    *("my answer is A but the correct answer is B", "Because it is D", "Definitely", "['B']", "1"),
    *("b) red", "(b)", "Cat", "E.", "F", "It is C, not D", "C) cyan", "answer is", "A, because"),
)
WORDS = (
    *("red", "Red", "RED.", "red ", " red", "a red", "the red", "red car", "red, blue", "red/blue"),
    *(
        "red / blue",
        "red-blue",
        "red blue",
        "2",
        "two",
        "Two.",
        "seven",
        "7",
        "ten",
        "10",
        "none",
        "0",
    ),
    *(
        "1,000",
        "1000",
        "3.5",
        "3.5.",
        "10:30",
        "10.30",
        "dont",
        "don't",
        "it's",
        "its",
        "dog's",
        "dogs",
    ),
    *(
        "",
        " ",
        ".",
        "what?",
        "what ?",
        '"stop"',
        "stop",
        "(left)",
        "left",
        "$5",
        "5",
        "5%",
        "e-mail",
    ),
    *("new\nline", "new line", "tab\there", "U.S.", "US", "A", "the", "an apple", "apple", "and"),
    *("['red']", "red red", "black & white", "black-and-white", "black and white", "cant", "can't"),
    *("red,blue", "red?blue", "1,,000", "a/b, c", "(a) b-c", "don't,", "dont?", "5-6 7"),
    *(
        "she's",
        "womens",
        "women's",
        "o'clock",
        "oclock",
        "100,000",
        "100 000",
        "a b c",
        "x_y",
        "x y",
    ),
)


@cache
def docs(name: str) -> list[dict]:
    """Drawn rows of a benchmark."""
    return drawn.ROWS[name]()


def our_score(name: str, doc: dict, given: str) -> float:
    asked = BENCHMARKS[name].ask(doc)
    return METRICS[BENCHMARKS[name].metric].grade(given.strip(), asked.answers)


def differing(name: str, theirs, rows, answers) -> list:
    """(right answers, answer) where lmms-eval and we do not agree."""
    found = []
    for doc, given in itertools.product(rows, answers):
        # the harness strips an answer before a task sees it, and some tasks write into a row
        bare = {key: value for key, value in doc.items() if key != "image"}
        expected = theirs(copy.deepcopy(bare), given.strip())
        if our_score(name, doc, given) != pytest.approx(expected, abs=1e-9):
            found.append((BENCHMARKS[name].ask(doc).answers, given, expected))
    return found


def test_mme() -> None:
    from lmms_eval.tasks.mme.utils import mme_process_results

    def theirs(doc, given):
        return mme_process_results(doc, [given])["mme_perception_score"]["score"]

    assert not differing("mme", theirs, docs("mme")[:2], YES_NO)


def test_mme_sums_accuracy_and_pairs() -> None:
    from lmms_eval.tasks.mme.utils import mme_aggregate_results, mme_process_results

    rows = docs("mme")
    given = list(
        itertools.islice(itertools.cycle(("Yes", "no", "maybe", "Yes", "yes.")), len(rows))
    )
    found = [
        mme_process_results(*pair) for pair in zip(rows, ([one] for one in given), strict=True)
    ]
    theirs = mme_aggregate_results([one["mme_perception_score"] for one in found])
    assert total("mme", rows, given) * 2000 == pytest.approx(theirs)
    assert theirs > 0


def total(name: str, rows, given) -> float:
    """Our score of a benchmark, 0 to 1."""
    metric = METRICS[BENCHMARKS[name].metric]
    groups: dict[str, list] = {}
    for number, (doc, text) in enumerate(zip(rows, given, strict=True)):
        asked = BENCHMARKS[name].ask(doc)
        score = metric.grade(text, asked.answers)
        record = SimpleNamespace(
            given=text, answers=asked.answers, kind=asked.kind, item=asked.id, score=score
        )
        groups.setdefault(asked.image or str(number), []).append(record)
    totals = np.sum([metric.tally_image(group) for group in groups.values()], axis=0)
    return float(metric.score(totals))


def test_scienceqa() -> None:
    from lmms_eval.tasks.scienceqa.utils import sqa_process_results

    def theirs(doc, given):
        return sqa_process_results(doc, [given])["exact_match"]

    assert not differing("sqa", theirs, docs("sqa")[:8], LETTERS)


def test_seed() -> None:
    from lmms_eval.tasks.seedbench.utils import seed_aggregation_result, seed_process_result

    def theirs(doc, given):
        return seed_aggregation_result([seed_process_result(doc, [given])["seed_image"]])

    assert not differing("seed", theirs, docs("seed")[:8], LETTERS)


def test_mmbench() -> None:
    from lmms_eval.tasks.mmbench.en_utils import mmbench_evaluator, mmbench_process_results

    def theirs(doc, given):
        row = mmbench_process_results(doc, [given])["gpt_eval_score"]
        # a question of one rotation: right or wrong
        return mmbench_evaluator.eval_result([{**row, "index": 7}], eval_method="static")[0]

    rows = docs("mmb")[:4]
    colours = [str(rows[0][letter]) for letter in "ABCD"]
    more = (*colours, f"It is {colours[1]}.", f"{colours[0]} or {colours[1]}", f"B. {colours[2]}")
    assert not differing("mmb", theirs, rows, (*LETTERS, *more))


def test_mmbench_wants_every_rotation() -> None:
    from lmms_eval.tasks.mmbench.en_utils import mmbench_evaluator, mmbench_process_results

    rows = docs("mmb")
    given = [str(row["answer"]) for row in rows]
    given[2] = given[9] = "E"
    found = [mmbench_process_results(doc, [one]) for doc, one in zip(rows, given, strict=True)]
    theirs = mmbench_evaluator.eval_result([one["gpt_eval_score"] for one in found], "static")[0]
    assert total("mmb", rows, given) == pytest.approx(theirs)
    assert 0 < theirs < 1


def test_gqa() -> None:
    from lmms_eval.api.metrics import exact_match_hf_evaluate

    def theirs(doc, given):
        options = {"ignore_case": True, "ignore_punctuation": True}
        return exact_match_hf_evaluate([given], [doc["answer"]], **options)["exact_match"]

    rows = [{**docs("gqa")[0], "answer": answer} for answer in WORDS if answer.strip()]
    assert not differing("gqa", theirs, rows, WORDS)


# ten people, who agree more or less
PEOPLE = (
    ("red",) * 10,
    ("red", "red", "red", "Red.", "a red", "blue", "blue", "green", "two", "2"),
    ("two", "2", "Two.", "seven", "7", "ten", "10", "none", "0", "zero"),
    ("don't", "dont", "it's", "its", "dog's", "dogs", "can't", "cant", "o'clock", "oclock"),
    ("1,000", "1000", "3.5", "3.5.", "U.S.", "US", "e-mail", "x_y", "x y", "black-and-white"),
    ("she's", "women's", "womens", "she's", "women's", "the", "a", "", "an apple", "apple"),
    ("new\nline", "new line", "tab\there", "$5", "5", "5%", '"stop"', "stop", "(left)", "left"),
)


def people_rows(name: str) -> list[dict]:
    first = docs(name)[0]
    rows = []
    for answers in PEOPLE:
        given: list = list(answers)
        if name == "vqav2":
            given = [{"answer": one, "answer_id": number} for number, one in enumerate(answers, 1)]
        rows.append({**first, "answers": given})
    return rows


def test_every_contraction_of_the_list() -> None:
    """Each spelling that lmms-eval corrects, and each correct one, is what it says to us."""
    from lmms_eval.tasks._task_utils.vqa_eval_metric import EvalAIAnswerProcessor
    from lmms_eval.tasks.vqav2.utils import vqav2_process_results_val

    table = EvalAIAnswerProcessor.CONTRACTIONS
    assert len(table) > 100
    # this entry of the list takes an apostrophe away, which no other does
    words = {word for pair in table.items() for word in pair} - {"somebody'd", "somebodyd"}
    for word in words:
        for right in {word, word.replace("'", ""), table.get(word, word)}:
            people = [{"answer": right, "answer_id": number} for number in range(10)]
            doc = {**docs("vqav2")[0], "answers": people}
            theirs = vqav2_process_results_val(copy.deepcopy(doc), [word])["exact_match"]
            assert our_score("vqav2", doc, word) == theirs, (word, right)


def test_textvqa() -> None:
    from lmms_eval.tasks.textvqa.utils import textvqa_process_results

    def theirs(doc, given):
        return textvqa_process_results(doc, [given])["exact_match"]

    assert not differing("textvqa", theirs, people_rows("textvqa"), WORDS)


def test_vqav2() -> None:
    from lmms_eval.tasks.vqav2.utils import vqav2_process_results_val

    def theirs(doc, given):
        return vqav2_process_results_val(doc, [given])["exact_match"]

    assert not differing("vqav2", theirs, people_rows("vqav2"), WORDS)


def test_vizwiz() -> None:
    """In no table, but our users' questions with ten answers get the same metric."""
    from lmms_eval.tasks.vizwiz_vqa.utils import vizwiz_vqa_process_results

    def theirs(doc, given):
        return vizwiz_vqa_process_results(doc, [given])["exact_match"]

    rows = people_rows("textvqa")
    rows.append({**rows[0], "answers": ["unanswerable"] * 7 + ["red"] * 3})
    assert not differing("textvqa", theirs, rows, (*WORDS, "unanswerable", "Unanswerable."))


def test_pope_where_answers_are_yes_or_no() -> None:
    """The mean of lmms-eval's F1 of its three splits is our figure."""
    from lmms_eval.tasks.pope.utils import pope_aggregate_f1_score, pope_process_results

    from transprune.integrations.lmms_tasks import pictures

    rows = docs("pope")
    given = list(itertools.islice(itertools.cycle(("yes", "no", "Yes", "yes", "No")), len(rows)))
    scores = []
    for split in ("adversarial", "popular", "random"):
        found = []
        for doc, text in zip(rows, given, strict=True):
            if doc["category"] == split:
                found.append(pope_process_results(doc, [text])["pope_f1_score"])
        scores.append(pope_aggregate_f1_score(found))

    answers = [pictures.pope_results(doc, [text]) for doc, text in zip(rows, given, strict=True)]
    mean = pictures.pope_mean_f1([one["pope_mean_f1"] for one in answers])
    assert mean == pytest.approx(np.mean(scores))
    assert total("pope", rows, given) == pytest.approx(mean)
    assert 0.3 < mean < 0.9


def test_pope_beside_yes_and_no() -> None:
    """What differs by design: an answer that says neither no nor not is a yes to POPE's own script."""
    from lmms_eval.tasks.pope.utils import pope_process_results

    def theirs(doc, given):
        return pope_process_results(doc, [given])["pope_accuracy"]["score"]

    positive, negative = docs("pope")[:2]
    odd = {given for given in YES_NO if given.strip().lower() not in ("yes", "no")}
    for answers, given, expected in differing("pope", theirs, (positive, negative), YES_NO):
        assert given in odd
        assert expected == 0.0
        denies = {"no", "not"} & set(given.lower().replace(",", " ").replace(".", " ").split())
        assert answers == (("no",) if denies else ("yes",)), given


@pytest.mark.parametrize("name", ["tgif", "msvd"])
def test_videos_without_a_judge(name) -> None:
    """Exact match after articles and punctuation; lmms-eval has no such task."""
    from transprune.integrations.lmms_tasks import videos

    doc = {"question": "what?\nShort.", "answer": "a dog", "question_id": "1"}
    for given, score in (
        ("dog", 1),
        ("The dog.", 1),
        ("A dog!", 1),
        ("dogs", 0),
        ("", 0),
        ("a", 0),
    ):
        assert videos.results(doc, [given]) == {"exact_match": score}, given
        assert METRICS[BENCHMARKS[name].metric].grade(given, ["a dog"]) == score
