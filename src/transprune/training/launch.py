"""A whole training from one `TrainPlan`: load, train, judge on held-out questions, write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from transprune.bench.data.provenance import commit, fingerprint, machine, versions
from transprune.bench.data.tasks.base import Item
from transprune.bench.run.prepared import PreparedQuestions
from transprune.methods.common.trained_weights import (
    ABOUT_FILE,
    TrainedWeights,
    load_weights,
    save_weights,
)
from transprune.models.checkpoint import load
from transprune.runtime.taps.trained import fit_of
from transprune.training.card import write_card
from transprune.training.folder import STATE_FILE, work_folder
from transprune.training.judge import UNPRUNED, judge
from transprune.training.loop import shorten_curve, train
from transprune.training.plan import JUDGED, TrainPlan
from transprune.training.questions import Lessons, load_lessons
from transprune.training.trainees import KINDS, draw_modules, trained_method

OnProgress = Callable[[str, int, int, str], None]  # step, done, total, note
OnNote = Callable[[str], None]

SCHEMA = 1
DRAFT = "draft"  # folder of the weights while they are judged

RECURRENT = (
    "some layers of this model carry a recurrent state, which a masked token still reaches while "
    "lvpruning is trained, and a dropped one does not at inference: judge the held-out figures"
)


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        plan: its options.
        finished: False where it was stopped by `stop_after`.
        training: what stands in the JSON of the weights; empty where it is not finished.
    """

    plan: TrainPlan
    finished: bool
    training: dict[str, Any]


def train_pruner(plan: TrainPlan, on_progress: OnProgress, on_note: OnNote) -> Trained:
    """Train, or go on where an earlier call stopped, and write the weights into `plan.out`.

    Args:
        plan: the options.
        on_progress: called after every step.
        on_note: called with each sentence that the user should read.

    Raises:
        TrainingError: nothing to learn from, or another training's folder.
        UnknownMethod, MethodError, FamilyError: a method that is none, or does not fit the model.
    """
    method = trained_method(plan.method)
    folder = work_folder(plan.out)
    folder.check()
    lessons = load_lessons(
        plan.questions, n=plan.n, held_out=plan.held_out, seed=plan.seed, strict=plan.strict
    )
    for line in lessons.skipped:
        on_note(f"left out: {line}")

    # damaged questions are said before minutes of loading
    on_progress(f"loading {plan.model}", 0, 0, "")
    checkpoint = load(plan.model, plan.loading)
    # only the pruner learns: gradients of the model would need several times its memory
    checkpoint.model.requires_grad_(False)
    folder.open(describe(plan, method, lessons, checkpoint.model))
    with folder.alone():
        if (plan.out / ABOUT_FILE).exists():
            on_note(f"{plan.out} holds the finished training already")
            return Trained(plan, True, dict(load_weights(plan.out).training))

        on_progress("preparing questions", 0, 0, "")
        questions = PreparedQuestions(checkpoint, lessons.items)
        kinds = questions.family.layer_kinds(questions.base)
        if method.kind == "within-LLM" and not all(kind.attends for kind in kinds):
            on_note(RECURRENT)
        return _run(plan, method, lessons, questions, on_progress)


def describe(plan: TrainPlan, method: Any, lessons: Lessons, model: Any) -> dict[str, Any]:
    """Everything that decides what is learnt."""
    return {
        "schema": SCHEMA,
        "method": method.to_dict(),
        "model": plan.model,
        "weights": fingerprint(plan.model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": str(model.config._attn_implementation),
        "device": model.device.type,
        "questions": plan.questions,
        "items": lessons.digest,
        "trained": len(lessons.trained),
        "held_out": len(lessons.held_out),
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "learning_rate": plan.learning_rate,
        "seed": plan.seed,
    }


def _run(
    plan: TrainPlan,
    method: Any,
    lessons: Lessons,
    questions: PreparedQuestions,
    on_progress: OnProgress,
) -> Trained:
    kind = KINDS[method.name]
    layers = questions.geometry.layers
    fit = fit_of(method, questions.base, layers)
    boundaries = [reading.boundary for reading in method.reads_at(layers)]
    # boundaries that this depth does not have are said before hours of training
    method.plan(layers, questions.geometry.visual_tokens)

    modules = draw_modules(fit, boundaries, plan.seed, questions.checkpoint.model.device)
    trainee = kind.trainee(method, modules, questions, plan.seed)

    def on_step(done: int, total: int, note: str) -> None:
        on_progress("training", done, total, note)

    curve = train(trainee, lessons.trained, plan, on_step)
    if curve is None:
        return Trained(plan, False, {})

    settings = describe(plan, method, lessons, questions.checkpoint.model)
    training = {**settings, "curve": shorten_curve(curve), **_provenance(plan)}
    weights = TrainedWeights(fit, modules, training)
    training["held out"] = _judge(plan, method, weights, lessons.held_out, questions, on_progress)
    return _finish(plan, weights)


def _judge(
    plan: TrainPlan,
    method: Any,
    weights: TrainedWeights,
    held_out: Sequence[Item],
    questions: PreparedQuestions,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """The weights as they will be read and a control, on the held-out questions."""
    # the folder itself gets its weights last: with them a training counts as finished
    draft = save_weights(plan.out / DRAFT, weights)
    items = list(held_out)[:JUDGED]
    settings = KINDS[method.name].judged(method, str(draft))
    return judge(plan, items, settings, questions, on_progress)


def _finish(plan: TrainPlan, weights: TrainedWeights) -> Trained:
    """Write the weights with their figures and the card, and remove the checkpoint."""
    write_card(plan.out, weights)
    save_weights(plan.out, weights)
    (plan.out / STATE_FILE).unlink(missing_ok=True)
    for folder in (DRAFT, UNPRUNED):
        shutil.rmtree(plan.out / folder, ignore_errors=True)
    return Trained(plan, True, dict(weights.training))


def _provenance(plan: TrainPlan) -> dict[str, Any]:
    return {
        "versions": versions(),
        "commit": commit(),
        "machine": machine(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": plan.command,
    }
