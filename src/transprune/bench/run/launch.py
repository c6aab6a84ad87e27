"""From what a user asks to a finished run: load, plan, certify, answer, and measure the bill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import Certificate, Settings, TaskInfo
from transprune.bench.data.provenance import commit, fingerprint, machine, versions
from transprune.bench.data.records import Run, read_run
from transprune.bench.data.tasks import NANO, SCENES, Questions, load_tasks
from transprune.bench.measure.bill import ROUNDS, measure_bill
from transprune.bench.run.answers import measure_share
from transprune.bench.run.prompts import Prompts
from transprune.bench.run.runner import BATCH, Progress, Report, open_run, run_trials
from transprune.bench.run.trials import ORACLES, QUICK, Trial, default_methods, plan_trials
from transprune.errors import BenchError, FamilyError
from transprune.models.checkpoint import LoadOptions, load

LONGEST_NANO, LONGEST = 2, 32  # new tokens; the bundled model answers in one word
QUICK_SCENES, QUICK_ROUNDS = 60, 2
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
        rounds: pairs per prompt of the bill.
        strict: a bad line of a task file is an error.
        loading: dtype, device, attention implementation and text tower of the model.
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
    rounds: int = ROUNDS
    strict: bool = False
    loading: LoadOptions = LoadOptions()
    batch_size: int = BATCH
    max_new_tokens: int | None = None
    command: str = ""


Said = Callable[[str], None]


def launch(
    plan: Plan, progress: Report = lambda progress: None, say: Said = lambda line: None
) -> Run:
    """Do it, or go on where an earlier call stopped; everything is on disk after every batch.

    Raises:
        TaskError: no usable questions.
        BenchError: a method that cannot run on this model.
        RecordError: the folder holds another run.
    """
    questions = load_tasks(
        plan.tasks, n=plan.n, split=plan.split, seed=plan.seed, strict=plan.strict
    )
    for line in questions.skipped:
        say(f"left out: {line}")
    checkpoint = load(plan.model, plan.loading)
    prompts = Prompts(checkpoint, questions.items)
    methods = plan.methods or default_methods(oracle=questions.knows_relevant)
    trials = plan_trials(
        methods,
        plan.budgets,
        prompts.nominal(),
        seed=plan.seed,
        ablate=plan.ablations,
        measure=lambda method: measure_share(prompts, questions.items, method),
    )
    trials = list(_fitting(trials, prompts, say if not plan.methods else None))
    certificate = open_run(plan.out, certify(plan, questions, prompts, trials))
    note = run_trials(
        plan.out,
        certificate,
        prompts,
        questions.tasks,
        trials,
        batch_size=plan.batch_size,
        report=progress,
    )
    if note:
        say(note)
    if plan.bill:
        _measure(plan, prompts, questions, trials, progress)
    return read_run(plan.out)


def _fitting(trials: Sequence[Trial], prompts: Prompts, say: Said | None) -> Iterator[Trial]:
    """Trials whose method finds on this model what it needs; the others are said, or without `say` an error."""
    for trial in trials:
        try:
            if trial.method is not None:
                prompts.prune(trial.method)
        except FamilyError as error:
            if say is None:
                raise BenchError(
                    f"{trial.condition.method} cannot run on this model: {error}"
                ) from error
            say(f"left out: {trial.condition.name}: {error}")
        else:
            yield trial


def certify(
    plan: Plan, questions: Questions, prompts: Prompts, trials: Sequence[Trial]
) -> Certificate:
    """The birth certificate of the run that is about to begin."""
    nominal = prompts.nominal()
    return Certificate(
        settings=_settings(plan, questions, prompts.checkpoint.model),
        conditions=tuple(trial.condition for trial in trials),
        tasks=tuple(
            TaskInfo(task.name, task.metric.name, len(task.items), task.images)
            for task in questions.tasks
        ),
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
        machine=machine(),
        skipped=questions.skipped,
    )


def _settings(plan: Plan, questions: Questions, model: Any) -> Settings:
    nano = plan.tasks == NANO
    return Settings(
        model=plan.model,
        weights=fingerprint(plan.model),
        tasks=plan.tasks,
        items=questions.fingerprint,
        split=questions.split,
        n=SCENES if nano and plan.n is None else plan.n,
        seed=plan.seed,
        dtype=str(model.dtype).removeprefix("torch."),
        attention=str(model.config._attn_implementation),
        device=model.device.type,
        max_new_tokens=plan.max_new_tokens or (LONGEST_NANO if nano else LONGEST),
    )


def _measure(
    plan: Plan, prompts: Prompts, questions: Questions, trials: Sequence[Trial], progress: Report
) -> None:
    """The bill of all that a user could run: no oracle, no ablation."""
    timed = [trial for trial in trials if trial.condition.method not in ORACLES]
    timed = [trial for trial in timed if not trial.condition.group.startswith("ablation")]

    def report(name: str, done: int, total: int) -> None:
        progress(Progress(f"bill: {name}", done, total))

    measure_bill(plan.out, prompts, questions.items, timed, rounds=plan.rounds, report=report)


def quick(out: Path) -> Plan:
    """A plan that answers in minutes: a few methods, two budgets, sixty scenes, a short bill."""
    return Plan(out, methods=QUICK, budgets=(0.41, 0.20), n=QUICK_SCENES, rounds=QUICK_ROUNDS)
