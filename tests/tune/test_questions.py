"""Questions without labels, and the pictures that are held out."""

from __future__ import annotations

import json

import pytest

from transprune.bench.data.tasks.held_out import groups_of
from transprune.errors import TaskError, TuneError
from transprune.tune.questions import load_questions


def write(folder, *entries):
    file = folder / "my.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return str(file)


def entry(number, **more):
    return {"image": f"{number % 3}.png", "question": f"what is number {number}?", **more}


def read(source, **more):
    return load_questions(source, **{"n": None, "held_out": 0.3, "seed": 0, **more})


def test_no_answer_is_needed_and_none_is_read(pictures):
    bare = read(write(pictures, *map(entry, range(6))))
    labelled = [entry(number, answer="red", kind="x", family="a") for number in range(6)]

    assert bare.items == read(write(pictures, *labelled)).items
    assert {item.answers for item in bare.items} == {("A",)}


def test_options_are_a_part_of_the_question(pictures):
    entries = [entry(0, options=["red", "blue"]), entry(1, options={"x": "cat", "y": "dog"})]
    texts = {item.question for item in read(write(pictures, *entries)).items}
    assert texts == {"what is number 0? A red B blue", "what is number 1? X cat Y dog"}


def test_held_out_pictures_are_never_searched():
    split = read("nano", n=5)
    searched = {item.image for item in split.searched}
    held_out = {item.image for item in split.held_out}

    assert len(searched) == 3 and len(held_out) == 2
    assert not searched & held_out
    assert all(image.startswith("validation/") for image in searched | held_out)


def test_the_seed_decides_which():
    assert read("nano", n=4).items == read("nano", n=4).items
    images = {
        frozenset(item.image for item in read("nano", n=4, seed=s).held_out) for s in range(9)
    }
    assert len(images) > 1


def test_at_least_one_picture_on_each_side(pictures):
    source = write(pictures, entry(0), entry(1))
    for share in (0.01, 0.99):
        split = read(source, held_out=share)
        assert len(split.searched) == len(split.held_out) == 1


def test_pictures_that_are_shown_together_are_held_out_together():
    names = ["1.png", "2.png", "1.png|3.png", "4.png", "./3.png", "5.png|4.png", "6.png"]
    assert groups_of(names) == [
        ["1.png", "1.png|3.png", "./3.png"],
        ["2.png"],
        ["4.png", "5.png|4.png"],
        ["6.png"],
    ]


def test_no_held_out_picture_is_shown_in_a_searched_question(pictures):
    """A question about two pictures holds them together."""
    pair = {"image": ["0.png", "1.png"], "question": "what is equal?"}
    source = write(pictures, entry(0), entry(1), entry(2), pair)
    for seed in range(6):
        split = read(source, seed=seed)
        searched, held_out = (
            {name for item in part for name in item.image.split("|")}
            for part in (split.searched, split.held_out)
        )
        assert searched and held_out
        assert not searched & held_out


def test_one_picture_cannot_be_divided(pictures):
    with pytest.raises(TuneError, match="two or more pictures"):
        read(write(pictures, entry(0), entry(3)))


def test_questions_without_pictures_are_refused(pictures):
    texts = [{"question": "what is a cat?"}, {"question": "why?"}]
    with pytest.raises(TaskError, match=r"no usable question.*image must be a path.*Each needs"):
        read(write(pictures, *texts))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"image": "0.png", "question": "a?", "imag": 1}, "unknown field 'imag'. Did you mean"),
        ({"image": "9.png", "question": "a?"}, "9.png"),
        ({"image": "0.png", "question": " "}, "question must be text"),
        (["0.png"], "a question is an object"),
    ],
)
def test_a_bad_line_is_left_out_or_with_strict_an_error(pictures, bad, reason):
    source = write(pictures, entry(0), bad, entry(1), entry(2))
    split = read(source)
    assert len(split.items) == 3
    assert len(split.skipped) == 1 and "line 2" in split.skipped[0] and reason in split.skipped[0]

    with pytest.raises(TaskError, match="line 2"):
        read(source, strict=True)


def test_a_line_that_is_not_json_and_an_id_given_twice(pictures):
    source = write(pictures, entry(0, id="a"), entry(1, id="a"), entry(2, id="b"))
    with open(source, "a", encoding="utf-8") as stream:
        stream.write("{nonsense\n")

    skipped = read(source).skipped
    assert "was used on line 1 already" in skipped[0]
    assert "line 4" in skipped[1] and "not JSON" in skipped[1]


def test_n_limits_the_questions(pictures):
    assert len(read(write(pictures, *map(entry, range(6))), n=4).items) == 4


def test_a_folder_and_a_json_list(pictures):
    (pictures / "questions.json").write_text(json.dumps([entry(0), entry(1)]), encoding="utf-8")
    assert len(read(str(pictures)).items) == 2

    (pictures / "questions.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TaskError, match="must be a list"):
        read(str(pictures))


def test_nothing_there(tmp_path):
    with pytest.raises(TaskError, match="no questions at"):
        read(str(tmp_path / "missing.jsonl"))
