"""From what a user asks to a finished run: load, plan, certify, answer, and measure the bill."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch

from transprune.bench.bill import measure_bill
from transprune.bench.certificate import Certificate, Settings, TaskInfo
from transprune.bench.prompts import Prompts
from transprune.bench.records import Run, read_run
from transprune.bench.runner import BATCH, Progress, open_run, run_trials
from transprune.bench.tasks import NANO, load_tasks
from transprune.bench.trials import ORACLES, QUICK, default_methods, plan_trials
from transprune.checkpoint import load, locate

BUDGETS = (0.60, 0.41, 0.31, 0.20, 0.12)


@dataclass(frozen=True)
class Plan:
    """What `transprune bench` is asked to do.

    Attributes:
        out: folder of the run.
        model: `"nano"`, a folder or a hub id.
        tasks: `"nano"`, or a folder or file of questions.
        methods: names, presets or recipes; empty for all that are registered.
        budgets: shares of the unpruned `exact` prefill; None where methods run as they are.
        n: scenes (bundled tasks, default 200) or questions (default all).
        split: of the bundled scenes.
        seed: of questions and of methods that draw.
        ablations: also the seed paper's ablations.
        bill: also measure time and memory.
        strict: a bad line of a task file is an error.
        dtype, device, attention: how the model is loaded.
        batch_size: prompts at a time.
        max_new_tokens: longest answer.
        command: to be written into the certificate.
    """

    out: Path
    model: str = NANO
    tasks: str = NANO
    methods: tuple[str, ...] = ()
    budgets: tuple[float | None, ...] = BUDGETS
    n: int | None = None
    split: str = "test"
    seed: int = 0
    ablations: bool = False
    bill: bool = True
    strict: bool = False
    dtype: str = "auto"
    device: str = "auto"
    attention: str = "sdpa"
    batch_size: int = BATCH
    max_new_tokens: int | None = None
    command: str = ""


Said = Callable[[str], None]


def launch(
    plan: Plan, progress: Callable[[Progress], None] = lambda progress: None, say: Said = lambda line: None
) -> Run:
    """Do it, or go on where an earlier call stopped; everything is on disk after every batch.

    Raises:
        TaskError: no usable questions.
        BenchError: a method that cannot run on this model.
        RecordError: the folder holds another run.
    """
    questions = load_tasks(plan.tasks, n=plan.n, split=plan.split, seed=plan.seed, strict=plan.strict)
    for line in questions.skipped:
        say(f"left out: {line}")
    checkpoint = load(plan.model, dtype=plan.dtype, device=plan.device, attention=plan.attention)
    items = [item for task in questions.tasks for item in task.items]
    prompts = Prompts(checkpoint, items)
    methods = plan.methods or default_methods(oracle=questions.knows_relevant)
    trials = plan_trials(methods, plan.budgets, prompts.nominal(), seed=plan.seed, ablate=plan.ablations)
    longest = plan.max_new_tokens or (2 if plan.tasks == NANO else 32)
    model = checkpoint.model
    settings = Settings(
        model=plan.model,
        weights=fingerprint(plan.model),
        tasks=plan.tasks,
        items=questions.fingerprint,
        split=questions.split,
        n=plan.n,
        seed=plan.seed,
        dtype=str(model.dtype).removeprefix("torch."),
        attention=str(model.config._attn_implementation),
        device=model.device.type,
        max_new_tokens=longest,
    )
    nominal = prompts.nominal()
    certificate = Certificate(
        settings=settings,
        conditions=tuple(trial.condition for trial in trials),
        tasks=tuple(TaskInfo(task.name, task.metric.name, len(task.items), task.images) for task in questions.tasks),
        prompt={
            "visual_tokens": nominal.visual_tokens,
            "text_tokens": nominal.text_tokens,
            "instruction_tokens": nominal.instruction_tokens,
        },
        geometry=asdict(prompts.geometry),
        versions=versions(),
        commit=commit(),
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=plan.command,
        machine={"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        skipped=questions.skipped,
    )
    certificate = open_run(plan.out, certificate)
    note = run_trials(
        plan.out, certificate, prompts, questions.tasks, trials, batch_size=plan.batch_size, report=progress
    )
    if note:
        say(note)
    if plan.bill:
        own = [trial for trial in trials if not trial.condition.group.startswith("ablation")]
        timed = [trial for trial in own if trial.condition.method not in ORACLES]
        measure_bill(
            plan.out,
            prompts,
            items,
            timed,
            report=lambda name, done, total: progress(Progress(f"bill: {name}", done, total)),
        )
    return read_run(plan.out)


def quick(plan_out: Path, command: str, methods: Sequence[str] = ()) -> Plan:
    """A plan that answers in minutes: a few methods, two budgets, sixty scenes."""
    return Plan(plan_out, methods=tuple(methods) or QUICK, budgets=(0.41, 0.20), n=60, command=command)


def versions() -> dict[str, str]:
    """Of everything that could change an answer."""
    from transprune import __version__

    packages = ("torch", "transformers", "numpy", "pillow")
    return {"transprune": __version__, **{name: version(name) for name in packages}, "python": sys.version.split()[0]}


def commit() -> str | None:
    """Revision of the checkout this code runs from, with a `+` where files were changed; None elsewhere."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def fingerprint(model: str) -> str:
    """Of the weight files of a model in a folder here; empty for one that is not."""
    folder = Path(locate(model))
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()[:16] if files else ""
