"""The manifest of a run (`run.json`): the questions, the model, the conditions and the code.

`Settings` identify a run: a folder is continued only with equal settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from transprune.bench.data.metrics import METRICS
from transprune.bench.data.typed import build
from transprune.core import strict_json
from transprune.core.shown import shorten, shown
from transprune.errors import RecordError

SCHEMA = 1
MANIFEST_FILE = "run.json"


@dataclass(frozen=True)
class Settings:
    """The settings that must be equal for a run to be continued.

    Attributes:
        model: source of the model as given, `"nano"`, `"smol"`, a folder or a hub id.
        weights: fingerprint of its weights; empty for a model that is not in a local folder.
        tasks: source of the questions as given, name of a test bed or a path.
        items: fingerprint of the questions, their answers and their order.
        split: split of a test bed's scenes; empty for other tasks.
        n: scenes (test beds) or questions (other tasks); None for all questions of a file.
        seed: seed of the questions, and of every method that draws at random.
        dtype, attention, device: as the model was loaded.
        max_new_tokens: longest answer.
    """

    # the model; its name alone would not notice a retrained checkpoint
    model: str
    weights: str

    # the questions
    tasks: str
    items: str
    split: str
    n: int | None
    seed: int

    # numbers and kernels: another dtype rounds differently
    dtype: str
    attention: str
    device: str
    max_new_tokens: int


@dataclass(frozen=True)
class TaskInfo:
    """One task of the run: its name, its metric, and how many questions and images it has."""

    name: str
    metric: str
    items: int
    images: int


@dataclass(frozen=True)
class Condition:
    """One way of answering every question: a method at a budget, or the unpruned model.

    Attributes:
        name: unique in the run: `"unpruned"`, `"fastv@41"` (at 41 % of the prefill), `"fastv"` (at
            its own budget).
        method: the method as it was named in the command, or `"unpruned"`.
        group: `"unpruned"`, `"methods"`, `"controls"`, or `"ablation: ..."`.
        budget: requested share of the unpruned prefill FLOPs (`exact`), such as 0.41; None if the
            method ran with its own settings.
        method_repr: the method that ran, in full.
        recipe: the same as a recipe; None for `unpruned` and the oracles, which have none.
        exact_share, paper_share: planned prefill cost relative to unpruned, for the run's nominal
            prompt.
        tokens: visual tokens planned to enter each decoder layer.
        reached: whether `exact_share` is within one point of `budget`.
        note: what had to be changed to reach the budget, or why it was not reached; empty if
            neither.
        also: other requested names that turned out to be the same method at this budget.
    """

    # as requested
    name: str
    method: str
    group: str
    budget: float | None

    # as planned
    method_repr: str
    recipe: dict[str, Any] | None
    exact_share: float
    paper_share: float
    tokens: tuple[int, ...]

    # how the plan came about
    reached: bool = True
    note: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Everything about a run except its answers.

    Attributes:
        settings: what identifies the run.
        conditions: every condition requested so far, oldest first; continuing may add some.
        tasks: the tasks.
        prompt: the nominal prompt that budgets are counted for: visual, text and instruction
            tokens.
        geometry: sizes of the language model.
        versions: transprune, torch, transformers, numpy, pillow, python.
        commit: revision of the code, if it ran from a checkout of it.
        started: time of the start, ISO 8601, UTC.
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

    def extended(self, conditions: Sequence[Condition]) -> Manifest:
        """The same manifest with further conditions at the end.

        Raises:
            RecordError: a condition has a known name, but another method or budget.
        """
        known = {condition.name: condition for condition in self.conditions}

        # a release may plan a method differently under the same name
        for new in conditions:
            old = known.setdefault(new.name, new)
            if (old.method_repr, old.budget) != (new.method_repr, new.budget):
                raise RecordError(
                    f"condition {new.name} of this run was {old.method_repr}, now it would be "
                    f"{new.method_repr}; their answers cannot be mixed. Choose another --out."
                )

        return replace(self, conditions=tuple(known.values()))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the run in `folder`.

    Raises:
        RecordError: no run there, damaged, or written by a newer release.
    """
    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise RecordError(
            f"no run in {folder}: {MANIFEST_FILE} is missing. "
            f"`transprune bench --out {folder}` makes one"
        )

    try:
        return _from_json(strict_json.read(file.read_bytes()), file)
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror or error}") from error
    except RecordError:
        raise  # the newer schema: a ValueError too, but not damage
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{file} is damaged: {shorten(repr(error))}") from error


def _from_json(data: dict[str, Any], file: Path) -> Manifest:
    # a newer release may have given a field another meaning
    if check_schema(data["schema"]) > SCHEMA:
        schema = shown(data["schema"])
        raise RecordError(f"{file} has schema {schema}; this release reads up to {SCHEMA}")

    data["settings"] = build(Settings, data["settings"])
    data["conditions"] = tuple(build(Condition, row) for row in data["conditions"])
    data["tasks"] = tuple(build(TaskInfo, row) for row in data["tasks"])
    data["skipped"] = tuple(data["skipped"])

    for task in data["tasks"]:
        if task.metric not in METRICS:
            raise ValueError(f"no metric {shown(task.metric)}")
    return build(Manifest, data)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `run.json` in one step, so that a killed process leaves the old file or the new one."""
    write_json(folder / MANIFEST_FILE, asdict(manifest))


def check_same(folder: Path, old: Settings, new: Settings) -> None:
    """Check that the run in `folder` may be continued with the settings `new`.

    Raises:
        RecordError: settings differ; each is named.
    """
    differing = []
    for setting in fields(Settings):
        before = getattr(old, setting.name)
        now = getattr(new, setting.name)
        if before != now:
            differing.append(f"{setting.name} was {before!r}, now {now!r}")

    if differing:
        raise RecordError(
            f"{folder} holds a run with other settings ({'; '.join(differing)}). Nothing was "
            "changed; choose another --out, or the same settings to continue it."
        )


def check_schema(value: Any) -> int:
    """The version of a format; TypeError if it is none."""
    if type(value) is not int or value < 1:
        raise TypeError(f"a schema is a whole number from 1 on; got {shown(value)}")
    return value


def write_json(file: Path, data: Any) -> None:
    """Write JSON in one step, through a temporary file in the same folder.

    Raises:
        RecordError: it cannot be written; the old file stays.
    """
    temporary = file.with_suffix(file.suffix + ".part")
    text = strict_json.write(data, indent=1)

    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text + "\n")

            # without it a power failure could leave the renamed file empty
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except OSError as error:
        raise RecordError(cannot_write(file, error)) from error


def cannot_write(file: Path, error: OSError) -> str:
    """The sentence about a file that can no longer be written, as on a full disk."""
    return (
        f"cannot write {file}: {error.strerror or error}. Nothing that was written before is lost: "
        "make room, and run the same command again"
    )
