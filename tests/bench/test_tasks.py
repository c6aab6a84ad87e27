"""Tasks from files: bad lines are named with file and line, and left out or, if strict, refused."""

import pytest

from transprune.bench.data.tasks import load_tasks
from transprune.errors import TaskError

GOOD = {"image": "a.png", "question": "what?", "answers": ["red", "crimson"]}


def _items(folder, **options):
    return load_tasks(str(folder), **options).items


def test_a_plain_line(write_tasks) -> None:
    questions = load_tasks(str(write_tasks(GOOD)))
    (task,) = questions.tasks
    (item,) = questions.items
    assert (task.name, task.metric.name, task.images) == ("questions", "exact_match", 1)
    assert (item.id, item.question, item.answers) == ("1", "what?", ("red", "crimson"))
    assert item.pictures[0]().size == (96, 96)
    assert item.relevant is None and not questions.knows_relevant and not questions.skipped


def test_families_become_tasks_and_n_takes_the_first(write_tasks) -> None:
    lines = []
    for number in range(2):
        for family in ("one", "two"):
            lines.append(GOOD | {"family": family, "id": f"{family}{number}"})
    folder = write_tasks(*lines)

    sizes = {task.name: len(task.items) for task in load_tasks(str(folder)).tasks}
    assert sizes == {"one": 2, "two": 2}
    assert [item.id for item in _items(folder, n=3)] == ["one0", "one1", "two0"]
    assert [item.id for item in _items(folder, only=["two"])] == ["two0", "two1"]
    with pytest.raises(TaskError, match=r"no task 'tow' among .* Did you mean 'two'"):
        _items(folder, only=["one", "tow"])


@pytest.mark.parametrize(
    "options", [["red", "blue"], {"A": "red", "b": "blue"}], ids=["list", "letters"]
)
@pytest.mark.parametrize("answer", ["B", "b", "blue"])
def test_options_make_it_multiple_choice(write_tasks, options, answer) -> None:
    questions = load_tasks(
        str(write_tasks({"image": "a.png", "question": "q?", "options": options, "answer": answer}))
    )
    assert questions.tasks[0].metric.name == "mc"
    assert questions.items[0].question == "q? A red B blue"
    assert questions.items[0].answers == ("B",)


def test_ten_answers_make_it_vqa(write_tasks) -> None:
    line = {"image": "a.png", "question": "q?", "answers": ["red"] * 7 + ["blue"] * 3}
    assert load_tasks(str(write_tasks(line))).tasks[0].metric.name == "vqa"


def test_several_images(write_tasks) -> None:
    (item,) = _items(
        write_tasks({"image": ["a.png", "b.png"], "question": "same?", "answer": "no"})
    )
    first, second = (picture() for picture in item.pictures)
    assert first.tobytes() != second.tobytes()
    assert item.image == "a.png|b.png"


def test_a_json_list_and_a_byte_order_mark(write_tasks) -> None:
    folder = write_tasks([GOOD, GOOD | {"id": "x"}], name="questions.json")
    assert [item.id for item in _items(folder)] == ["1", "x"]
    (folder / "marked.jsonl").write_bytes(
        b"\xef\xbb\xbf" + (folder / "questions.json").read_bytes()[1:].split(b", {")[0]
    )
    assert len(_items(folder / "marked.jsonl")) == 1


BAD = {
    "missing image": (GOOD | {"image": "c.png"}, "c.png"),
    "broken image": (GOOD | {"image": "questions.jsonl"}, "questions.jsonl"),
    "image of the wrong kind": (GOOD | {"image": 3}, "image must be a path"),
    "unknown field": (GOOD | {"anwser": "red"}, "unknown field 'anwser'. Did you mean 'answer'?"),
    "no question": ({"image": "a.png", "answer": "x"}, "question must be text"),
    "no answer": ({"image": "a.png", "question": "q"}, "give either 'answer'"),
    "both answers": (GOOD | {"answer": "x"}, "give either 'answer'"),
    "empty answer": ({"image": "a.png", "question": "q", "answers": ["x", " "]}, "none empty"),
    "no answers": ({"image": "a.png", "question": "q", "answers": []}, "at least one"),
    "not an object": ([1, 2], "a question is an object"),
    "no JSON": (b'{"image": ', "not JSON"),
    "not UTF-8": (
        b'{"image": "a.png", "question": "gr\xfc\xdfe?", "answer": "x"}',
        "not UTF-8 (byte 0xfc",
    ),
    "unknown metric": (GOOD | {"metric": "exactmatch"}, "Did you mean 'exact_match'?"),
    "option that is none": (
        {"image": "a.png", "question": "q", "options": ["r", "b"], "answer": "C"},
        "must be one of the options",
    ),
    "one option": (
        {"image": "a.png", "question": "q", "options": ["r"], "answer": "A"},
        "2 to 26 texts",
    ),
    "POPE without a split": (GOOD | {"metric": "pope", "answers": ["no"]}, "needs a kind"),
    "not a number": (
        b'{"image": "a.png", "question": "q", "answer": NaN}',
        "NaN is no JSON number",
    ),
    "field given twice": (
        b'{"image": "a.png", "question": "q", "question": "r", "answer": "x"}',
        "'question' comes twice",
    ),
    "nested": (b"[" * 100_000 + b"]" * 100_000, "nested more than"),
    "endless number": (b'{"id": ' + b"9" * 5000 + b"}", "more digits"),
    "half a letter": (
        b'{"image": "a.png", "question": "which \\ud83d?", "answer": "x"}',
        "half a letter",
    ),
    "family of the wrong kind": (GOOD | {"family": ["a"]}, "family must be text"),
    "id of the wrong kind": (GOOD | {"id": {"a": 1}}, "id must be text or a whole number"),
    "letter used twice": (
        {"image": "a.png", "question": "q", "options": {"a": "r", "A": "b"}, "answer": "A"},
        "a letter of its own",
    ),
    "27 options": (
        {"image": "a.png", "question": "q", "options": ["x"] * 27, "answer": "A"},
        "2 to 26 texts",
    ),
    "null byte in a path": (GOOD | {"image": "a\0.png"}, "cannot be read"),
    "used id": (GOOD | {"id": "1"}, "id '1' was used on line 1 already"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_and_left_out_or_refused(write_tasks, case) -> None:
    line, reason = BAD[case]
    folder = write_tasks(GOOD, line, GOOD)

    questions = load_tasks(str(folder))
    assert [item.id for item in questions.items] == ["1", "3"]
    (skipped,) = questions.skipped
    assert skipped.startswith(f"{folder / 'questions.jsonl'}, line 2: ")
    assert reason in skipped

    with pytest.raises(TaskError) as error:
        load_tasks(str(folder), strict=True)
    assert str(error.value) == skipped


def test_a_family_has_one_metric(write_tasks) -> None:
    folder = write_tasks(GOOD, GOOD | {"metric": "vqa"})
    questions = load_tasks(str(folder))
    assert [item.id for item in questions.items] == ["1"]
    assert "metric vqa, but its family 'questions' has exact_match" in questions.skipped[0]
    with pytest.raises(TaskError, match="metric vqa"):
        load_tasks(str(folder), strict=True)


@pytest.mark.parametrize(
    ("lines", "said"),
    [((), "the file is empty"), ((b"{",), "line 1: not JSON")],
    ids=["empty", "nothing usable"],
)
def test_a_file_without_any_question_is_an_error(write_tasks, lines, said) -> None:
    with pytest.raises(TaskError, match=said):
        load_tasks(str(write_tasks(*lines)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_line_ends_of_other_systems(tmp_path, write_tasks, encoding, end) -> None:
    folder = write_tasks(GOOD, GOOD)
    file = folder / "questions.jsonl"
    file.write_bytes(file.read_text().replace("\n", end).encode(encoding))
    assert len(load_tasks(str(folder)).items) == 2


def test_a_file_in_utf16_says_so(write_tasks) -> None:
    folder = write_tasks(GOOD)
    file = folder / "questions.jsonl"
    file.write_bytes(file.read_text().encode("utf-16"))
    with pytest.raises(TaskError, match="UTF-16; save it as UTF-8"):
        load_tasks(str(folder))


def test_names_that_no_file_can_have(tmp_path) -> None:
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(TaskError):
            load_tasks(str(tmp_path / name))


def test_no_task_there(tmp_path) -> None:
    with pytest.raises(TaskError, match="no task at"):
        load_tasks(str(tmp_path / "nowhere"))
    with pytest.raises(TaskError, match=r"has no questions\.jsonl"):
        load_tasks(str(tmp_path))


def test_the_fingerprint_tells_questions_apart(write_tasks) -> None:
    before = load_tasks(str(write_tasks(GOOD))).fingerprint
    assert load_tasks(str(write_tasks(GOOD))).fingerprint == before

    for change in (
        {"question": "which?"},
        {"answers": ["blue"]},
        {"image": "b.png"},
        {"family": "x"},
    ):
        assert load_tasks(str(write_tasks(GOOD | change))).fingerprint != before


def test_scenes_are_the_same_for_the_same_seed_and_know_their_tokens() -> None:
    first, again, other = (load_tasks("nano", n=3, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.knows_relevant
    assert {task.name: task.metric.name for task in first.tasks}["exist"] == "pope"
    assert load_tasks("nano", n=3, split="validation").fingerprint != first.fingerprint
    with pytest.raises(TaskError, match="test and validation"):
        load_tasks("nano", n=3, split="train")


@pytest.mark.parametrize("metric", ["mme", "circular"])
def test_metrics_of_one_benchmark_are_not_for_files(write_tasks, metric) -> None:
    file = write_tasks(GOOD | {"metric": metric})
    with pytest.raises(TaskError, match=f"no metric '{metric}'.*exact_match"):
        load_tasks(str(file), strict=True)
