"""Questions as packed batches, and the answers that a model of the bundled kind gives to them.

Used by `transprune nano evaluate` and by the training. See `packed` for the layout of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transprune.nano.packed import run_packed
from transprune.nano.questions import Question
from transprune.nano.words import ASSISTANT, BOS, COLUMNS, EOS, PAD, ROWS, USER, encode

# tokens of the longest question with its answer: without and with options
SHORT_TOKENS = 12
CHOICE_TOKENS = 20
IGNORE = -100  # target of a token that is not supervised

_PLACES = torch.tensor(encode([*ROWS, *COLUMNS]))
_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # CLIP's, as in the image processor
_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


class PackedBatch(NamedTuple):
    """Scenes with their questions, one scene per row.

    Attributes:
        seen: uint8 pixels [B, 96, 96, 3], or long token ids of descriptions [B, words].
        ids: per branch length, long [B, K, T].
        targets: as `ids`; `IGNORE` where a token is not supervised.
        object_sum: only for descriptions, see `train.curriculum.Scaffold`.
    """

    seen: Tensor
    ids: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    object_sum: float = 0.0


class Answers(NamedTuple):
    """Predictions at the supervised tokens of a batch.

    Attributes:
        logits: float32 [n, V].
        targets: long [n].
        where: bool [B, all branch tokens], the n supervised ones.
    """

    logits: Tensor
    targets: Tensor
    where: Tensor


def pack(questions: list[Question], tokens: int) -> tuple[Tensor, Tensor]:
    """Make inputs and targets of branches: question, `ASSISTANT:`, answer.

    The answer and its `</s>` are supervised, and so are the places inside a question text (only
    training questions contain places).

    Returns:
        ids, targets: long [K, tokens], padded on the right; targets are -100 elsewhere.
    """
    ids = torch.full((len(questions), tokens), PAD)
    targets = torch.full((len(questions), tokens), IGNORE)

    for row, question in enumerate(questions):
        prompt = [*encode(question.text), ASSISTANT]
        whole = torch.tensor([*prompt, *encode(question.answer), EOS])
        inputs = whole[:-1]
        following = whole[1:]  # each token is trained to predict the next one

        supervised = torch.isin(following, _PLACES)
        supervised[len(prompt) - 1 :] = True
        ids[row, : len(inputs)] = inputs
        targets[row, : len(inputs)] = torch.where(supervised, following, IGNORE)

    return ids, targets


def answer_tokens(
    model: Any,
    batch: PackedBatch,
    masked_layers: Container[int] = (),
    layer: Callable[..., Tensor] | None = None,
) -> Answers:
    """Run the model and return its predictions at every supervised token.

    Args:
        model: a LLaVA of the bundled kind.
        batch: scenes and questions.
        masked_layers: decoder layers in which questions cannot attend to the picture.
        layer: the layer function, see `run_packed`.
    """
    device = model.device
    prefix = prefix_of(model, batch.seen, batch.object_sum)
    ids = [part.to(device) for part in batch.ids]
    states = run_packed(model.model.language_model, prefix, ids, masked_layers, layer)

    # per length [B, K, T] -> [B, all branch tokens]
    targets = torch.cat([part.to(device).flatten(1) for part in batch.targets], dim=1)
    rows = torch.cat([part.flatten(1, 2) for part in states], dim=1)

    where = targets != IGNORE
    return Answers(model.lm_head(rows[where]).float(), targets[where], where)


def right_answers(answers: Answers, batch: PackedBatch) -> Tensor:
    """Whether each question is answered right, `</s>` not counted. -> bool [B * K of all lengths].

    The questions of a scene stand together, in the order of `batch.ids`.
    """
    predicted = answers.logits.argmax(-1)
    good = torch.ones_like(answers.where)
    good[answers.where] = (predicted == answers.targets) | (answers.targets == EOS)

    # [B, all branch tokens] -> per length [B, K, T] -> [B, K]
    sizes = [ids.shape[1] * ids.shape[2] for ids in batch.ids]
    verdicts = []
    for part, ids in zip(good.split(sizes, dim=1), batch.ids, strict=True):
        verdicts.append(part.unflatten(1, ids.shape[1:]).all(-1))

    return torch.cat(verdicts, dim=1).flatten()


def prefix_of(model: Any, seen: Tensor, object_sum: float = 0.0) -> Tensor:
    """Embed the prefix: `<s> USER:`, then the projected picture or the description. -> [B, P, D].

    Only the tower runs without gradients: it is frozen whenever this is called.
    """
    embed = model.model.language_model.embed_tokens
    start = embed(torch.tensor([BOS, USER], device=model.device)).expand(len(seen), -1, -1)

    if seen.dtype == torch.uint8:
        with torch.no_grad():
            tower = model.model.vision_tower(
                pixel_values=normalise(seen, model.device), output_hidden_states=True
            )
        patches = tower.hidden_states[-2][:, 1:].float()  # without CLS
        body = model.model.multi_modal_projector(patches).float()
    else:
        ids = seen.to(model.device)
        body = embed(ids)
        if object_sum:
            body = body + object_sum * _object_sums(body, ids)

    return torch.cat([start, body], dim=1)


def normalise(pixels: Tensor, device: torch.device) -> Tensor:
    """Normalise as the image processor does. uint8 [B, H, W, 3] -> float32 [B, 3, H, W]."""
    scaled = pixels.to(device).float() / 255
    normalised = (scaled - _MEAN.to(device)) / _STD.to(device)
    return normalised.permute(0, 3, 1, 2).contiguous()


def _object_sums(words: Tensor, ids: Tensor) -> Tensor:
    """For every word, the sum of all words of its object; zero at punctuation. [B, T, D] -> same.

    The words of an object are those between two commas or full stops.
    """
    is_mark = torch.isin(ids, torch.tensor(encode(", ."), device=ids.device))  # [B, T]

    # number of marks before a word = number of its object
    number = is_mark.cumsum(dim=1) - is_mark.long()
    number = number[..., None].expand_as(words)  # [B, T] -> [B, T, D]

    words = torch.where(is_mark[..., None], 0.0, words)
    sums = torch.zeros_like(words).scatter_add(1, number, words)
    return torch.where(is_mark[..., None], 0.0, sums.gather(1, number))
