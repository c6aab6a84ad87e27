"""Which search a folder holds, so that it is continued with the same settings or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from transprune.bench.data.provenance import fingerprint
from transprune.bench.data.work_folder import WorkFolder
from transprune.errors import TuneError
from transprune.tune.plan import Plan
from transprune.tune.questions import Split

SETTINGS_FILE = "search.json"
SCHEMA = 1


def work_folder(path: Path) -> WorkFolder:
    """The folder of a search."""
    return WorkFolder(path, SETTINGS_FILE, "search", TuneError)


def describe(plan: Plan, split: Split, model: Any) -> dict[str, Any]:
    """Everything that decides what a trial is and what its loss means.

    The number of trials is not among it: a search may go on.
    """
    # whatever changes a loss: a study is continued only if all of it is the same
    return {
        "schema": SCHEMA,
        "model": plan.model,
        "weights": fingerprint(plan.model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": str(model.config._attn_implementation),
        "device": model.device.type,
        "text_tower": plan.loading.text_tower,
        "questions": plan.questions,
        "items": _digest(split),
        "searched": len(split.searched),
        "held_out": len(split.held_out),
        "methods": list(plan.methods),
        "budget": plan.budget,
        "cost": plan.cost,
        "loss": plan.loss,
        "answer_tokens": plan.answer_tokens,
        "batch_size": plan.batch_size,
        "seed": plan.seed,
    }


def _digest(split: Split) -> str:
    """16 hex digits, equal for the same questions in the same order and the same held-out part."""
    digest = hashlib.sha256()
    for part in (split.searched, split.held_out):
        digest.update(str(len(part)).encode())
        for item in part:
            digest.update(repr((item.id, item.image, item.question)).encode())
    return digest.hexdigest()[:16]
