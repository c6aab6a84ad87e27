"""The plugin in lmms-eval itself: found, run on stock tasks, equal to our own answers and scores.

The stock tasks read drawn rows: `datasets` takes a folder of the data set's name in the working
directory before it asks the hub.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from eval.workplace import evaluate, make_workplace
from transprune.bench.data.benchmarks import BENCHMARKS
from transprune.bench.data.benchmarks.read import read_benchmark
from transprune.bench.data.metrics import METRICS
from transprune.errors import MethodError
from transprune.methods.common.recipe import resolve
from transprune.models.answer import ask, prepare
from transprune.models.checkpoint import load
from transprune.nano import scenes

# stock task -> our benchmark, and its metric in the results
TASKS = {
    "mme": ("mme", "mme_perception_score"),
    "seedbench": ("seed", "seed_image"),
    "vqav2_val": ("vqav2", "exact_match"),
    "mmbench_en_dev_static": ("mmb", "gpt_eval_score"),
    "pope": ("pope", "pope_accuracy"),
}
RUNS = {
    "unpruned": ("pretrained=nano", 1, ()),
    "pruned": ("pretrained=nano,method=transprune:alpha=0.4;accumulation=false", 4, ()),
    "simple": ("pretrained=nano,method=transprune-high", 3, ("--force_simple",)),
}
METHODS = {
    "unpruned": None,
    "pruned": "transprune:alpha=0.4,accumulation=false",
    "simple": "transprune-high",
}


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Path:
    """A working directory with all data sets."""
    return make_workplace(tmp_path_factory.mktemp("lmms"))


@pytest.fixture(scope="session", params=RUNS)
def evaluated(request, workplace):
    """Name of a run, its results, and the samples of each task."""
    arguments, batch, more = RUNS[request.param]
    options = ("--batch_size", str(batch), *more)
    results, samples = evaluate(workplace, workplace / request.param, arguments, TASKS, *options)
    return request.param, results, samples


def given(sample) -> str:
    found = sample["filtered_resps"]
    return found[0] if isinstance(found, list) else found


def items_of(task, samples, workplace):
    """The rows behind the samples, in their order."""
    name, _ = TASKS[task]
    items = read_benchmark(BENCHMARKS[name], workplace / "sets").items
    assert [sample["doc_id"] for sample in samples[: len(items)]] == list(range(len(items)))
    return items


@pytest.mark.timeout(900)
def test_the_run_used_our_model(evaluated) -> None:
    name, results, _ = evaluated
    kind = "TransPruneSimple (simple)" if name == "simple" else "TransPruneChat (chat)"
    backend = results["config"]["model_backend"]
    assert backend == f"transprune.integrations.lmms_eval.{kind}"
    assert results["config"]["model_args"] == RUNS[name][0]


def test_answers_are_those_of_a_plain_question(evaluated, workplace) -> None:
    """As `transprune run` asks: the same text and picture, one by one."""
    name, _, samples = evaluated
    checkpoint = load("nano")
    recipe = METHODS[name]
    method = None if recipe is None else resolve(recipe)
    # the prompts of MMBench and MME differ from LLaVA's own by a space or a sentence
    for task in ("seedbench", "vqav2_val", "pope", "mme"):
        for sample, item in zip(
            samples[task], items_of(task, samples[task], workplace), strict=False
        ):
            inputs = prepare(checkpoint, [item.pictures[0]()], sample["input"].strip())
            assert given(sample) == ask(checkpoint, inputs, method, 16).text, (task, sample)


def test_the_costs_are_in_the_results(evaluated) -> None:
    name, results, _ = evaluated
    numbers = results["throughput"]
    assert 0 < numbers["avg_prefill_seconds"] <= numbers["total_elapsed_time"]
    if name == "unpruned":
        assert "avg_kv_bytes" not in numbers
        return

    assert 0.3 < numbers["avg_exact_prefill_share"] < 0.6
    assert numbers["avg_visual_tokens_layer_00"] == 144
    assert numbers["avg_visual_tokens_layer_15"] == 18
    assert numbers["avg_kv_bytes"] > 0


def test_scores_equal_ours(evaluated, workplace) -> None:
    """The harness's figure from its samples is our metric's figure from the same answers."""
    _, results, samples = evaluated
    for task, (name, key) in TASKS.items():
        benchmark = BENCHMARKS[name]
        metric = METRICS[benchmark.metric]
        groups: dict[str, list] = {}
        items = items_of(task, samples[task], workplace)
        right = 0
        for sample, item in zip(samples[task], items, strict=False):
            text = given(sample)
            score = metric.grade(text, item.answers)
            # to the harness's POPE an answer beside yes and no is wrong, to POPE's own it is a yes
            right += score if text.lower() in ("yes", "no") else 0
            record = SimpleNamespace(
                given=text, answers=item.answers, kind=item.kind, item=item.id, score=score
            )
            groups.setdefault(item.image, []).append(record)

        theirs = results["results"][task][f"{key},none"]
        if task == "pope":
            # the stock task pools the splits; F1 of three is ours alone
            assert theirs == pytest.approx(right / len(items))
            continue
        totals = np.sum([metric.tally_image(group) for group in groups.values()], axis=0)
        scale = benchmark.scale if task in ("mme", "mmbench_en_dev_static") else 1
        assert theirs == pytest.approx(scale * float(metric.score(totals)), abs=1e-6), task


def test_the_registry_finds_both_kinds() -> None:
    from lmms_eval.models import get_model

    from transprune.integrations.lmms_eval import TransPruneChat, TransPruneSimple

    assert get_model("transprune") is TransPruneChat
    assert get_model("transprune", True) is TransPruneSimple


def request(content, number=0, **options):
    """A chat request of one row."""

    def messages(document):
        return [{"role": "user", "content": content}]

    arguments = ("", messages, options, number, "task", "test")
    return SimpleNamespace(args=arguments)


def test_requests_of_all_kinds_come_back_in_their_order(tmp_path) -> None:
    """Several pictures, none, another length limit: batches of their own, answers in order."""
    from transprune.integrations.lmms_eval import TransPruneChat

    model = TransPruneChat("nano", "transprune-high", batch_size="4")
    model.task_dict = {"task": {"test": [{}]}}
    image = Image.fromarray(scenes.draw("test", 0).pixels)
    file = tmp_path / "scene.png"
    image.save(file)
    text = {"type": "text", "text": "what color is the circle ?"}
    one = {"type": "image", "url": image}
    stored = {"type": "image", "url": str(file)}

    asked = [
        request([one, text], until=["\n\n"]),
        request([one, stored, text], until=["\n\n"]),
        request([text], until=["\n\n"]),
        request([stored, text], until=["\n\n"]),
        request([one, text], max_new_tokens=1),
    ]
    found = [result.text for result in model.generate_until(asked)]
    alone = [model.generate_until([single])[0].text for single in asked]
    assert found == alone
    assert found[0] == found[3]
    assert len(found[4].split()) <= 1


def test_mistakes_are_said_at_once() -> None:
    from transprune.integrations.lmms_eval import TransPruneChat

    with pytest.raises(MethodError, match=r"--model_args has no methd.*semicolons"):
        TransPruneChat("nano", methd="fastv")
    with pytest.raises(MethodError, match="fastv"):
        TransPruneChat("nano", method="fastvv")
    with pytest.raises(NotImplementedError, match="generate_until"):
        TransPruneChat("nano").loglikelihood([])
