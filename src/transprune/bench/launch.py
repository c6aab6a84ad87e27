"""The whole benchmark from one `Plan`: load, plan the trials, answer, and measure the costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import Manifest, Settings, TaskInfo
from transprune.bench.data.provenance import commit, fingerprint, machine, versions
from transprune.bench.data.records import Run, read_run
from transprune.bench.data.tasks import SCENES, Questions, load_tasks
from transprune.bench.measure.costs import ROUNDS, measure_costs
from transprune.bench.run.answers import measure_share
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.bench.run.runner import PROMPTS_PER_BATCH, check_folder, open_run, run_trials
from transprune.bench.run.trials import ORACLES, QUICK, Trial, default_methods, plan_trials
from transprune.errors import BenchError, FamilyError
from transprune.methods.common.method import Method
from transprune.models.checkpoint import LoadOptions, load
from transprune.nano import NANO

BUDGETS = (0.60, 0.41, 0.31, 0.20, 0.12)
QUICK_BUDGETS = (0.41, 0.20)
QUICK_SCENES = 60
QUICK_ROUNDS = 2

# longest answer, new tokens
NANO_NEW_TOKENS = 2  # its questions have one-word answers
MAX_NEW_TOKENS = 32

OnNote = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The options of `transprune bench`.

    Attributes:
        out: folder of the run.
        model: `"nano"`, a folder or a hub id.
        tasks: `"nano"`, or a folder or file of questions.
        methods: names, presets or recipes; empty for all that are registered.
        budgets: shares of the unpruned `exact` prefill; None runs methods with their own settings.
        n: scenes (bundled tasks, default 200) or questions (default all).
        split: split of the bundled scenes.
        seed: seed of questions and of methods that draw at random.
        ablations: whether to add the ablations of the TransPrune paper.
        bill: whether to measure time and memory too.
        rounds: pairs per prompt of that measurement.
        strict: whether a bad line of a task file is an error.
        loading: dtype, device, attention implementation and text tower of the model.
        batch_size: prompts per batch.
        max_new_tokens: longest answer; None takes 2 for the bundled scenes and 32 for files.
        command: the command line, for the manifest.
    """

    out: Path
    model: str = NANO

    # the questions
    tasks: str = NANO
    n: int | None = None
    split: str = "test"
    seed: int = 0
    strict: bool = False

    # the conditions
    methods: tuple[str, ...] = ()
    budgets: tuple[float | None, ...] = BUDGETS
    ablations: bool = False

    # time and memory; `bill` is the name of the option
    bill: bool = True
    rounds: int = ROUNDS

    # how the model runs
    loading: LoadOptions = LoadOptions()
    batch_size: int = PROMPTS_PER_BATCH
    max_new_tokens: int | None = None
    command: str = ""


def quick_plan(out: Path) -> Plan:
    """A plan that runs in minutes: a few methods, two budgets, sixty scenes, few rounds."""
    return Plan(out, methods=QUICK, budgets=QUICK_BUDGETS, n=QUICK_SCENES, rounds=QUICK_ROUNDS)


def _no_note(line: str) -> None:
    """Do nothing."""


def launch(plan: Plan, on_progress: OnProgress = no_progress, on_note: OnNote = _no_note) -> Run:
    """Run the benchmark, or continue where an earlier call stopped.

    Everything is on disk after every batch.

    Args:
        plan: the options.
        on_progress: called after every batch.
        on_note: called with each sentence that the user should read.

    Raises:
        TaskError: no usable questions.
        BenchError: a method that cannot run on this model.
        RecordError: the folder holds another run or cannot be written.
    """
    check_folder(plan.out)
    questions = load_tasks(
        plan.tasks, n=plan.n, split=plan.split, seed=plan.seed, strict=plan.strict
    )
    for line in questions.skipped:
        on_note(f"left out: {line}")

    on_progress(Progress(f"loading {plan.model}", 0, 0))
    # the model is loaded after the questions, which are cheaper to refuse
    prepared = PreparedQuestions(load(plan.model, plan.loading), questions.items)
    on_progress(Progress("planning what to run", 0, 0))
    trials = _plan_trials(plan, questions, prepared, on_note)

    # everything that can be refused has been: from here on the folder changes
    manifest = open_run(plan.out, build_manifest(plan, questions, prepared, trials))
    note = run_trials(
        plan.out,
        manifest,
        prepared,
        questions.tasks,
        trials,
        batch_size=plan.batch_size,
        on_progress=on_progress,
    )
    if note:
        on_note(note)

    if plan.bill:
        timed = [trial for trial in trials if _is_timed(trial)]
        measure_costs(
            plan.out,
            prepared,
            questions.items,
            timed,
            rounds=plan.rounds,
            on_progress=on_progress,
        )
    return read_run(plan.out)


def _plan_trials(
    plan: Plan, questions: Questions, prepared: PreparedQuestions, on_note: OnNote
) -> list[Trial]:
    """The trials of a plan that can run on this model."""

    def measure(method: Method) -> float:
        return measure_share(prepared, questions.items, method)

    trials = plan_trials(
        plan.methods or default_methods(oracle=questions.knows_relevant),
        plan.budgets,
        prepared.nominal(),
        seed=plan.seed,
        ablate=plan.ablations,
        measure=measure,
    )

    possible = []
    for trial in trials:
        error = _refusal(trial, prepared)
        if error is None:
            possible.append(trial)
        elif plan.methods:
            # requested by name, so leaving it out would surprise
            method = trial.condition.method
            raise BenchError(f"{method} cannot run on this model: {error}") from error
        else:
            on_note(f"left out: {trial.condition.name}: {error}")
    return possible


def _refusal(trial: Trial, prepared: PreparedQuestions) -> FamilyError | None:
    """The error if the model lacks what the method of a trial needs, else None."""
    if trial.method is None:
        return None
    try:
        prepared.prune(trial.method)
    except FamilyError as error:
        return error
    return None


def _is_timed(trial: Trial) -> bool:
    """Whether time and memory are measured: oracles and ablations are not for users."""
    condition = trial.condition
    return condition.method not in ORACLES and not condition.group.startswith("ablation")


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
    # the bundled scenes may be answered by another model, and the bundled model other questions
    bundled = plan.tasks == NANO
    longest = NANO_NEW_TOKENS if bundled else MAX_NEW_TOKENS

    # as the model was really loaded, not as requested: "auto" could mean another dtype elsewhere
    return Settings(
        model=plan.model,
        weights=fingerprint(plan.model),
        tasks=plan.tasks,
        items=questions.fingerprint,
        split=questions.split,
        n=SCENES if bundled and plan.n is None else plan.n,
        seed=plan.seed,
        dtype=str(model.dtype).removeprefix("torch."),
        attention=str(model.config._attn_implementation),
        device=model.device.type,
        max_new_tokens=plan.max_new_tokens or longest,
    )
