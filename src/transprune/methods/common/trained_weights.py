"""Trained weights of a method: written into a folder, read back, and checked against a model.

pruner.safetensors    the modules, one for each boundary
pruner.json           method, geometry of the model, and how they were trained
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transprune.core import strict_json
from transprune.core.shown import shown
from transprune.errors import WeightsError
from transprune.methods.common.cross_attention import Module, module_shapes, scorer_width

WEIGHTS_FILE = "pruner.safetensors"
ABOUT_FILE = "pruner.json"
SCHEMA = 1

TRAIN = "train them with `transprune train-pruner`"


@dataclass(frozen=True)
class Fit:
    """What weights were trained for, and what a model offers.

    Attributes:
        method: name of the method.
        model_type: `model_type` of the model's configuration; None in weights that any model of
            this width and depth may use.
        width: of the language model.
        layers: its depth.
        inner: inner width of the modules.
        outputs: ratings per token.
        digest: of the first word embeddings; empty where nobody knows it.
    """

    method: str
    model_type: str | None
    width: int
    layers: int
    inner: int
    outputs: int
    digest: str = ""

    @classmethod
    def of(
        cls,
        method: Any,
        model_type: str | None,
        width: int,
        layers: int,
        digest: str = "",
    ) -> Fit:
        """The fit of a trained method to a model; its inner width follows from both."""
        inner = scorer_width(width, method.inner)
        return cls(method.name, model_type, width, layers, inner, method.outputs, digest)


@dataclass(frozen=True)
class TrainedWeights:
    """The modules of a trained method.

    Attributes:
        fit: what they were trained for.
        modules: boundary -> module.
        training: how they were trained, JSON-ready.
    """

    fit: Fit
    modules: Mapping[int, Module]
    training: Mapping[str, Any] = field(default_factory=dict)


def save_weights(
    folder: str | os.PathLike[str],
    weights: TrainedWeights,
    dtype: torch.dtype = torch.bfloat16,
) -> Path:
    """Write weights into `folder`, which is made if it is missing; returns it.

    Args:
        folder: where to.
        weights: what to write.
        dtype: of the file. Modules run in float32 whatever it is.

    Raises:
        WeightsError: the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    place = Path(folder)
    tensors = {}
    for boundary, module in weights.modules.items():
        for name, value in module.items():
            tensors[f"{boundary}.{name}"] = value.detach().to("cpu", dtype).contiguous()

    about = {"schema": SCHEMA, **vars(weights.fit), "boundaries": sorted(weights.modules)}
    text = strict_json.write({**about, "training": dict(weights.training)}, indent=2)
    try:
        place.mkdir(parents=True, exist_ok=True)
        save_file(tensors, place / WEIGHTS_FILE)
        # last and in one step: with this file the weights count as there
        part = place / f"{ABOUT_FILE}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(place / ABOUT_FILE)
    # a full disk fails inside safetensors with an error of its own
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"cannot write {place}: {reason}; make room, or choose a folder that can be written"
        ) from error

    return place


def load_weights(folder: str | os.PathLike[str]) -> TrainedWeights:
    """The weights in `folder`, float32 on the CPU.

    Raises:
        WeightsError: nothing there, damaged files, or modules that do not have their shapes or hold
            values that are not numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    place = Path(folder)
    about = _read_about(place)
    try:
        tensors = load_file(place / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{place / WEIGHTS_FILE} is missing or damaged ({error}); fetch it again, or {TRAIN}"
        ) from error

    fit, boundaries = _fit_of(about, place)
    modules = {boundary: _module_of(tensors, boundary, fit, place) for boundary in boundaries}
    return TrainedWeights(fit, modules, about.get("training") or {})


def _read_about(place: Path) -> dict[str, Any]:
    """What the JSON says."""
    file = place / ABOUT_FILE
    if not file.is_file():
        raise WeightsError(
            f"no trained weights in {place}: a folder of `transprune train-pruner` holds "
            f"{ABOUT_FILE} and {WEIGHTS_FILE}"
        )

    try:
        data = strict_json.read(file.read_bytes())
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{file} cannot be read ({error}); fetch it again, or {TRAIN}"
        ) from error

    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise WeightsError(f"{file} is no description of trained weights of schema {SCHEMA}")
    return data


def _fit_of(about: Mapping[str, Any], place: Path) -> tuple[Fit, list[int]]:
    """What the weights were trained for, and the boundaries of their modules."""
    kinds = {
        "method": str,
        "width": int,
        "layers": int,
        "inner": int,
        "outputs": int,
        "boundaries": list,
    }

    for name, kind in kinds.items():
        if not isinstance(about.get(name), kind):
            raise WeightsError(
                f"{place / ABOUT_FILE}: {name} must be of type {kind.__name__}; got "
                f"{about.get(name)!r}"
            )

    fit = Fit(
        method=about["method"],
        model_type=about.get("model_type"),
        width=about["width"],
        layers=about["layers"],
        inner=about["inner"],
        outputs=about["outputs"],
        digest=str(about.get("digest", "")),
    )

    boundaries = about["boundaries"]
    # True is an int in Python, and no layer
    if not boundaries or not all(type(boundary) is int for boundary in boundaries):
        raise WeightsError(
            f"{place / ABOUT_FILE}: boundaries are whole numbers, at least one; got "
            f"{shown(boundaries)}"
        )

    return fit, boundaries


def _module_of(tensors: Mapping[str, Tensor], boundary: int, fit: Fit, place: Path) -> Module:
    """The module of one boundary, with its shapes checked."""
    module = {}
    for name, shape in module_shapes(fit.width, fit.inner, fit.outputs).items():
        stored = tensors.get(f"{boundary}.{name}")
        if stored is None or tuple(stored.shape) != shape:
            came = "is missing" if stored is None else f"is {tuple(stored.shape)}, not {shape}"
            raise WeightsError(
                f"{place / WEIGHTS_FILE}: {boundary}.{name} {came}; the file does not belong to "
                f"{ABOUT_FILE}"
            )

        module[name] = stored.float()
        # every rating would be NaN, and the first tokens would stay whatever is asked
        if not module[name].isfinite().all():
            raise WeightsError(
                f"{place / WEIGHTS_FILE}: {boundary}.{name} holds values that are not numbers (NaN "
                f"or infinity); fetch the file again, or {TRAIN}"
            )

    return module
