"""Which search a folder holds, so that it is continued with the same settings or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import write_json
from transprune.bench.data.provenance import fingerprint
from transprune.core import strict_json
from transprune.core.targets import folder_problem
from transprune.errors import TuneError
from transprune.tune.plan import Plan
from transprune.tune.questions import Split

SETTINGS_FILE = "search.json"
SCHEMA = 1


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot hold a search, before anything is loaded.

    Raises:
        TuneError: it cannot be written, or holds something else than a search.
    """
    if problem := folder_problem(folder):
        raise TuneError(problem)
    if folder.exists() and any(folder.iterdir()) and not (folder / SETTINGS_FILE).exists():
        raise TuneError(
            f"{folder} exists and holds no search; choose an empty or new folder for --out"
        )


def describe(plan: Plan, split: Split, model: Any) -> dict[str, Any]:
    """Everything that decides what a trial is and what its loss means.

    The number of trials is not among it: a search may go on.
    """
    return {
        "schema": SCHEMA,
        "model": plan.model,
        "weights": fingerprint(plan.model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": str(model.config._attn_implementation),
        "device": model.device.type,
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


def open_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a new search, or check that they are those of the search that is there.

    Raises:
        TuneError: the folder holds a search with other settings; each is named.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / SETTINGS_FILE
    if not file.exists():
        write_json(file, dict(settings))
        return

    known = read_settings(folder)
    differing = []
    for name, value in settings.items():
        if known.get(name) != value:
            differing.append(f"{name} was {known.get(name)!r}, now {value!r}")
    if differing:
        raise TuneError(
            f"{folder} holds a search with other settings ({'; '.join(differing)}). Nothing was "
            "changed; choose another --out, or the same settings to continue it."
        )


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the search in a folder.

    Raises:
        TuneError: no search there, or a damaged file.
    """
    file = folder / SETTINGS_FILE
    try:
        data = strict_json.read(file.read_bytes())
    except (OSError, ValueError) as error:
        raise TuneError(f"{file} is no search ({error}); choose another folder") from error

    if not isinstance(data, dict):
        raise TuneError(f"{file} is no search: it must be an object; choose another folder")
    return data


def _digest(split: Split) -> str:
    """16 hex digits, equal for the same questions in the same order and the same held-out part."""
    digest = hashlib.sha256()
    for part in (split.searched, split.held_out):
        digest.update(str(len(part)).encode())
        for item in part:
            digest.update(repr((item.id, item.image, item.question)).encode())
    return digest.hexdigest()[:16]
