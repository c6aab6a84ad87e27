"""The end of a search: figures on the held-out questions, the recipe, and where it comes from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transprune.bench.data.manifest import write_json
from transprune.bench.data.tasks.base import Item
from transprune.bench.results.statistics import (
    RESAMPLES,
    Difference,
    Interval,
    difference_of,
    draw_weights,
    interval_of,
)
from transprune.methods.common.method import Method
from transprune.tune.loss import Distance
from transprune.tune.tried import Tried

RESULT_FILE = "tune.json"
FRONT_FOLDER = "front"
FEWEST_PICTURES = 6  # no paired test of fewer reaches 5 % (`difference_of`)


@dataclass(frozen=True)
class HeldOut:
    """Figures of one setting on the held-out questions, with 95 % intervals over pictures.

    Attributes:
        name: what the setting is.
        method_repr: the setting.
        cost: share or milliseconds.
        kl: mean KL divergence of the first answer tokens from the unpruned model, nats.
        same: percent of the questions whose first answer tokens stay the same.
        kl_against: `kl` minus that of the found setting; None for itself.
        same_against: the same of `same`.
    """

    name: str
    method_repr: str
    cost: float
    kl: Interval
    same: Interval
    kl_against: Difference | None
    same_against: Difference | None


def summarise(
    items: Sequence[Item],
    settings: Mapping[str, tuple[Method, float]],
    distances: Mapping[str, Distance],
    seed: int,
) -> list[HeldOut]:
    """One row per setting; the first is the found one, with which the others are compared.

    Args:
        items: the held-out questions.
        settings: name -> method and its cost.
        distances: name -> its distances, in the order of `items`.
        seed: seed of the resamples.
    """
    images = sorted({item.image for item in items})
    columns = [images.index(item.image) for item in items]

    # pictures are resampled with all their questions, the same for every setting
    weights = draw_weights(len(images), RESAMPLES, seed)[:, columns]  # [R + 1, n]
    totals = np.maximum(weights.sum(axis=1), 1)

    means: dict[str, tuple[Any, Any]] = {}
    for name, one in distances.items():
        kl = weights @ np.asarray(one.kl) / totals  # [R + 1]
        same = 100 * (weights @ np.asarray(one.same, dtype=float)) / totals
        means[name] = (kl, same)

    first = next(iter(settings))
    rows = []
    for name, (method, cost) in settings.items():
        kl, same = means[name]
        kl_against = same_against = None
        if name != first:
            kl_against = difference_of(kl - means[first][0], len(images))
            same_against = difference_of(same - means[first][1], len(images))

        rows.append(
            HeldOut(
                name,
                repr(method),
                cost,
                interval_of(kl),
                interval_of(same),
                kl_against,
                same_against,
            )
        )

    return rows


def doubts(rows: Sequence[HeldOut]) -> list[str]:
    """A sentence for each setting that is better than the found one on the held-out questions."""
    found = []
    for row in rows:
        if row.kl_against is not None and row.kl_against.value < 0:
            found.append(
                f"on the held-out questions {row.name} is nearer to the unpruned model than what "
                "was found: search with more questions, or with more --trials"
            )

    return found


def few_pictures(items: Sequence[Item]) -> list[str]:
    """A sentence if so few pictures are held out that their intervals mean little."""
    pictures = len({item.image for item in items})
    if pictures >= FEWEST_PICTURES:
        return []
    return [
        f"{pictures} picture(s) held out: resamples of so few are nearly alike, so the 95 % intervals "
        f"are too narrow. Give more questions or a larger --held-out ({FEWEST_PICTURES} pictures are "
        "the least at which a difference can be told from chance)"
    ]


def write_result(
    folder: Path,
    best: Tried,
    front: Sequence[Tried],
    rows: Sequence[HeldOut],
    provenance: Mapping[str, Any],
) -> None:
    """Write the recipe into `folder`, those of the front beside it, and the figures.

    Raises:
        RecipeError, RecordError: a file cannot be written.
    """
    best.method.save_pretrained(folder)
    # a longer search may find a shorter front
    shutil.rmtree(folder / FRONT_FOLDER, ignore_errors=True)
    points = []
    for number, point in enumerate(front):
        name = f"{FRONT_FOLDER}/{number:02d}"
        # with one point the recipe is the front
        if len(front) > 1:
            point.method.save_pretrained(folder / name)
        points.append(_point(point) | {"recipe": name if len(front) > 1 else "."})

    write_json(
        folder / RESULT_FILE,
        {
            **provenance,
            "found": _point(best),
            "held_out_figures": [asdict(row) for row in rows],
            "front": points,
        },
    )


def _point(trial: Tried) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "cost": trial.cost,
        "loss": trial.loss,
        "base": trial.base,
        "method": repr(trial.method),
    }
