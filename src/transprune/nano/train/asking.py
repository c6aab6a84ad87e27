"""Scenes with their questions as packed batches, and what a model answers to them."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from transprune.nano.captions import description
from transprune.nano.questions import FAMILIES, Question
from transprune.nano.scenes import Scene, Split, draw, question_rng
from transprune.nano.train.curriculum import (
    CHOICE_TOKENS,
    IGNORE,
    SHORT_TOKENS,
    Help,
    Mix,
    draw_questions,
    pack,
)
from transprune.nano.train.packed import run_packed
from transprune.nano.train.vision import normalise
from transprune.nano.words import BOS, EOS, USER, encode

WORDS_LENGTH = (
    84  # tokens of the longest description; a shorter one is told again until they are full
)
ASKED = (*FAMILIES, "place", "told", "retell")


class LanguageBatch(NamedTuple):
    """seen: uint8 pixels [B, 96, 96, 3] or long ids of descriptions [B, 84]; per kind of branch ids and targets long
    [B, K, T]; families long [B, K of all kinds], numbers of `ASKED`; gather as in `curriculum.Help`."""

    seen: Tensor
    ids: tuple[Tensor, Tensor]
    targets: tuple[Tensor, Tensor]
    families: Tensor
    gather: float = 0.0


class Answers(NamedTuple):
    """logits float32 [n, V] and targets long [n] of the supervised tokens; where: bool [B, all branch tokens]."""

    logits: Tensor
    targets: Tensor
    where: Tensor


def answer_tokens(
    model: Any, batch: LanguageBatch, hidden: Container[int], layer: Callable[..., Tensor]
) -> Answers:
    """What the model says at every supervised token, the picture hidden from the questions in some layers."""
    device, prefix = model.device, prefix_of(model, batch.seen, batch.gather)
    states = run_packed(model.model.language_model, prefix, _to(batch.ids, device), hidden, layer)
    targets = torch.cat([part.flatten(1) for part in _to(batch.targets, device)], dim=1)
    where = targets != IGNORE
    rows = torch.cat([part.flatten(1, 2) for part in states], dim=1)[where]
    return Answers(model.lm_head(rows).float(), targets[where], where)


def right_answers(answers: Answers, batch: LanguageBatch) -> Tensor:
    """Whether each question is answered right, `</s>` aside. -> bool [B * K of all kinds]."""
    good = torch.ones_like(answers.where)
    good[answers.where] = (answers.logits.argmax(-1) == answers.targets) | (answers.targets == EOS)
    sizes = [part.shape[1] * part.shape[2] for part in batch.ids]
    parts = good.split(sizes, dim=1)
    return torch.cat(
        [
            part.unflatten(1, ids.shape[1:]).all(-1)
            for part, ids in zip(parts, batch.ids, strict=True)
        ],
        dim=1,
    ).flatten()


def prefix_of(model: Any, seen: Tensor, gather: float = 0.0) -> Tensor:
    """Embeddings in front of the questions: `<s> USER:`, then the projected picture or the words. -> [B, P, D]."""
    embed = model.model.language_model.embed_tokens
    start = embed(torch.tensor([BOS, USER], device=model.device)).expand(len(seen), -1, -1)
    if seen.dtype == torch.uint8:
        with torch.no_grad():
            tower = model.model.vision_tower(
                pixel_values=normalise(seen, model.device), output_hidden_states=True
            )
        body = model.model.multi_modal_projector(tower.hidden_states[-2][:, 1:].float()).float()
    else:
        ids = seen.to(model.device)
        body = embed(ids)
        body = body + gather * _sums_of_objects(body, ids) if gather else body
    return torch.cat([start, body], dim=1)


def _sums_of_objects(words: Tensor, ids: Tensor) -> Tensor:
    """At every word the sum of all words between the signs around it, at signs zero. [B, T, D] -> same."""
    sign = torch.isin(ids, torch.tensor(encode(", ."), device=ids.device))
    number = (sign.cumsum(dim=1) - sign.long())[..., None].expand_as(
        words
    )  # signs before it: its object
    words = torch.where(sign[..., None], 0.0, words)
    sums = torch.zeros_like(words).scatter_add(1, number, words)
    return torch.where(sign[..., None], 0.0, sums.gather(1, number))


def language_batch(
    indices: range,
    mix: Mix,
    help: Help,
    objects: tuple[int, int],
    source: str,
    split: Split = "train",
) -> LanguageBatch:
    """Scenes of a split with their questions, packed."""
    rows = []
    for index in indices:
        scene, rng = draw(split, index, objects), question_rng(split, index)
        short, choice = draw_questions(scene, mix, help, rng)
        seen = (
            torch.from_numpy(scene.pixels) if source == "picture" else _description_ids(scene, rng)
        )
        rows.append(
            (
                seen,
                *pack(short, SHORT_TOKENS),
                *pack(choice, CHOICE_TOKENS),
                _families(short + choice),
            )
        )
    seen, short_ids, short_targets, choice_ids, choice_targets, families = (
        torch.stack(part) for part in zip(*rows, strict=True)
    )
    return LanguageBatch(
        seen, (short_ids, choice_ids), (short_targets, choice_targets), families, help.gather
    )


def _description_ids(scene: Scene, rng: np.random.Generator) -> Tensor:
    words = description(scene, rng)
    return torch.tensor(encode((words * WORDS_LENGTH)[:WORDS_LENGTH]))


def _families(questions: list[Question]) -> Tensor:
    return torch.tensor([ASKED.index(question.family) for question in questions])


def _to(parts: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    return tuple(part.to(device) for part in parts)
