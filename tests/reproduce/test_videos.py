"""Questions about videos: their files, exact match, and a judge whose failures are no verdicts."""

from __future__ import annotations

import shutil

import pytest

from reproduce.judge_stub import exact, judge_server
from reproduce.small import small_plan
from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.read import read_benchmark
from transprune.bench.data.judge import Judge, Verdict, parse_verdict
from transprune.cli.guard import quiet_libraries
from transprune.errors import BenchError, ImageError, RecordError, TaskError
from transprune.reproduce.page import write_result
from transprune.reproduce.run import reproduce
from transprune.reproduce.smoke.films import FRAMES
from transprune.reproduce.smoke.rows import SCENES

VIDEOS = ("tgif", "msvd")


@pytest.fixture(scope="module")
def videos(data):
    """The folder that holds both benchmarks."""
    return data / "GPT_Zero_Shot_QA"


@pytest.fixture
def changed_videos(videos, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(videos, tmp_path / "GPT_Zero_Shot_QA")
    return tmp_path / "GPT_Zero_Shot_QA"


@pytest.mark.parametrize("name", VIDEOS)
def test_rows_become_questions_about_videos(name, videos) -> None:
    found = read_benchmark(BENCHMARKS[name], videos).items
    assert len(found) == len({item.id for item in found}) == SCENES
    assert found[0].question.endswith("\nAnswer the question using a single word or phrase.")
    assert not found[0].pictures

    clip = read_benchmark(BENCHMARKS[name], videos, frames=2).items[3].clips[0]()
    assert (len(clip.frames), clip.total) == (2, FRAMES)


def test_the_folder_may_lie_in_the_collection_or_beside_it(data, videos) -> None:
    for place in (data, videos):
        assert len(read_benchmark(BENCHMARKS["tgif"], place, limit=2).items) == 2


def test_missing_data_says_where_it_is_published(tmp_path) -> None:
    for place in (None, tmp_path):
        with pytest.raises(TaskError, match=r"no data: .*Video-LLaVA.*test_q\.json.*mp4"):
            read_benchmark(BENCHMARKS["tgif"], place)


def test_a_missing_video_leaves_out_its_questions(changed_videos) -> None:
    folder = changed_videos / "TGIF_Zero_Shot_QA"
    shutil.rmtree(folder / "mp4" / "video2")
    found = read_benchmark(BENCHMARKS["tgif"], changed_videos)
    assert len(found.items) == SCENES - 1
    assert found.skipped == ("question 'v_video2_0': no video video2 in mp4",)

    shutil.rmtree(folder / "mp4")
    with pytest.raises(TaskError, match=r"no usable question: .*no video video0 in mp4"):
        read_benchmark(BENCHMARKS["tgif"], changed_videos)


def test_damaged_files_are_named(changed_videos) -> None:
    folder = changed_videos / "MSVD_Zero_Shot_QA"
    (folder / "test_a.json").write_text("[]")
    with pytest.raises(TaskError, match=r"test_q\.json, entry 0: .*answer in test_a\.json"):
        read_benchmark(BENCHMARKS["msvd"], changed_videos)
    (folder / "test_q.json").write_text("{")
    with pytest.raises(TaskError, match=r"test_q\.json cannot be read"):
        read_benchmark(BENCHMARKS["msvd"], changed_videos)


def test_a_damaged_video_is_an_error_with_its_file(changed_videos) -> None:
    place = changed_videos / "TGIF_Zero_Shot_QA" / "mp4"
    shutil.rmtree(place / "video0")
    (place / "video0.mp4").write_bytes(b"no video")
    item = read_benchmark(BENCHMARKS["tgif"], changed_videos).items[0]
    with pytest.raises(ImageError, match=r"video0\.mp4 is no video"):
        item.clips[0]()


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"pred": "yes", "score": 4}', Verdict(True, 4)),
        ("{'pred': 'No', 'score': 0}", Verdict(False, 0)),
        ('Sure! {"pred": "yes", "score": "5"} Bye.', Verdict(True, 5)),
        ("{'pred': 'yes', 'score': 4.8}", Verdict(True, 4)),
    ],
)
def test_a_verdict_is_read(text, verdict) -> None:
    assert parse_verdict(text) == verdict


@pytest.mark.parametrize(
    "text",
    [
        *("", "yes", '{"pred": "maybe", "score": 3}', '{"pred": "yes"}', "{pred: yes}"),
        *('{"pred": "yes", "score": 6}', '{"pred": "yes", "score": "high"}', '["yes", 5]'),
        *('{"pred": "yes", "score": -1}', '{"pred": "yes", "score": NaN}', "{'a': 1}"),
    ],
)
def test_what_is_no_verdict_is_an_error(text) -> None:
    with pytest.raises(BenchError, match=r"a verdict is .*the judge replied"):
        parse_verdict(text)


def table6(out, data, **changes):
    """The result of a small Table 6, the cells of its first row, and its notes."""
    settings = {"exhibit": "table6", "rows": ("unpruned",), "benchmarks": (), "smoke": True}
    notes: list[str] = []
    with quiet_libraries(bars=False):
        plan = small_plan(out, data, **{**settings, **changes})
        result = reproduce(plan, on_note=notes.append)
    cells = dict(zip(result.exhibit.columns, result.rows[0].cells, strict=True))
    return result, cells, notes


def test_without_a_judge_it_is_exact_match_and_says_so(data, tmp_path) -> None:
    plan = {"benchmarks": ("tgif", "tgif-grade"), "limit": 3}
    result, cells, notes = table6(tmp_path, data, **plan)
    assert cells["tgif"].answered == 3
    assert cells["tgif"].reason == "exact match; the published figure is a judge's (--judge)"
    assert cells["tgif-grade"].ours is None
    assert "--judge URL --judge-model NAME" in cells["tgif-grade"].reason
    assert any("takes no videos" in note and "2 frames" in note for note in notes)
    page = write_result(tmp_path / "table6", result, "command")
    assert "exact match; the published figure" in page.read_text(encoding="utf-8")


def test_a_judge_gives_accuracy_and_grade_and_is_named(data, tmp_path) -> None:
    with judge_server() as (url, seen):
        plan = {"benchmarks": ("tgif", "tgif-grade"), "limit": 3, "judge": Judge(url, "stub")}
        result, cells, _ = table6(tmp_path, data, **plan)
        assert len(seen) == 3
        right = cells["tgif"].ours
        assert cells["tgif-grade"].ours == pytest.approx((5 * right + 1 * (100 - right)) / 100)
        assert cells["tgif"].reason == cells["tgif-grade"].reason == ""

        # verdicts are kept, so nobody is asked again
        _, again, _ = table6(tmp_path, data, **plan)
        assert len(seen) == 3
        assert again == cells

    assert result.setting["judge"].startswith(f"stub at {url} (Video-ChatGPT")
    assert seen[0]["model"] == "stub"
    assert "single word or phrase" not in seen[0]["messages"][-1]["content"]


def test_a_failure_of_the_judge_is_no_wrong_answer(data, tmp_path) -> None:
    replies = iter(["what?"])

    def once(asked):
        return next(replies, None) or exact(asked)

    with judge_server(once) as (url, _):
        plan = {"benchmarks": ("msvd",), "limit": 3, "judge": Judge(url, "stub")}
        _, cells, notes = table6(tmp_path, data, **plan)
        assert cells["msvd"].answered == 2
        assert cells["msvd"].reason.startswith("1 answers have no verdict and are left out: ")
        assert "the judge replied 'what?'" in cells["msvd"].reason
        assert any("no verdict" in note for note in notes)

        _, cells, _ = table6(tmp_path, data, **plan)
        assert cells["msvd"].answered == 3
        assert cells["msvd"].reason == ""


@pytest.mark.slow
def test_a_judge_that_refuses_loses_no_answer(data, tmp_path) -> None:
    with judge_server(lambda asked: None) as (url, _):
        plan = {"benchmarks": ("msvd",), "limit": 2, "judge": Judge(url, "stub")}
        _, cells, _ = table6(tmp_path, data, **plan)
    assert cells["msvd"].ours is None
    assert "2 answers have no verdict" in cells["msvd"].reason
    assert "gave no reply" in cells["msvd"].reason

    # the answers are there
    _, cells, notes = table6(tmp_path, data, benchmarks=("msvd",), limit=2)
    assert cells["msvd"].answered == 2
    assert not any("answers to give" in note for note in notes)


@pytest.mark.slow
def test_a_damaged_file_of_verdicts_is_named(data, tmp_path) -> None:
    with judge_server() as (url, _):
        plan = {"benchmarks": ("msvd",), "limit": 2, "judge": Judge(url, "stub")}
        table6(tmp_path, data, **plan)
        file = next(tmp_path.rglob("verdicts-*.jsonl"))
        file.write_text("nonsense\n" + file.read_text())
        with pytest.raises(RecordError, match=r"verdicts-.*line 1 is not a verdict"):
            table6(tmp_path, data, **plan)
