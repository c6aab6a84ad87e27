"""Prompts: questions made ready for a model once, and put together into batches as often as needed.

Texts are tokenised once. Pictures are kept as the processor made them, and where a model takes encoded pictures and
its pictures come one by one (LLaVA), each is encoded once for all questions and methods that do not listen to the
vision tower: the tower is a sixth to a half of the work on the bundled model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import torch
from torch import Tensor

from transprune.bench.data.tasks import Item
from transprune.bench.run.budgets import Prompt
from transprune.cost.geometry import Geometry
from transprune.errors import LayoutError, PruneError, TaskError
from transprune.families import find_family
from transprune.methods.common.method import Method
from transprune.models.answer import prepare
from transprune.models.checkpoint import Checkpoint
from transprune.session import Session, prune

MEMORY = 2**30  # bytes of pictures and features that are kept
TEXTS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


@dataclass(frozen=True)
class Counts:
    """Tokens of one prompt."""

    visual: int
    text: int
    instruction: int

    @property
    def length(self) -> int:
        """All of them."""
        return self.visual + self.text


class Prompts:
    """Prepared questions for one model.

    Raises:
        TaskError: a question or picture the processor refuses, named by its id.
    """

    def __init__(self, checkpoint: Checkpoint, items: Iterable[Item]) -> None:
        self.checkpoint = checkpoint
        self.family = find_family(checkpoint.model)
        self.base = self.family.base(checkpoint.model)
        self.geometry = Geometry.from_config(checkpoint.model.config)
        self._texts: dict[tuple[str, str], dict[str, Tensor]] = {}
        self._pictures: dict[str, dict[str, Tensor]] = {}
        self._features: dict[str, list[Tensor]] = {}
        self._kept = 0
        self.counts = {_key(item): self._read(item) for item in items}

    def nominal(self) -> Prompt:
        """The prompt that budgets are counted for: low medians over the questions."""
        counts = self.counts.values()
        return Prompt(
            self.geometry,
            median_low(count.visual for count in counts),
            median_low(count.text for count in counts),
            median_low(count.instruction for count in counts),
        )

    def prune(self, method: Method) -> Session:
        """A session of this model, with the text tower that was given for it.

        Raises:
            FamilyError: the model lacks what the method needs.
        """
        return prune(self.checkpoint.model, method, text_tower=self.checkpoint.text_tower)

    def count(self, item: Item) -> Counts:
        """Tokens of the prompt of an item."""
        return self.counts[_key(item)]

    def batch(self, items: Sequence[Item], *, encoded: bool) -> dict[str, Any]:
        """Inputs of `generate` for these items, padded on the left.

        Args:
            items: the rows.
            encoded: whether pictures may come encoded; False for methods that listen to the vision tower.
        """
        inputs: dict[str, Any] = _pad([self._texts[_key(item)] for item in items], self._pad_id)
        if encoded and (features := self._encode(items)) is not None:
            return inputs | {"mm_encoder_outputs": {"image": features}}
        return inputs | _join([self._picture(item) for item in items])

    @property
    def _pad_id(self) -> int:
        tokenizer = self.checkpoint.processor.tokenizer
        found = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        )
        return int(found or 0)  # masked anyway

    def _read(self, item: Item) -> Counts:
        """Prepare an item; keep its text, and its pictures while there is room."""
        inputs = self._prepare(item)
        texts = {name: inputs[name].cpu() for name in TEXTS if name in inputs}
        self._texts[_key(item)] = texts
        ids = inputs["input_ids"]
        visual = self.family.visual(self.base, ids)[0]
        count, length = int(visual.sum()), ids.shape[1]
        if count == 0:
            raise TaskError(
                f"question {item.id!r}: its prompt has no visual token, so there is nothing to prune"
            )
        behind = length - 1 - int(visual.nonzero()[-1])
        return Counts(count, length - count, max(1, behind))

    def _prepare(self, item: Item) -> dict[str, Tensor]:
        try:
            inputs = dict(
                prepare(self.checkpoint, [picture() for picture in item.pictures], item.question)
            )
        except (LayoutError, PruneError) as error:
            raise TaskError(f"question {item.id!r}: {error}") from error
        pictures = {name: value for name, value in inputs.items() if name not in TEXTS}
        if item.image not in self._pictures and self._kept < MEMORY:
            self._pictures[item.image] = pictures
            self._kept += sum(value.nbytes for value in pictures.values())
        return inputs

    def _picture(self, item: Item) -> dict[str, Tensor]:
        if item.image in self._pictures:
            return self._pictures[item.image]
        return {name: value for name, value in self._prepare(item).items() if name not in TEXTS}

    def _encode(self, items: Sequence[Item]) -> Any:
        """Features of the pictures of all items, each picture encoded once; None where that is not possible."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        pictures = {
            item.image: self._picture(item) for item in items if item.image not in self._features
        }
        if self.family.name != "llava" or any(
            set(kept) != {"pixel_values"} for kept in pictures.values()
        ):
            return None
        if pictures:
            pixels = torch.cat([kept["pixel_values"] for kept in pictures.values()])
            with torch.no_grad():
                rows = iter(self.base.get_image_features(pixel_values=pixels).pooler_output)
            fresh = {
                name: [next(rows) for _ in kept["pixel_values"]] for name, kept in pictures.items()
            }
        else:
            fresh = {}
        all_features = [
            row for item in items for row in self._features.get(item.image) or fresh[item.image]
        ]
        for name, features in fresh.items():
            if self._kept < MEMORY:
                self._features[name] = features
                self._kept += sum(row.nbytes for row in features)
        # some state has to be there: without one, a session takes the features for a chunk of a prompt
        return BaseModelOutputWithPooling(
            last_hidden_state=all_features[0], pooler_output=all_features
        )


def _key(item: Item) -> tuple[str, str]:
    return item.family, item.id


def _pad(rows: Sequence[dict[str, Tensor]], pad_id: int) -> dict[str, Tensor]:
    """Token rows [1, n] of different length as one batch, fillers on the left."""
    longest = max(row["input_ids"].shape[1] for row in rows)
    batch = {}
    for name in rows[0]:
        filler = pad_id if name == "input_ids" else 0
        padded = [
            torch.nn.functional.pad(row[name], (longest - row[name].shape[1], 0), value=filler)
            for row in rows
        ]
        batch[name] = torch.cat(padded)
    return batch


def _join(pictures: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Picture tensors of all rows behind each other; anyres tiles are filled up to the most of any row."""
    joined = {}
    for name in pictures[0]:
        values = [picture[name] for picture in pictures]
        if name == "pixel_values" and values[0].ndim == 5:  # [1, tiles, 3, H, W]
            most = max(value.shape[1] for value in values)
            values = [
                torch.nn.functional.pad(v, (0, 0, 0, 0, 0, 0, 0, most - v.shape[1])) for v in values
            ]
        joined[name] = torch.cat(values)
    return joined
