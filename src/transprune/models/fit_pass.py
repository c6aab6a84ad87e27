"""One prompt of a fit: what each layer's visual tokens receive unpruned, and what goes at an alpha."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from transprune.core.plan import Stage, per_layer
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores, Selection
from transprune.cost.count import count_cost
from transprune.cost.geometry import Geometry
from transprune.errors import LayoutError, MissingSignal, TuneError
from transprune.families import find_family
from transprune.methods.common.method import LayerPruner
from transprune.methods.fitprune import FitPrune
from transprune.session import prune

SLACK = 1e-6  # of a mass, for the rounding of its sums

Mass = tuple[float, float]  # received of the visual tokens, and of the instruction


@dataclass(frozen=True)
class Layers:
    """Where tokens may go.

    Attributes:
        boundaries: behind each layer that has attention and a layer behind it, ascending.
        geometry: sizes of the language model.
    """

    boundaries: tuple[int, ...]
    geometry: Geometry

    @classmethod
    def of(cls, model: nn.Module, geometry: Geometry) -> Layers:
        """All such boundaries of a model.

        Raises:
            MissingSignal: no layer has attention that can be read.
        """
        family = find_family(model)
        kinds = family.layer_kinds(family.base(model))
        shared = [index for index, kind in enumerate(kinds) if kind.keys_of is not None]
        # layers that read the keys of others run for the last token only
        last = min(shared, default=len(kinds))
        found = tuple(at for at in range(1, last) if kinds[at - 1].stores_keys)
        if not found:
            raise MissingSignal("this model has no layer with attention in front of another layer")
        return cls(found, geometry)

    def saving(self, tokens: int, left: Mapping[int, int]) -> float:
        """Share of the prefill that is saved, as papers count, if nothing more goes.

        `left` is the number of `tokens` that stay behind each boundary so far.
        """
        stages = tuple(Stage(boundary, count) for boundary, count in left.items())
        schedule = Schedule(dict.fromkeys(self.boundaries, 1.0))
        cost = count_cost(
            self.geometry,
            per_layer(self.geometry.layers, tokens, stages),
            0,
            unpruned=tokens,
            readings=FitPrune(schedule).reads_at(self.geometry.layers),
        )
        return 1 - cost.prefill_share


@dataclass(frozen=True)
class Prompt:
    """What the unpruned model gives the visual tokens of one prompt.

    Attributes:
        tokens: visual tokens.
        masses: boundary -> attention received in the layer in front of it.
    """

    tokens: int
    masses: Mapping[int, Mass]


@dataclass(frozen=True)
class Fitting(LayerPruner):
    """Reads what every layer's tokens receive; drops what a layer can do without. Not registered.

    Args:
        layers: where.
        alpha: share of the attention a layer may lose; None drops nothing.
        saving: share of the prefill at which nothing more goes.
        masses: of the unpruned model; written where nothing is dropped.
        left: written: tokens that stay behind each boundary.
    """

    layers: Layers
    alpha: float | None = None
    saving: float = 1.0
    masses: dict[int, Mass] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)

    name: ClassVar[str] = "fitting"
    reads: ClassVar[Reads] = FitPrune.reads

    def schedule(self, num_layers: int) -> Schedule:
        """Every boundary."""
        return Schedule(dict.fromkeys(self.layers.boundaries, 1.0))

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """The attention decides how many stay."""
        return tuple(Stage(at, visual_tokens, at_most=True) for at in self.layers.boundaries)

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """What each token receives, of the image and of the words."""
        of_image, of_words = view.received()
        return {"from_image": of_image, "from_words": of_words}

    def select(self, view: LayerView, carry: Tensor | None = None) -> Selection:
        """All, or those that the layer needs."""
        received = tuple(self.score(view, carry).values())
        everything = torch.arange(len(view.candidates), device=view.candidates.device)
        keep = everything

        if self.alpha is None:
            self.masses[view.boundary] = _mass(received)
        elif self.layers.saving(view.numbers, self.left) < self.saving:
            goes = torch.ones_like(everything, dtype=torch.bool)
            for values, mass in zip(received, self.masses[view.boundary], strict=True):
                goes &= least_received(values, (1 - self.alpha) * mass)
            keep = _staying(goes, received[0] * received[1])

        self.left[view.boundary] = len(keep)
        return Selection(keep)


def least_received(values: Tensor, rest: float) -> Tensor:
    """The most of the smallest `values` [N] without which at least `rest` is left. -> bool [N]."""
    order = values.argsort(stable=True)
    left = values.sum() - values[order].cumsum(dim=0)
    goes = torch.zeros_like(values, dtype=torch.bool)
    goes[order] = left >= rest - SLACK * float(values.sum())
    return goes


@torch.no_grad()
def measure_masses(model: nn.Module, inputs: Mapping[str, Any], layers: Layers) -> Prompt:
    """Run one prompt unpruned, and note what its visual tokens receive in every layer.

    Raises:
        LayoutError: a batch, or a prompt without a picture.
        TuneError: attention that is not a number.
    """
    reader = Fitting(layers)
    with prune(model, reader) as session:
        model(**inputs, use_cache=False)

    tokens: Sequence[int] = session.trace.visual_tokens
    if len(tokens) != 1:
        raise LayoutError(f"a fit takes prompts one by one; got a batch of {len(tokens)}")
    if tokens[0] == 0:
        raise LayoutError("a fit needs prompts with a picture; got one without")

    lost = [at for at, mass in reader.masses.items() if not all(map(math.isfinite, mass))]
    if lost:
        # every comparison with it fails, so nothing would ever go there
        raise TuneError(
            f"the attention of decoder layer {min(lost) - 1} is not a number (NaN or infinity in the "
            "hidden states), so nothing can be fitted to it; try --dtype float32 or bfloat16"
        )

    return Prompt(tokens[0], reader.masses)


@torch.no_grad()
def drop_by_alpha(
    model: nn.Module,
    inputs: Mapping[str, Any],
    prompt: Prompt,
    layers: Layers,
    alpha: float,
    saving: float,
) -> dict[int, int]:
    """Run one prompt with each layer losing `alpha`: tokens that stay behind each boundary."""
    method = replace(Fitting(layers, alpha, saving), masses=dict(prompt.masses), left={})
    with prune(model, method):
        model(**inputs, use_cache=False)
    return method.left


def _mass(received: tuple[Tensor, ...]) -> Mass:
    of_image, of_words = (float(values.sum()) for values in received)
    return of_image, of_words


def _staying(goes: Tensor, score: Tensor) -> Tensor:
    """Positions that stay, ascending; the best one where all would go. -> long [K]."""
    stays = (~goes).nonzero()[:, 0]
    return stays if len(stays) else score.argmax()[None]
