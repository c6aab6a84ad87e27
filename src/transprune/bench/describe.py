"""Describe a run for its manifest, and compare a plan with the run that its folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

from transprune.bench.data.manifest import (
    MANIFEST_FILE,
    Manifest,
    Settings,
    TaskInfo,
    check_same,
    read_manifest,
)
from transprune.bench.data.provenance import commit, fingerprint, machine, versions
from transprune.bench.data.tasks import Questions, find_bed
from transprune.bench.plan import MAX_NEW_TOKENS, Plan
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.trials import Trial


def build_manifest(
    plan: Plan, questions: Questions, prepared: PreparedQuestions, trials: Sequence[Trial]
) -> Manifest:
    """The manifest of a run that is about to begin."""
    # costs were planned for this prompt, so it belongs to the conditions
    nominal = prepared.nominal()
    prompt = {
        "visual_tokens": nominal.visual_tokens,
        "text_tokens": nominal.text_tokens,
        "instruction_tokens": nominal.instruction_tokens,
    }

    tasks = []
    for task in questions.tasks:
        tasks.append(TaskInfo(task.name, task.metric.name, len(task.items), task.images))

    return Manifest(
        settings=_settings(plan, questions, prepared.checkpoint.model),
        conditions=tuple(trial.condition for trial in trials),
        tasks=tuple(tasks),
        prompt=prompt,
        geometry=asdict(prepared.geometry),
        versions=versions(),
        commit=commit(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=plan.command,
        machine=machine(),
        skipped=questions.skipped,
    )


def _settings(plan: Plan, questions: Questions, model: Any) -> Settings:
    # as the model was really loaded, not as requested: "auto" could mean another dtype elsewhere
    return Settings(
        **_requested(plan, questions),
        weights=fingerprint(plan.model),
        dtype=str(model.dtype).removeprefix("torch."),
        attention=str(model.config._attn_implementation),
        device=model.device.type,
    )


def _requested(plan: Plan, questions: Questions) -> dict[str, Any]:
    """The settings that are known without a model."""
    # any model may answer the questions of a test bed
    bed = find_bed(plan.tasks)
    longest = bed.answer_tokens if bed else MAX_NEW_TOKENS

    return {
        "model": plan.model,
        "tasks": plan.tasks,
        "items": questions.fingerprint,
        "split": questions.split,
        "n": bed.scenes if bed and plan.n is None else plan.n,
        "seed": plan.seed,
        "max_new_tokens": plan.max_new_tokens or longest,
    }


def check_known(plan: Plan, questions: Questions) -> None:
    """Refuse to continue a run with other settings, as far as they are known without a model.

    Raises:
        RecordError: some differ; each is named.
    """
    if (plan.out / MANIFEST_FILE).exists():
        known = read_manifest(plan.out).settings
        check_same(plan.out, known, replace(known, **_requested(plan, questions)))
