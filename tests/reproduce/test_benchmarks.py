"""Benchmarks in the layout in which they are published."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from reproduce.small import changed
from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.files import find_dataset, find_files
from transprune.bench.data.benchmarks.read import read_benchmark
from transprune.errors import ImageError, TaskError
from transprune.nano import scenes
from transprune.reproduce.smoke.rows import SCENES

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
PICTURES = [name for name, one in BENCHMARKS.items() if not one.videos]


def items(name, data, **options):
    return read_benchmark(BENCHMARKS[name], data, **options).items


@pytest.mark.parametrize("name", PICTURES)
def test_rows_become_questions_about_their_own_pictures(name, data) -> None:
    found = items(name, data)
    assert len({item.id for item in found}) == len(found)
    assert len({item.image for item in found}) >= SCENES - 1

    # every picture is that of its scene, in the order of the rows
    images = list(dict.fromkeys(item.image for item in found))
    for item in found:
        scene = scenes.draw("test", images.index(item.image))
        assert np.array_equal(np.asarray(item.pictures[0]()), scene.pixels)


def test_prompts_are_those_of_llava(data) -> None:
    mme = items("mme", data)[0]
    assert mme.question.endswith(SHORT)
    assert "Please answer" not in mme.question
    assert items("textvqa", data)[0].question.count("\nReference OCR token: ") == 1

    choice = items("mmb", data)[0].question
    assert choice.endswith(LETTER)
    assert [line[:3] for line in choice.splitlines()[1:5]] == ["A. ", "B. ", "C. ", "D. "]
    assert "nan" not in choice

    # every second row of ScienceQA has a hint
    hinted = [item.question.startswith("Context: ") for item in items("sqa", data)]
    assert hinted == [bool(number % 2) for number in range(SCENES)]


def test_rows_about_videos_and_cognition_are_left_out(data) -> None:
    assert len(items("seed", data)) == SCENES - 1
    mme = BENCHMARKS["mme"]
    row = {"question_id": "1.png", "question": "q", "answer": "Yes", "category": "code_reasoning"}
    assert mme.ask(row) is None


def test_both_questions_of_an_mme_picture_share_its_name(data) -> None:
    found = items("mme", data)
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first.image == second.image
        assert {first.answers[0], second.answers[0]} == {"Yes", "No"}


def test_a_limit_takes_the_first(data) -> None:
    assert [item.id for item in items("gqa", data, limit=3)] == [
        item.id for item in items("gqa", data)[:3]
    ]


def test_missing_data_says_what_to_fetch(tmp_path) -> None:
    with pytest.raises(TaskError, match=r"no data: .*hf download --repo-type dataset lmms-lab/MME"):
        read_benchmark(BENCHMARKS["mme"], tmp_path)

    (tmp_path / "lmms-lab" / "MME").mkdir(parents=True)
    with pytest.raises(TaskError, match=r"no file data/test-\*\.parquet.*split 'test'"):
        read_benchmark(BENCHMARKS["mme"], tmp_path)


def test_the_hub_is_asked_where_no_folder_is_given(monkeypatch) -> None:
    import huggingface_hub

    def refuse(*args, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(TaskError, match=r"lmms-lab/GQA cannot be fetched \(no network\).*--data"):
        find_dataset(BENCHMARKS["gqa"], None)

    asked = []

    def fetch(repository, *, repo_type, allow_patterns):
        asked.append((repository, repo_type, allow_patterns))
        return "/somewhere"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert str(find_dataset(BENCHMARKS["gqa"], None)) == "/somewhere"
    patterns = [
        "README.md",
        "testdev_balanced_instructions/*",
        "testdev_balanced_images/*",
    ]
    assert asked == [("lmms-lab/GQA", "dataset", patterns)]


def test_data_without_access_say_how_to_get_it(monkeypatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError

    class Refused(GatedRepoError):
        def __init__(self) -> None:
            Exception.__init__(self, "403 Client Error.\nAccess is restricted")

    def refuse(*args, **options):
        raise Refused

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(TaskError, match=r"no access: lmms-lab/GQA .*403.*hf auth login"):
        find_dataset(BENCHMARKS["gqa"], None)


def test_files_are_found_with_and_without_a_readme(data, tmp_path) -> None:
    benchmark = BENCHMARKS["sqa"]
    folder = find_dataset(benchmark, data)
    listed = find_files(benchmark, folder, benchmark.config)
    assert [file.name for file in listed] == ["test-00000-of-00001.parquet"]

    copy = tmp_path / "ScienceQA"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("no header")
    assert [file.name for file in find_files(benchmark, copy, benchmark.config)] == [listed[0].name]
    # a data set without its owner's folder is found too
    assert find_dataset(benchmark, tmp_path) == copy


def test_a_lost_picture_leaves_out_its_row(data, tmp_path) -> None:
    def rename(rows) -> None:
        rows[3]["imageId"] = "nowhere"

    found = read_benchmark(BENCHMARKS["gqa"], changed(data, tmp_path, "gqa", rename))
    assert len(found.items) == SCENES - 1
    assert len(found.skipped) == 1
    assert "row 3 of group 0: no picture of the name 'nowhere'" in found.skipped[0]


def test_a_damaged_picture_is_an_error_with_its_place(data, tmp_path) -> None:
    def damage(rows) -> None:
        rows[0]["image"] = {"bytes": rows[0]["image"]["bytes"][:40], "path": "x"}
        rows[1]["image"] = None

    found = items("pope", changed(data, tmp_path, "pope", damage))
    with pytest.raises(ImageError, match="row 0 of group 0: damaged picture"):
        found[0].pictures[0]()
    with pytest.raises(ImageError, match="row 1 of group 0: no picture in column 'image'"):
        found[1].pictures[0]()


def test_another_table_is_refused_with_its_columns(data, tmp_path) -> None:
    def drop(rows) -> None:
        for row in rows:
            del row["hint"]

    with pytest.raises(TaskError, match=r"lacks the column hint; it has .*question"):
        read_benchmark(BENCHMARKS["sqa"], changed(data, tmp_path, "sqa", drop))


def answered(metric, item, given):
    """A record's fields for a question with an answer."""
    score = metric.grade(given, item.answers)
    return SimpleNamespace(
        given=given, answers=item.answers, kind=item.kind, item=item.id, score=score
    )


def score_of(name, found, given) -> float:
    """The published figure for these answers."""
    from transprune.bench.data.metrics import METRICS

    metric = METRICS[BENCHMARKS[name].metric]
    groups: dict[str, list] = {}
    for item, text in zip(found, given, strict=True):
        groups.setdefault(item.image, []).append(answered(metric, item, text))
    totals = np.sum([metric.tally_image(group) for group in groups.values()], axis=0)
    return BENCHMARKS[name].scale * float(metric.score(totals))


@pytest.mark.parametrize("name", PICTURES)
def test_right_answers_give_the_full_score(name, data) -> None:
    found = items(name, data)
    best = 2000 if name == "mme" else 100
    assert score_of(name, found, [item.answers[0] for item in found]) == pytest.approx(best)


def test_always_yes_scores_half_of_mme_accuracy_and_no_pair(data) -> None:
    found = items("mme", data)
    # each category: accuracy 50 + pairs 0
    assert score_of("mme", found, ["Yes"] * len(found)) == pytest.approx(500)


def test_one_wrong_rotation_loses_its_question(data) -> None:
    found = items("mmb", data)
    given = [item.answers[0] for item in found]
    given[2] = "A" if given[2] != "A" else "B"
    assert score_of("mmb", found, given) == pytest.approx(100 * (SCENES - 1) / SCENES)


def test_pope_is_the_mean_of_three_f1(data) -> None:
    found = items("pope", data)
    # "yes" to all: precision 1/2, recall 1, F1 2/3 in each split
    assert score_of("pope", found, ["yes"] * len(found)) == pytest.approx(200 / 3)


def test_an_unfinished_pair_is_no_pair() -> None:
    from transprune.bench.data.metrics import METRICS, PERCEPTION

    mme = METRICS["mme"]
    record = SimpleNamespace(given="yes", answers=("Yes",), kind="count", item="1", score=1.0)
    totals = np.array(mme.tally_image([record]))
    assert totals.reshape(len(PERCEPTION), 4)[1].tolist() == [1, 1, 0, 0]
    assert np.isnan(mme.score(totals))
