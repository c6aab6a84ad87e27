"""Questions prepared for one model, to be put together into batches as often as needed.

Texts are tokenised once. Pictures are kept as the processor returned them. If the model takes
encoded pictures and encodes them one by one (LLaVA), each picture is encoded once for all questions
and for all methods that do not read the vision tower: on the bundled model the tower is a sixth to
a half of the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import torch
from torch import Tensor

from transprune.bench.data.tasks import Item
from transprune.bench.run.nominal import NominalPrompt
from transprune.cost.geometry import Geometry
from transprune.errors import LayoutError, PruneError, TaskError
from transprune.families import find_family
from transprune.methods.common.method import Method
from transprune.models.answer import prepare
from transprune.models.batching import (
    continued,
    media_inputs,
    pad_left,
    padding_id,
    text_inputs,
)
from transprune.models.checkpoint import Checkpoint
from transprune.models.prompt import takes_videos
from transprune.session import Session, prune

MEMORY = 2**30


@dataclass(frozen=True)
class Counts:
    """Numbers of tokens of one prompt."""

    visual: int
    text: int
    instruction: int

    @property
    def length(self) -> int:
        """All tokens."""
        return self.visual + self.text


class PreparedQuestions:
    """Prepared questions for one model.

    Attributes:
        checkpoint: the model with its processor.
        family, base, geometry: its family, its base model, the sizes of its language model.
        counts: tokens of each question's prompt.

    Raises:
        TaskError: a question or picture that the processor refuses, named by its id.
    """

    def __init__(self, checkpoint: Checkpoint, items: Iterable[Item]) -> None:
        self.checkpoint = checkpoint
        self.family = find_family(checkpoint.model)
        self.base = self.family.base(checkpoint.model)
        self.geometry = Geometry.from_config(checkpoint.model.config)

        # pictures and features by the name of their image, which several questions share
        self._texts: dict[tuple[str, str], dict[str, Tensor]] = {}
        self._pictures: dict[str, dict[str, Tensor]] = {}
        self._features: dict[str, list[Tensor]] = {}
        self._bytes_kept = 0
        self._takes_videos = takes_videos(checkpoint)

        # picture by picture: a scene is drawn when it is needed, and soon forgotten
        by_picture = sorted(items, key=lambda item: item.image)
        self.counts = {_key(item): self._tokenise(item) for item in by_picture}

    def nominal(self) -> NominalPrompt:
        """The prompt that budgets are counted for: low medians over the questions."""

        def median(field: str) -> int:
            return median_low(getattr(count, field) for count in self.counts.values())

        # low medians: always the count of a real prompt
        return NominalPrompt(
            geometry=self.geometry,
            visual_tokens=median("visual"),
            text_tokens=median("text"),
            instruction_tokens=median("instruction"),
        )

    def prune(self, method: Method) -> Session:
        """A session of this model, with the text tower that belongs to it.

        Raises:
            FamilyError: the model lacks what the method needs.
        """
        return prune(self.checkpoint.model, method, text_tower=self.checkpoint.text_tower)

    def count(self, item: Item) -> Counts:
        """Numbers of tokens of an item's prompt."""
        return self.counts[_key(item)]

    def batch(
        self, items: Sequence[Item], *, encoded: bool, behind: Sequence[Tensor] | None = None
    ) -> dict[str, Any]:
        """Inputs of `generate` for these items, padded on the left.

        Args:
            items: the rows.
            encoded: whether pictures may be passed as features; False for methods that read the
                vision tower, which then has to run.
            behind: token ids to be put behind each prompt, long [1, n] each; None for nothing.
        """
        texts = [self._texts[_key(item)] for item in items]
        if behind is not None:
            pairs = zip(texts, behind, strict=True)
            texts = [continued(text, ids) for text, ids in pairs]
        inputs: dict[str, Any] = pad_left(texts, padding_id(self.checkpoint.processor.tokenizer))

        # features of videos are not passed from one call to another
        videos = self._takes_videos and any(item.clips for item in items)
        features = self._encode(items) if encoded and not videos else None
        if features is not None:
            inputs |= self.family.encoded_inputs(features)
        elif len(items) == 1:
            inputs |= self._picture(items[0])
        else:
            inputs |= self.family.join_pictures([self._picture(item) for item in items])
        return inputs

    def _tokenise(self, item: Item) -> Counts:
        """Prepare an item and keep its text; its pictures are kept as long as there is room."""
        inputs = self._prepare(item)
        ids = inputs["input_ids"]  # [1, L]
        texts = text_inputs(inputs)
        self._texts[_key(item)] = {name: value.cpu() for name, value in texts.items()}

        visual = self.family.visual_mask(self.base, ids)[0]  # bool [L]
        count = int(visual.sum())
        if count == 0:
            raise TaskError(
                f"question {item.id!r}: its prompt has no visual token, so nothing can be pruned"
            )

        # the instruction is everything after the last visual token, at least the last token
        length = ids.shape[1]
        after = length - 1 - int(visual.nonzero()[-1])
        return Counts(visual=count, text=length - count, instruction=max(1, after))

    def _prepare(self, item: Item) -> dict[str, Tensor]:
        """The processor's tensors for an item."""
        pictures = [picture() for picture in item.pictures]
        clips = [clip() for clip in item.clips]
        # a model that takes pictures only sees the frames of a video as so many pictures
        if clips and not self._takes_videos:
            pictures += [frame for clip in clips for frame in clip.frames]
            clips = []
        try:
            inputs = dict(prepare(self.checkpoint, pictures, item.question, clips))
        except (LayoutError, PruneError) as error:
            raise TaskError(f"question {item.id!r}: {error}") from error

        if item.image not in self._pictures and self._bytes_kept < MEMORY:
            kept = media_inputs(inputs)
            self._pictures[item.image] = kept
            self._bytes_kept += sum(value.nbytes for value in kept.values())
        return inputs

    def _picture(self, item: Item) -> dict[str, Tensor]:
        """The picture tensors of an item, prepared again if they were not kept."""
        if item.image in self._pictures:
            return self._pictures[item.image]
        return media_inputs(self._prepare(item))

    def _encode(self, items: Sequence[Item]) -> list[Tensor] | None:
        """Features of the pictures of all items; None if pictures must be passed as pixels."""
        pictures: dict[str, dict[str, Tensor]] = {}
        for item in items:
            if item.image not in self._features:
                pictures[item.image] = self._picture(item)

        fresh = self._run_tower(pictures)
        if fresh is None:
            return None

        features: list[Tensor] = []
        for item in items:
            features += self._features.get(item.image) or fresh[item.image]
        return features

    def _run_tower(self, pictures: dict[str, dict[str, Tensor]]) -> dict[str, list[Tensor]] | None:
        """Image -> features [N, D] of each of its pictures; kept as long as there is room.

        None if this family's pictures cannot be encoded one by one.
        """
        with torch.no_grad():
            encoded = self.family.encode_pictures(self.base, list(pictures.values()))
        if encoded is None:
            return None

        fresh = dict(zip(pictures, encoded, strict=True))
        for name, features in fresh.items():
            if self._bytes_kept < MEMORY:
                self._features[name] = features
                self._bytes_kept += sum(row.nbytes for row in features)
        return fresh


def _key(item: Item) -> tuple[str, str]:
    """An item's id is unique in its family only."""
    return item.family, item.id
