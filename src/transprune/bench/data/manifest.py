"""The birth certificate of a run: what was asked of which model, under which conditions, by which code.

It is `run.json`. `settings` are what makes two runs the same run: a folder is continued only with equal settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from transprune.errors import RecordError

SCHEMA = 1
FILE = "run.json"

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What must be equal for a run to be continued.

    Attributes:
        model: source of the model as given, `"nano"` or a folder or a hub id.
        weights: fingerprint of its weights; empty for a model that is not in a folder here.
        tasks: source of the questions as given, `"nano"` or a path.
        items: fingerprint of the questions, their answers and their order.
        split: split of the bundled scenes; empty for other tasks.
        n: scenes asked about (bundled tasks) or questions taken (other tasks); None for all of a file.
        seed: seed of the questions, and of every method that draws.
        dtype, attention, device: as the model was loaded.
        max_new_tokens: longest answer.
    """

    model: str
    weights: str
    tasks: str
    items: str
    split: str
    n: int | None
    seed: int
    dtype: str
    attention: str
    device: str
    max_new_tokens: int


@dataclass(frozen=True)
class TaskInfo:
    """One task of the run: its name, the name of its metric, and how many questions about how many images it has."""

    name: str
    metric: str
    items: int
    images: int


@dataclass(frozen=True)
class Condition:
    """One way of answering every question.

    Attributes:
        name: unique in the run: `"unpruned"`, `"fastv@41"` (at 41 % of the prefill), `"fastv"` (at its own budget).
        method: the method as it was called, or `"unpruned"`.
        group: `"unpruned"`, `"methods"`, `"controls"`, or `"ablation: ..."`.
        budget: wanted share of the unpruned prefill FLOPs (`exact`), 0.41; None where the method ran as it is.
        method_repr: the method that ran, in full.
        recipe: the same as a recipe; None for `unpruned` and the oracles, which are no recipes.
        exact_share, paper_share: planned prefill cost relative to unpruned, for the run's nominal prompt.
        tokens: visual tokens planned to enter each decoder layer.
        reached: whether `exact_share` came out within one point of `budget`.
        note: what had to be changed to reach the budget, or why it was not reached; empty if nothing.
        also: other names of the list that turned out to be the same method at this budget.
    """

    name: str
    method: str
    group: str
    budget: float | None
    method_repr: str
    recipe: dict[str, Any] | None
    exact_share: float
    paper_share: float
    tokens: tuple[int, ...]
    reached: bool = True
    note: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """Everything about a run but its answers.

    Attributes:
        settings: what identifies the run.
        conditions: every condition asked for so far, in the order of asking; continuing may add some.
        tasks: the tasks.
        prompt: the nominal prompt budgets are counted for: visual, text and instruction tokens.
        geometry: sizes of the language model.
        versions: transprune, torch, transformers, numpy, python.
        commit: revision of the code, if it ran from a checkout of it.
        started: when, ISO 8601, UTC.
        command: the command line.
        machine: processor, cores and threads.
        skipped: lines of the task file that were left out, each with its reason.
        schema: version of this format.
    """

    settings: Settings
    conditions: tuple[Condition, ...]
    tasks: tuple[TaskInfo, ...]
    prompt: Mapping[str, int]
    geometry: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str | None
    started: str
    command: str
    machine: Mapping[str, Any]
    skipped: tuple[str, ...] = ()
    schema: int = field(default=SCHEMA, kw_only=True)

    def extended(self, conditions: Sequence[Condition]) -> Certificate:
        """With further conditions at the end.

        Raises:
            RecordError: a condition of a known name that is not the same any more.
        """
        known = {condition.name: condition for condition in self.conditions}
        for new in conditions:
            old = known.setdefault(new.name, new)
            if (old.method_repr, old.budget) != (new.method_repr, new.budget):
                raise RecordError(
                    f"condition {new.name} of this run was {old.method_repr}, now it would be {new.method_repr}; "
                    "its answers cannot be mixed. Choose another --out."
                )
        return replace(self, conditions=tuple(known.values()))


def read_certificate(folder: Path) -> Certificate:
    """The certificate of the run in `folder`.

    Raises:
        RecordError: no run there, damaged, or written by a newer release.
    """
    file = folder / FILE
    if not file.is_file():
        raise RecordError(
            f"no run in {folder}: {FILE} is missing. `transprune bench --out {folder}` makes one"
        )
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["schema"] > SCHEMA:
            raise RecordError(
                f"{file} has schema {data['schema']}; this release reads up to {SCHEMA}"
            )
        data["settings"] = build(Settings, data["settings"])
        data["conditions"] = tuple(build(Condition, row) for row in data["conditions"])
        data["tasks"] = tuple(build(TaskInfo, row) for row in data["tasks"])
        data["skipped"] = tuple(data["skipped"])
        return build(Certificate, data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{file} is damaged: {error!r}") from error


def write_certificate(folder: Path, certificate: Certificate) -> None:
    """Write `run.json` in one step: a kill leaves the old file or the new one, never half of one."""
    write_json(folder / FILE, asdict(certificate))


def check_same(folder: Path, old: Settings, new: Settings) -> None:
    """Raise RecordError, naming every setting that differs, unless the run in `folder` may be continued."""
    pairs = {f.name: (getattr(old, f.name), getattr(new, f.name)) for f in fields(Settings)}
    differing = [
        f"{name} was {was!r}, now {now!r}" for name, (was, now) in pairs.items() if was != now
    ]
    if differing:
        raise RecordError(
            f"{folder} holds a run with other settings ({'; '.join(differing)}). Nothing was changed; choose another "
            "--out, or the same settings to continue it."
        )


def build(cls: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass from JSON data: lists become tuples where a tuple is wanted, unknown keys are an error."""
    kinds = {f.name: str(f.type) for f in fields(cls)}  # type: ignore[arg-type]
    values = {
        key: tuple(value)
        if isinstance(value, list) and kinds.get(key, "").startswith("tuple")
        else value
        for key, value in data.items()
    }
    return cls(**values)


def write_json(file: Path, data: Any) -> None:
    """Write JSON in one step, through a file beside it."""
    beside = file.with_suffix(file.suffix + ".part")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(data, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, file)
