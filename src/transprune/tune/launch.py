"""The whole search from one `Plan`: load, compute the reference, try settings, judge the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from transprune.bench.data.manifest import cannot_write
from transprune.bench.data.provenance import commit, machine, versions
from transprune.bench.data.tasks.base import Item
from transprune.bench.run.prepared import PreparedQuestions
from transprune.errors import MissingExtra, TuneError
from transprune.methods.common.method import Method
from transprune.models.checkpoint import load
from transprune.tune.budget import Budget, Meter, check_reachable, parse_budget
from transprune.tune.journal import JOURNAL_FILE, need_optuna, open_study
from transprune.tune.loss import Distance, distance, losses
from transprune.tune.plan import Plan
from transprune.tune.plot import PLOT_FILE, plot_front
from transprune.tune.questions import Split, load_questions
from transprune.tune.result import HeldOut, doubts, few_pictures, summarise, write_result
from transprune.tune.settings import describe, work_folder
from transprune.tune.space import Base
from transprune.tune.study import run_trials
from transprune.tune.tried import Tried, finished, front, refusals, tried
from transprune.tune.unpruned import Reference, references

if TYPE_CHECKING:
    from optuna import Study

OnProgress = Callable[[str, int, int, str], None]  # step, done, total, note
OnNote = Callable[[str], None]

FOUND = "found"


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        plan: its options.
        budget: its budget.
        best: the best complete trial; of a front the one with the least loss.
        trials: all that have a loss.
        front: those that no other beats, cheapest first.
        held_out: figures on the held-out questions, the found setting first.
        questions: how many questions were held out.
    """

    plan: Plan
    budget: Budget
    best: Tried
    trials: list[Tried]
    front: list[Tried]
    held_out: list[HeldOut]
    questions: int


def tune(plan: Plan, on_progress: OnProgress, on_note: OnNote) -> Outcome:
    """Search, or continue where an earlier call stopped, and write the recipe into `plan.out`.

    Args:
        plan: the options.
        on_progress: called after every step.
        on_note: called with each sentence that the user should read.

    Raises:
        MissingExtra: optuna is not installed.
        TaskError: no usable questions.
        TuneError: a budget no method reaches (the nearest is named), or another search's folder.
        UnknownMethod, MethodError, FamilyError: a method that is none, or does not fit the model.
    """
    need_optuna()
    budget = parse_budget(plan.budget, plan.cost)
    folder = work_folder(plan.out)
    folder.check()
    split = load_questions(
        plan.questions, n=plan.n, held_out=plan.held_out, seed=plan.seed, strict=plan.strict
    )
    for line in split.skipped:
        on_note(f"left out: {line}")

    on_progress(f"loading {plan.model}", 0, 0, "")
    search = _Search(plan, budget, split, on_progress)
    folder.open(describe(plan, split, search.questions.checkpoint.model))
    with folder.alone():
        return search.run(on_note)


class _Search:
    """One search: the model, its questions, and what is computed from both.

    Raises:
        TuneError: a budget that no method reaches.
        FamilyError: the model lacks what a method needs.
    """

    def __init__(self, plan: Plan, budget: Budget, split: Split, on_progress: OnProgress) -> None:
        self.plan = plan
        self.budget = budget
        self.split = split
        self.report = on_progress
        self.questions = PreparedQuestions(load(plan.model, plan.loading), split.items)
        self.meter = Meter(self.questions, split.searched, plan.cost)
        self.bases = self._bases()
        check_reachable(self.meter, budget, {base.text: base.method for base in self.bases})

        self.searched = _batches(split.searched, plan.batch_size)
        self.held_out = _batches(split.held_out, plan.batch_size)

    def run(self, on_note: OnNote) -> Outcome:
        """Search, judge the best on the held-out questions, and write everything."""
        known = self._references("search", self.searched)

        def batch_losses(method: Method, number: int) -> list[float]:
            items = self.searched[number]
            return losses(self.questions, items, known[number], method, self.plan.loss)

        def on_trial(done: int, total: int, note: str) -> None:
            self.report("settings tried", done, total, note)

        study = open_study(self.plan.out, self.budget)
        try:
            run_trials(
                study,
                self.bases,
                self.meter,
                self.budget,
                batch_losses,
                len(self.searched),
                trials=self.plan.trials,
                seed=self.plan.seed,
                on_trial=on_trial,
            )
        # Optuna writes the journal itself
        except OSError as error:
            raise TuneError(cannot_write(self.plan.out / JOURNAL_FILE, error)) from error

        return self._finish(study, on_note)

    def _bases(self) -> list[Base]:
        share = self.budget.high
        if self.plan.cost == "ms":
            # time shrinks less than work does, so this leaves out no boundary that fits
            share = min(1.0, share / self.meter.unpruned_ms)

        found = []
        for text in dict.fromkeys(self.plan.methods):
            base = Base(text, self.meter.prompt, share, self.questions.family.mrope)
            # what the model lacks is said before the search
            self.questions.prune(base.method)
            found.append(base)

        return found

    def _references(self, name: str, batches: Sequence[Sequence[Item]]) -> list[Reference]:
        def on_batch(done: int, total: int) -> None:
            self.report(f"unpruned answers, {name}", done, total, "")

        folder = self.plan.out / "unpruned" / name
        return references(self.questions, batches, folder, self.plan.answer_tokens, on_batch)

    def _finish(self, study: Study, on_note: OnNote) -> Outcome:
        trials = tried(study)
        best_first = sorted(
            (trial for trial in trials if not trial.stopped), key=lambda one: one.loss
        )
        if not best_first:
            reasons = "; ".join(refusals(study)[:1])
            raise TuneError(
                f"none of the {len(finished(study))} settings tried reaches {self.budget}"
                f"{f' ({reasons})' if reasons else ''}; give more --trials or another budget"
            )

        outcome = Outcome(
            plan=self.plan,
            budget=self.budget,
            best=best_first[0],
            trials=trials,
            # at one budget the best setting is the whole front
            front=front(trials) if self.budget.is_range else best_first[:1],
            held_out=self._judge(best_first[0]),
            questions=len(self.split.held_out),
        )

        write_result(
            self.plan.out, outcome.best, outcome.front, outcome.held_out, self._provenance(outcome)
        )
        for doubt in (*few_pictures(self.split.held_out), *doubts(outcome.held_out)):
            on_note(doubt)
        try:
            plot_front(trials, self.budget, self.plan.loss, self.plan.out / PLOT_FILE)
        except MissingExtra as error:
            on_note(str(error))

        return outcome

    def _judge(self, best: Tried) -> list[HeldOut]:
        """The held-out figures of the best setting and of every starting point at its cost."""
        known = self._references("held-out", self.held_out)
        settings = {FOUND: (best.method, best.cost)}
        for base in self.bases:
            fitted = self.meter.fit(base.method, best.cost, move=True)
            settings[base.text] = (fitted.method, fitted.share)

        measured = {}
        for number, (name, (method, _)) in enumerate(settings.items()):
            self.report("held-out questions", number, len(settings), "")
            measured[name] = self._distance(method, known)

        items = [item for batch in self.held_out for item in batch]
        return summarise(items, settings, measured, self.plan.seed)

    def _distance(self, method: Method, known: Sequence[Reference]) -> Distance:
        kl: list[float] = []
        same: list[bool] = []
        for items, reference in zip(self.held_out, known, strict=True):
            found = distance(self.questions, items, reference, method)
            kl += found.kl
            same += found.same
        return Distance(kl, same)

    def _provenance(self, outcome: Outcome) -> dict[str, Any]:
        """Where the recipe comes from."""
        settings = describe(self.plan, self.split, self.questions.checkpoint.model)
        stopped = sum(trial.stopped for trial in outcome.trials)

        return {
            **settings,
            "trials": self.plan.trials,
            "complete": len(outcome.trials) - stopped,
            "stopped": stopped,
            "versions": {**versions(), "optuna": _optuna_version()},
            "commit": commit(),
            "machine": machine(),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": self.plan.command,
        }


def _batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """The questions in batches of nearly equal size, in their order."""
    parts = -(-len(items) // size)
    return [list(items[part::parts]) for part in range(parts)]


def _optuna_version() -> str:
    from importlib.metadata import version

    return version("optuna")
