"""What was measured on one model, as a file beside the page.

The page is made of these files alone, so every figure on it can be looked up in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transprune.bench.data.manifest import Manifest, write_json
from transprune.bench.data.typed import build
from transprune.core import strict_json
from transprune.errors import RecordError

from .answers import CostRow
from .places import Places
from .signal import Curve, Signal
from .verdict import Measured

SCHEMA = 2
DIGITS = 6  # of every number in the file

# the ladders of the page, beside the paper's own; one without a file was not measured yet
LADDERS = {
    "nano": "bundled model",
    "smol": "smol",
}


@dataclass(frozen=True)
class Source:
    """A run that figures come from; `tasks` is empty where it was not noted."""

    commit: str
    started: str
    split: str
    pictures: int
    questions: int
    seed: int
    dtype: str
    weights: str
    versions: dict[str, str]
    tasks: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Source:
        """What a run says of itself."""
        settings = manifest.settings
        return cls(
            commit=manifest.commit or "unknown",
            started=manifest.started,
            split=settings.split,
            pictures=max(task.images for task in manifest.tasks),
            questions=sum(task.items for task in manifest.tasks),
            seed=settings.seed,
            dtype=settings.dtype,
            weights=settings.weights,
            versions=dict(manifest.versions),
            tasks=tuple(task.name for task in manifest.tasks),
        )


@dataclass(frozen=True)
class Ladder:
    """What was measured on one model.

    Attributes:
        name: of the model, a key of `LADDERS`.
        sources: the runs.
        differences: comparisons by key.
        costs: methods at the costs of the paper.
        places: where methods kept tokens.
        objects: how often each token of the same pictures shows an object; empty if not known.
        signal: what the layers rank; None where it was not measured.
    """

    name: str
    sources: tuple[Source, ...] = ()
    differences: Mapping[str, Measured] = field(default_factory=dict)
    costs: tuple[CostRow, ...] = ()
    places: tuple[Places, ...] = ()
    objects: tuple[float, ...] = ()
    signal: Signal | None = None

    @property
    def title(self) -> str:
        """Heading of its column."""
        return LADDERS[self.name]

    @property
    def measured(self) -> bool:
        """Whether there is anything."""
        return bool(self.differences)


def write_ladder(ladder: Ladder, folder: Path) -> Path:
    """Write what was measured to `NAME.json` in a folder."""
    file = folder / f"{ladder.name}.json"
    write_json(file, _rounded({"schema": SCHEMA, **asdict(ladder)}))
    return file


def read_ladder(name: str, folder: Path) -> Ladder:
    """What was measured; an empty ladder where there is no file.

    Raises:
        RecordError: a damaged file, or one of a newer release.
    """
    file = folder / f"{name}.json"
    if not file.is_file():
        return Ladder(name)

    try:
        return _from_json(strict_json.read(file.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{file} is damaged: {error!r}; measure this model again") from error


def _from_json(data: dict[str, Any]) -> Ladder:
    if data.pop("schema") != SCHEMA:
        raise ValueError(f"expected schema {SCHEMA}")

    differences = {key: build(Measured, value) for key, value in data["differences"].items()}
    return Ladder(
        name=data["name"],
        sources=tuple(build(Source, one) for one in data["sources"]),
        differences=differences,
        costs=tuple(build(CostRow, one) for one in data["costs"]),
        places=tuple(build(Places, one) for one in data["places"]),
        objects=tuple(data["objects"]),
        signal=None if data["signal"] is None else _signal(data["signal"]),
    )


def _signal(data: dict[str, Any]) -> Signal:
    curves = {name: build(Curve, curve) for name, curve in data["curves"].items()}
    return build(Signal, {**data, "curves": curves})


def _rounded(value: Any) -> Any:
    """A copy with every number rounded, so that files of equal measurements are equal."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(one) for one in value]
    return value
