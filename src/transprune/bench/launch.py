"""The whole benchmark from one `Plan`: load, plan the trials, answer, and measure the costs."""

from __future__ import annotations

from collections.abc import Callable

from transprune.bench.data.records import Run, read_run
from transprune.bench.data.tasks import Questions, find_bed, load_tasks
from transprune.bench.describe import build_manifest, check_known
from transprune.bench.measure.costs import measure_costs
from transprune.bench.plan import BUDGETS as BUDGETS
from transprune.bench.plan import QUICK_SCENES as QUICK_SCENES
from transprune.bench.plan import Plan as Plan
from transprune.bench.plan import quick_plan as quick_plan
from transprune.bench.run.answers import measure_share
from transprune.bench.run.prepared import PreparedQuestions
from transprune.bench.run.progress import OnProgress, Progress, no_progress
from transprune.bench.run.runner import check_folder, open_run, run_trials
from transprune.bench.run.trials import ORACLES, Trial, default_methods, plan_trials
from transprune.errors import BenchError, FamilyError
from transprune.methods.common.method import Method
from transprune.models.checkpoint import load

OnNote = Callable[[str], None]


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
        BenchError: a method that cannot run on this model, or an oracle without targets.
        SceneError: what the scenes of a test bed are drawn from is missing.
        RecordError: the folder holds another run or cannot be written.
    """
    check_folder(plan.out)
    questions = load_tasks(
        plan.tasks,
        n=plan.n,
        split=plan.split,
        seed=plan.seed,
        strict=plan.strict,
        only=plan.only,
    )
    for line in questions.skipped:
        on_note(f"left out: {line}")

    check_known(plan, questions)
    on_progress(Progress(f"loading {plan.model}", 0, 0))
    # the model is loaded after the questions, which are cheaper to refuse
    prepared = PreparedQuestions(load(plan.model, plan.loading), questions.items)
    on_progress(Progress("planning what to run", 0, 0))
    questions = _place_targets(questions, prepared, on_note)
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


def _place_targets(questions: Questions, prepared: PreparedQuestions, on_note: OnNote) -> Questions:
    """The questions, with target tokens only where the model has the tokens of the test bed."""
    bed = find_bed(questions.source)
    tokens = prepared.nominal().visual_tokens
    if bed is None or tokens == bed.tokens:
        return questions

    on_note(
        f"no oracle: {bed.name} knows what each of {bed.tokens} tokens of a picture shows, and "
        f"{prepared.checkpoint.source} makes {tokens} of it"
    )
    return questions.without_relevant()


def _plan_trials(
    plan: Plan, questions: Questions, prepared: PreparedQuestions, on_note: OnNote
) -> list[Trial]:
    """The trials of a plan that can run on this model.

    Raises:
        BenchError: a requested method cannot run on it, or an oracle knows no targets.
    """
    blind = [name for name in plan.methods if name in ORACLES and not questions.knows_relevant]
    if blind:
        raise BenchError(
            f"{blind[0]} is given the target tokens of every question, and those of {plan.tasks} "
            "are not known for this model: leave it out, or ask the scenes of a test bed"
        )

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
