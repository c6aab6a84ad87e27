"""The options of `transprune bench` as one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transprune.bench.measure.costs import ROUNDS
from transprune.bench.run.runner import PROMPTS_PER_BATCH
from transprune.bench.run.trials import QUICK
from transprune.models.checkpoint import LoadOptions
from transprune.nano import NANO

BUDGETS = (0.60, 0.41, 0.31, 0.20, 0.12)
QUICK_BUDGETS = (0.41, 0.20)
QUICK_SCENES = 60
QUICK_ROUNDS = 2

MAX_NEW_TOKENS = 32  # of an answer to a question of a file


@dataclass(frozen=True)
class Plan:
    """The options of `transprune bench`.

    Attributes:
        out: folder of the run.
        model: `"nano"`, `"smol"`, a folder or a hub id.
        tasks: name of a test bed, as `"nano"`, or a folder or file of questions.
        methods: names, presets or recipes; empty for all that are registered.
        budgets: shares of the unpruned `exact` prefill; None runs methods with their own settings.
        only: tasks that are asked, categories of a test bed or families of a file; empty for all.
        n: scenes (test beds; default 200, smol 100) or questions (default all).
        split: split of a test bed's scenes.
        seed: seed of questions and of methods that draw at random.
        ablations: whether to add the ablations of the TransPrune paper.
        bill: whether to measure time and memory too.
        rounds: pairs per prompt of that measurement.
        strict: whether a bad line of a task file is an error.
        loading: dtype, device, attention implementation and text tower of the model.
        batch_size: prompts per batch.
        max_new_tokens: longest answer; None takes that of the test bed, and 32 for files.
        command: the command line, for the manifest.
    """

    out: Path
    model: str = NANO

    # the questions
    tasks: str = NANO
    only: tuple[str, ...] = ()
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
