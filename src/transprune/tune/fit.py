"""`transprune fit` from its options: load, fit FitPrune's schedule, write the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import write_json
from transprune.bench.data.provenance import commit, machine, versions
from transprune.bench.data.tasks.base import Item
from transprune.bench.data.tasks.beds import find_bed
from transprune.bench.data.work_folder import WorkFolder
from transprune.bench.run.answers import to_device
from transprune.bench.run.prepared import PreparedQuestions
from transprune.core.shown import shown
from transprune.errors import TaskError, TuneError
from transprune.methods.fitprune import FitPrune
from transprune.models.checkpoint import LoadOptions, load
from transprune.models.fit import Fitted, fit
from transprune.nano import NANO
from transprune.tune.questions import load_items

FIT_FILE = "fit.json"
SCENES = 8  # of a test bed's training split, up to nine questions each

OnProgress = Callable[[str, int, int], None]  # step, done, total
OnNote = Callable[[str], None]


@dataclass(frozen=True)
class FitPlan:
    """The options of a fit.

    Attributes:
        out: folder of the recipe.
        saving: text of the share of the prefill to save, as `0.4` or `40%`.
        model: `"nano"`, `"smol"`, a folder or a hub id.
        questions: name of a test bed, as `"nano"`, for its training scenes, or a folder or file.
        n: scenes of a test bed (default 8), or questions of a file (default all).
        seed: of a test bed's questions.
        strict: raise at a bad line of a file instead of leaving it out.
        loading: how the model is loaded.
        command: what started it, for the record.
    """

    out: Path
    saving: str
    model: str = NANO
    questions: str = NANO
    n: int | None = None
    seed: int = 0
    strict: bool = False
    loading: LoadOptions = LoadOptions()
    command: str = ""


class Inputs(Sequence[Mapping[str, Any]]):
    """The prompts of questions, each made when it is asked for, so that one is in memory."""

    def __init__(self, questions: PreparedQuestions, items: Sequence[Item]) -> None:
        self._questions = questions
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: Any) -> Any:
        inputs = self._questions.batch([self._items[number]], encoded=True)
        return to_device(inputs, self._questions.checkpoint.model)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return (self[number] for number in range(len(self)))


def run_fit(plan: FitPlan, on_progress: OnProgress, on_note: OnNote) -> Fitted:
    """Fit, and write the recipe and where it comes from into `plan.out`.

    Args:
        plan: the options.
        on_progress: called after every step.
        on_note: called with each sentence that the user should read.

    Raises:
        TaskError: no usable questions.
        TuneError: a saving that is none, or that nothing reaches (the most is named); a folder
            that holds something else.
        FamilyError: the model lacks what the method reads.
    """
    saving = parse_saving(plan.saving)
    WorkFolder(plan.out, FIT_FILE, "fit", TuneError).check()
    n = SCENES if find_bed(plan.questions) and plan.n is None else plan.n
    items, skipped = load_items(
        plan.questions, n=n, split="train", seed=plan.seed, strict=plan.strict
    )
    for line in skipped:
        on_note(f"left out: {line}")

    on_progress(f"loading {plan.model}", 0, 0)
    questions = PreparedQuestions(load(plan.model, plan.loading), items)
    _check_pictures(questions, items)
    found = fit(questions.checkpoint.model, Inputs(questions, items), saving, on_pass=on_progress)

    # first what the folder is known by: if the disk is full, the same command can run again
    plan.out.mkdir(parents=True, exist_ok=True)
    write_json(plan.out / FIT_FILE, _record(plan, saving, found))
    FitPrune(found.keep).save_pretrained(plan.out)
    return found


def parse_saving(text: str) -> float:
    """`0.4` or `40%` as a share.

    Raises:
        TuneError: anything else.
    """
    word = text.strip()
    try:
        value = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        value = 0.0

    # written so that NaN fails too
    if not 0 < value < 1:
        raise TuneError(
            "a saving is the share of the prefill that goes, between 0 and 1, as 0.4 or 40%; got "
            f"{shown(text)}"
        )

    return value


def _check_pictures(questions: PreparedQuestions, items: Sequence[Item]) -> None:
    """Raise TaskError unless every prompt has visual tokens."""
    without = [item.id for item in items if questions.count(item).visual == 0]
    if without:
        raise TaskError(
            f"{len(without)} of {len(items)} prompts have no visual tokens, the first of them "
            f"{without[0]}; a fit needs questions about pictures"
        )


def _record(plan: FitPlan, saving: float, found: Fitted) -> dict[str, Any]:
    """The result, and where it comes from."""
    return {
        "model": plan.model,
        "questions": plan.questions,
        "n": plan.n,
        "seed": plan.seed,
        "asked": saving,
        "found": {**asdict(found), "keep": found.keep.to_dict()},
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": plan.command,
    }
