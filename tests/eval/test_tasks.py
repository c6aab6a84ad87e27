"""The tasks that lmms-eval lacks, run by it from the folder that the package ships."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eval.workplace import evaluate, make_workplace
from reproduce.judge_stub import exact, judge_server
from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.read import read_benchmark
from transprune.bench.data.metrics import METRICS
from transprune.integrations.lmms_tasks import task_folder
from video.folders import save_checkpoint

INCLUDE = ("--include_path", str(task_folder()))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    return make_workplace(tmp_path_factory.mktemp("tasks"))


def given(sample) -> str:
    found = sample["filtered_resps"]
    return found[0] if isinstance(found, list) else found


def test_the_module_prints_the_folder() -> None:
    command = [sys.executable, "-m", "transprune.integrations.lmms_tasks"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == str(task_folder())
    names = sorted(file.stem for file in Path(shown.strip()).glob("*.yaml"))
    assert names == ["msvd_qa", "pope_mean_f1", "textvqa_val_ocr", "tgif_qa"]


@pytest.mark.timeout(900)
def test_textvqa_with_words_and_pope_of_three_splits(workplace) -> None:
    tasks = {"textvqa_val_ocr": "textvqa", "pope_mean_f1": "pope"}
    results, samples = evaluate(
        workplace, workplace / "pictures", "pretrained=nano,method=transprune-high", tasks, *INCLUDE
    )
    from reproduce.test_benchmarks import score_of

    for task, name in tasks.items():
        items = read_benchmark(BENCHMARKS[name], workplace / "sets").items
        # the prompt is ours to the letter, and the figure our metric's
        assert [one["input"] for one in samples[task]] == [item.question for item in items]
        ours = score_of(name, items, [given(one) for one in samples[task]]) / 100
        metric = "exact_match" if name == "textvqa" else "pope_mean_f1"
        assert results["results"][task][f"{metric},none"] == pytest.approx(ours)
    assert "Reference OCR token" in samples["textvqa_val_ocr"][0]["input"]


@pytest.mark.timeout(900)
def test_videos_with_a_judge(workplace, tmp_path) -> None:
    model = save_checkpoint("video_llava", tmp_path / "model")
    failed = iter(["no idea"])

    def reply(asked):
        return next(failed, None) or exact(asked)

    with judge_server(reply) as (url, seen):
        variables = {
            "TRANSPRUNE_DATA": str(workplace / "sets"),
            "TRANSPRUNE_JUDGE": url,
            "TRANSPRUNE_JUDGE_MODEL": "stub",
        }
        options = ("--limit", "4", *INCLUDE)
        results, samples = evaluate(
            workplace, tmp_path / "out", f"pretrained={model}", ("tgif_qa",), *options, **variables
        )
    assert len(seen) == 4
    items = read_benchmark(BENCHMARKS["tgif"], workplace / "sets").items[:4]
    texts = [given(one) for one in samples["tgif_qa"]]
    metric = METRICS["exact_match"]
    right = [metric.grade(*pair) for pair in zip(texts, [i.answers for i in items], strict=True)]

    found = results["results"]["tgif_qa"]
    assert found["exact_match,none"] == sum(right) / 4
    # a random model is never right; the failed verdict is left out of both means
    assert found["judge_accuracy,none"] == 0.0
    assert found["judge_grade,none"] == 1.0
    verdicts = [one["judge_accuracy"] for one in samples["tgif_qa"]]
    assert verdicts.count(None) == 1
    assert results["configs"]["tgif_qa"]["metadata"]["judge"] == "stub"
    assert results["configs"]["tgif_qa"]["metadata"]["judge_url"] == url
