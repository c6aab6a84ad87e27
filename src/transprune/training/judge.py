"""How near the answers of pruned prompts stay to the unpruned ones, on held-out questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transprune.bench.data.tasks.base import Item
from transprune.bench.run.prepared import PreparedQuestions
from transprune.methods.common.method import Method
from transprune.training.plan import TrainPlan
from transprune.tune.loss import distance
from transprune.tune.unpruned import references

ANSWER_TOKENS = 4
UNPRUNED = "unpruned"  # folder of the unpruned answers


def judge(
    plan: TrainPlan,
    items: Sequence[Item],
    settings: Mapping[str, Method],
    questions: PreparedQuestions,
    on_progress: Callable[[str, int, int, str], None],
) -> dict[str, Any]:
    """For each setting its KL divergence and its share of equal answers, JSON-ready.

    Args:
        plan: for the folder, in which the unpruned answers are kept, and the size of a batch.
        items: the questions.
        settings: name -> method.
        questions: prepared, these among them.
        on_progress: called after every part.
    """
    parts = [
        list(items[first : first + plan.batch_size])
        for first in range(0, len(items), plan.batch_size)
    ]

    def on_batch(done: int, total: int) -> None:
        on_progress("unpruned answers, held-out", done, total, "")

    # the unpruned answers are the same for every setting, so they are computed once and kept
    known = references(questions, parts, plan.out / UNPRUNED, ANSWER_TOKENS, on_batch)
    figures: dict[str, Any] = {"questions": len(items)}
    for number, (name, method) in enumerate(settings.items()):
        on_progress("held-out questions", number, len(settings), name)
        kl: list[float] = []
        same: list[bool] = []
        for own, reference in zip(parts, known, strict=True):
            found = distance(questions, own, reference, method)
            kl += found.kl
            same += found.same

        figures[name] = {
            "kl": round(sum(kl) / len(kl), 4),
            "same": round(100 * sum(same) / len(same), 2),
        }

    return figures
