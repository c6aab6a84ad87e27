"""What one look scores: the attention that each visual token of a prompt receives in one layer.

The layer is read through an ordinary session. Behind it the prefill goes on with one visual token,
so a look costs the layers in front and little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from transprune.core.schedule import Schedule
from transprune.core.signals import Reads
from transprune.core.views import LayerView, Scores
from transprune.errors import LayoutError, MissingSignal
from transprune.families import find_family
from transprune.families.base import Grid
from transprune.methods.common.method import LayerPruner
from transprune.models.checkpoint import Checkpoint
from transprune.models.prompt import count_images, prepare
from transprune.session import prune
from transprune.tiles.settings import Scorer
from transprune.trace import Trace

_FEWEST = 1e-6  # the share of tokens that goes on behind the layer: one token


@dataclass(frozen=True)
class InstructionAttention(LayerPruner):
    """Score by the attention of all instruction tokens, mean over heads and rows.

    Args:
        boundary: the layer that is read, 0-based.
    """

    boundary: int = 1

    name: ClassVar[str] = "tile-scorer"
    title: ClassVar[str] = "attention in front of the choice of tiles"
    reads: ClassVar[Reads] = Reads(rows="instruction")

    def schedule(self, num_layers: int) -> Schedule:
        """One boundary, behind which one token is left."""
        return Schedule({self.boundary: _FEWEST})

    def score(self, view: LayerView, carry: Tensor | None) -> Scores:
        """Probabilities as they are: those of different prompts are compared with each other."""
        assert self.reads.rows in ("instruction", "last")
        return {"score": view.mean_attention(self.reads.rows)}


@dataclass(frozen=True)
class LastAttention(InstructionAttention):
    """Score by the attention of the last prompt token, mean over heads."""

    reads: ClassVar[Reads] = Reads(rows="last")


METHODS = {"instruction": InstructionAttention, "last": LastAttention}


def scorer_method(scorer: Scorer, num_layers: int) -> LayerPruner:
    """The method whose scores a look reads, on a model of so many layers."""
    deepest = max(1, num_layers - 1)
    boundary = min(max(1, round(scorer.depth * num_layers)), deepest)
    return METHODS[scorer.rows](boundary)


@dataclass(frozen=True)
class Seen:
    """What one prompt of a look gave.

    Attributes:
        scores: of each picture of the prompt, float32 [N].
        grids: where the tokens of each picture lie.
        trace: of the prefill.
    """

    scores: tuple[Tensor, ...]
    grids: tuple[Grid, ...]
    trace: Trace


def score_prompt(
    checkpoint: Checkpoint, pictures: Sequence[Image.Image], question: str, method: LayerPruner
) -> Seen:
    """Prefill one prompt and read the scores of all its visual tokens.

    Raises:
        MissingSignal: it is not known where in a picture this model's tokens lie.
        LayoutError: the prompt is longer than the model's positions reach.
    """
    inputs = prepare(checkpoint, pictures, question)
    lengths = count_images(checkpoint, inputs)
    grids = tuple(_grid(checkpoint, inputs, number, n) for number, n in enumerate(lengths))
    check_length(checkpoint, inputs, len(pictures))

    session = prune(checkpoint.model, method, record=("scores",))
    with session, torch.no_grad():
        checkpoint.model(**inputs, use_cache=False, logits_to_keep=1)

    trace = session.trace
    recorded = trace.stages[0].scores
    assert recorded is not None
    return Seen(recorded["score"][0].split(lengths), grids, trace)


def check_length(checkpoint: Checkpoint, inputs: Any, pictures: int) -> None:
    """Refuse a prompt for which the model has no positions: its answer would be noise.

    Raises:
        LayoutError: the prompt is longer than `max_position_embeddings`.
    """
    text = checkpoint.model.config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None)
    length = int(inputs["input_ids"].shape[1])
    if longest is not None and length > longest:
        raise LayoutError(
            f"a prompt with {pictures} pictures has {length} tokens, and {checkpoint.source} reads "
            f"{longest}; look at fewer tiles, at smaller ones, or at each in a prompt of its own"
        )


def _grid(checkpoint: Checkpoint, inputs: Any, number: int, tokens: int) -> Grid:
    """Where the tokens of one picture of a prompt lie."""
    model = checkpoint.model
    family = find_family(model)
    grid = family.grid(model.config, inputs, number, tokens, cropped=checkpoint.crops)
    if grid is None:
        raise MissingSignal(
            f"tiles are chosen by where visual tokens lie, which is not known of the {tokens} "
            f"tokens of a tile with {checkpoint.source} ({family.title}); use another model, or a "
            "tile side that its processor does not cut"
        )

    return grid
