"""The tasks of lmms-eval that stand for our benchmarks, with their data from a folder.

lmms-eval is installed apart (the extra `eval`) and is imported only here and in `harness`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transprune.bench.data.benchmarks import BENCHMARKS, Benchmark
from transprune.bench.data.benchmarks.base import Asked
from transprune.errors import MissingExtra, TaskError
from transprune.integrations.lmms_tasks import task_folder
from transprune.models.source import first_line
from transprune.reproduce.harness_data import in_reach


@dataclass(frozen=True)
class HarnessTask:
    """A task of lmms-eval.

    Attributes:
        name: of the task.
        file: its YAML file, below lmms-eval's tasks; empty for one of ours.
        metric: name of its figure.
        scale: the published figure is this times it.
    """

    name: str
    file: str
    metric: str
    scale: float = 100


TASKS: Mapping[str, HarnessTask] = {
    "mme": HarnessTask("mme", "mme/mme.yaml", "mme_perception_score", 1),
    "vqav2": HarnessTask("vqav2_val", "vqav2/vqav2_val.yaml", "exact_match"),
    "seed": HarnessTask("seedbench", "seedbench/seedbench.yaml", "seed_image"),
    "textvqa": HarnessTask("textvqa_val_ocr", "", "exact_match"),
    "sqa": HarnessTask("scienceqa_img", "scienceqa/scienceqa_img.yaml", "exact_match"),
    "pope": HarnessTask("pope_mean_f1", "", "pope_mean_f1"),
    "gqa": HarnessTask("gqa", "gqa/gqa.yaml", "exact_match"),
    "mmb": HarnessTask(
        "mmbench_en_dev_static", "mmbench/mmbench_en_dev_static.yaml", "gpt_eval_score", 1
    ),
    "tgif": HarnessTask("tgif_qa", "", "exact_match"),
    "msvd": HarnessTask("msvd_qa", "", "exact_match"),
}


def need_harness() -> None:
    """Check that lmms-eval can be imported.

    Raises:
        MissingExtra: it is not installed, or something that it needs.
    """
    try:
        import lmms_eval.evaluator  # noqa: F401
    # it may also fail on a package that does not fit another one
    except (ImportError, RuntimeError) as error:
        raise MissingExtra(
            f"the engine lmms-eval needs lmms-eval ({first_line(error)}): "
            "pip install 'transprune[eval,reproduce]', best in an environment of its own"
        ) from error


def load_task(
    name: str, data: Path | None, limit: int | None, folder: Path
) -> tuple[Any, list[Asked]]:
    """A task with its rows, and each row as a question.

    Args:
        name: of our benchmark.
        data: folder of data sets; None for the hub and its cache.
        limit: at most so many rows, the first ones.
        folder: for files of the task.

    Raises:
        TaskError: no data, or rows that are not of this benchmark.
    """
    benchmark = BENCHMARKS[name]
    task = TASKS[name]
    rows: list[Asked] = []

    def choose(dataset: Any) -> Any:
        chosen, asked = _choose(benchmark, dataset, limit)
        rows[:] = asked
        return chosen

    try:
        with in_reach(benchmark, data, folder) as copies:
            loaded = _build(task, choose, copies)
    except TaskError:
        raise
    # datasets and the hub raise anything for what is missing or refused
    except Exception as error:
        usual = benchmark.repositories[-1]
        raise TaskError(
            f"no data: lmms-eval cannot load the task {task.name} ({first_line(error)}); fetch "
            f"{usual} with `hf download --repo-type dataset {usual} --local-dir DATA/{usual}`, and "
            "give DATA with --data"
        ) from error

    return loaded, rows


def _build(task: HarnessTask, choose: Any, copies: Path | None) -> Any:
    """The object of a task, with its rows chosen before anything else is done to them."""
    import lmms_eval
    from lmms_eval.api.task import ConfigurableMessagesTask
    from lmms_eval.utils import load_yaml_config

    stock = Path(lmms_eval.__file__).parent / "tasks"
    file = stock / task.file if task.file else task_folder() / f"{task.name}.yaml"
    config = load_yaml_config(str(file), mode="full")

    if copies is not None and "class" not in config:
        config["dataset_kwargs"] = {**config.get("dataset_kwargs", {}), "cache_dir": str(copies)}

    own = config.get("process_docs")
    config["process_docs"] = (lambda rows: own(choose(rows))) if own else choose
    kind = config.pop("class", None)
    if kind is not None:
        made = kind(config)
        # a task about videos builds its rows itself, so nothing was chosen yet
        made.dataset["test"] = choose(made.dataset["test"])
        made.task_docs = made.dataset["test"]
    else:
        made = ConfigurableMessagesTask(config=config, model_name="transprune")

    made.set_config(key="num_fewshot", value=0)
    return made


def _choose(benchmark: Benchmark, dataset: Any, limit: int | None) -> tuple[Any, list[Asked]]:
    """The rows that are part of the score, at most `limit`, and each as a question."""
    # pictures are decoded when they are asked about, not to look at rows
    names = [name for name in dataset.column_names if name != benchmark.image]
    numbers: list[int] = []
    found: list[Asked] = []
    for number, row in enumerate(dataset.select_columns(names)):
        if limit is not None and len(numbers) == limit:
            break
        try:
            asked = _asked(benchmark, row, number)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise TaskError(f"row {number}: not a row of {benchmark.title} ({error!r})") from error

        if asked is not None:
            numbers.append(number)
            found.append(asked)

    if not numbers:
        raise TaskError(f"the data of {benchmark.title} has no usable row")
    return dataset.select(numbers), found


def _asked(benchmark: Benchmark, row: Mapping[str, Any], number: int) -> Asked | None:
    """A row as a question, with its number as id where it has none."""
    if benchmark.videos:
        answers = (str(row["answer"]),)
        return Asked(str(row["question_id"]), str(row["video"]), str(row["question"]), answers)
    asked = benchmark.ask(row)
    if asked is None or asked.id:
        return asked
    return Asked(str(number), asked.image or str(number), asked.question, asked.answers, asked.kind)
