"""How the modules of a layer change each token: the evidence of TransPrune (arXiv 2507.20630)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transprune.core.rows import Rows

CHUNK = 128  # rows


@dataclass(frozen=True)
class Transition:
    """How one module changes each token, section 3.2. Shapes: L tokens, with any leading ones.

    Attributes:
        magnitude: float32 [..., L], norm of the module's output over norm of its (normalised)
            input.
        cosine: float32 [..., L], cosine between the two.
        visual: bool [..., L].
        real: bool [..., L], the tokens of the prompt; None where all are. Methods that take several
            samples at once meet tokens that are none.
    """

    magnitude: Tensor
    cosine: Tensor
    visual: Tensor  # for scores that are normalised over visual tokens only
    real: Tensor | None = None


@dataclass(frozen=True)
class LayerTransitions:
    """The two modules of one decoder layer.

    Attributes:
        attention: how its attention changed each token.
        mlp: how its MLP did.
    """

    attention: Transition
    mlp: Transition


@dataclass(frozen=True)
class Transitions:
    """The modules of several layers: attention and MLP of M layers.

    Attributes:
        layers: 1-based decoder layers.
        magnitude, cosine: float32 [M, 2, ..., L], as in `Transition`; attention comes first.
        visual: bool [..., L].
        real: bool [..., L], or None where all tokens are real.
    """

    layers: Sequence[int]
    magnitude: Tensor
    cosine: Tensor
    visual: Tensor
    real: Tensor | None = None

    def of(self, number: int) -> LayerTransitions:
        """The two modules of the layer at place `number`."""
        both = []
        for module in (0, 1):
            magnitude = self.magnitude[number, module]
            cosine = self.cosine[number, module]
            both.append(Transition(magnitude, cosine, self.visual, self.real))
        return LayerTransitions(*both)

    def of_layers(self, layers: Sequence[int]) -> Transitions:
        """These layers only."""
        if list(layers) == list(self.layers):
            return self
        places = [list(self.layers).index(layer) for layer in layers]
        magnitude = torch.stack([self.magnitude[place] for place in places])
        cosine = torch.stack([self.cosine[place] for place in places])
        return Transitions(layers, magnitude, cosine, self.visual, self.real)

    def of_rows(self, sample: int, rows: Rows) -> Transitions:
        """The tokens `rows`, long [n], of one `sample` of a batch, all of them real."""
        magnitude = self.magnitude[:, :, sample, rows]
        cosine = self.cosine[:, :, sample, rows]
        return Transitions(self.layers, magnitude, cosine, self.visual[sample, rows])

    @property
    def joint(self) -> Transition:
        """All modules at once, [M, 2, ..., L]."""
        return Transition(self.magnitude, self.cosine, self.visual, self.real)


def products_of(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Norms of a module's input and output, and their product.

    before, after [B, L, D] -> three of float32 [B, L].
    """
    half = before.device.type == "cpu" and before.dtype != torch.float32
    if half and before.shape[1] > CHUNK:
        # fp32 copies of whole half-precision tensors miss the cache: 1.2 against 0.3 ms
        chunks = zip(before.split(CHUNK, 1), after.split(CHUNK, 1), strict=True)
        parts = [products_of(*rows) for rows in chunks]
        first, second, both = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return first, second, both

    before = before.detach().float()
    after = after.detach().float()
    norm_before = torch.linalg.vector_norm(before, dim=-1)
    norm_after = torch.linalg.vector_norm(after, dim=-1)
    # one operation where product and sum are two, and no copy of the size of both
    return norm_before, norm_after, torch.einsum("...d,...d->...", before, after)


def compare(norm_before: Tensor, norm_after: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and cosine of a change, all of one shape, float32 [...].

    Args:
        norm_before: norms of the module's input.
        norm_after: norms of its output.
        product: their scalar product.
    """
    # a row of zeros must give 0 and not NaN
    cosine = product / (norm_before * norm_after).clamp_min(1e-8)
    return norm_after / norm_before.clamp_min(1e-6), cosine


def transition_of(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and cosine of a module's change, fp32. before, after [B, L, D] -> two of [B, L]."""
    return compare(*products_of(before, after))
