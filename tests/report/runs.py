"""Runs for the report's tests, made by the benchmark's own runner on the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

from transprune.bench.data.manifest import Manifest, Settings, TaskInfo
from transprune.bench.data.tasks import Questions, load_tasks
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.runner import open_run, run_trials
from transprune.bench.run.trials import plan_trials
from transprune.models.checkpoint import LoadOptions, load


def make_run(
    folder: Path,
    *,
    n: int,
    methods: tuple[str, ...],
    budgets: tuple[float, ...],
    ablate: bool = False,
) -> Path:
    """A finished run about the first `n` test scenes."""
    questions = load_tasks("nano", n=n)
    checkpoint = load("nano", LoadOptions(dtype="float32", device="cpu"))
    prepared = PreparedQuestions(checkpoint, questions.items)
    nominal = prepared.nominal()
    trials = plan_trials(methods, budgets, nominal, ablate=ablate)

    tasks = []
    for task in questions.tasks:
        tasks.append(TaskInfo(task.name, task.metric.name, len(task.items), task.images))

    manifest = Manifest(
        settings=make_settings(questions, n),
        conditions=tuple(trial.condition for trial in trials),
        tasks=tuple(tasks),
        prompt={"visual_tokens": nominal.visual_tokens, "text_tokens": nominal.text_tokens},
        geometry={},
        versions={"transprune": "test"},
        commit=None,
        started="2026-01-01T00:00:00Z",
        # a hostile command line, which the page must show as text
        command="transprune bench --n 6 <script>alert(1)</script>",
        machine={"cores": 2},
    )
    run_trials(folder, open_run(folder, manifest), prepared, questions.tasks, trials)
    return folder


def make_settings(questions: Questions, n: int) -> Settings:
    """The bundled model on the test scenes."""
    return Settings(
        model="nano",
        weights="",
        tasks="nano",
        items=questions.fingerprint,
        split="test",
        n=n,
        seed=0,
        dtype="float32",
        attention="sdpa",
        device="cpu",
        max_new_tokens=4,
    )


def add_costs(folder: Path, conditions: tuple[str, ...]) -> None:
    """Measured costs as docs/benchmark.md describes them."""
    cost = {
        "prefill": 2.5e9,
        "scoring": 1e7,
        "decode": 1e8,
        "prefill_share": 0.41,
        "decode_share": 0.9,
        "unit": "MACs",
    }
    ratio = {"median": 0.52, "low": 0.5, "high": 0.55}

    rows = []
    for name in conditions:
        row = {
            "condition": name,
            "prefill_ms": 12.3,
            "prefill_ratio": ratio,
            "decode_ms": 2.1,
            "decode_ratio": ratio,
            "kv_bytes": 1 << 20,
            "kv_share": 0.6,
            "peak_bytes": 3 << 20,
            "peak_share": 0.7,
            "paper": cost,
            "exact": {**cost, "unit": "FLOPs"},
        }
        rows.append(row)

    document = {"schema": 1, "threads": 1, "rounds": 5, "prompts": 8, "rows": rows}
    (folder / "bill.json").write_text(json.dumps(document), encoding="utf-8")
