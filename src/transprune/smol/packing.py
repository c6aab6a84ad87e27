"""Many questions about one picture in one forward, in the words of the language model.

The layout is that of `nano.packed`: a prefix with the picture, then one branch per question, which
attends to the prefix and to itself. It is exactly the prompt of a single question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transprune.nano.packed import LayerWeights, run_packed
from transprune.smol.asker import Question
from transprune.smol.vision import look

START = "<|im_start|>user\n"  # in front of the picture
ASK = "\n{}<|im_end|>\n<|im_start|>assistant\n"  # behind it, with the question
IGNORE = -100  # target of a token that is not supervised

Slots = Sequence[tuple[int, int]]  # how many branches, and tokens of each


class Branches(NamedTuple):
    """Questions of about one length: K about each of B pictures, some of them padding.

    Attributes:
        ids: long [B, K, T].
        targets: long [B, K, T]; -100 where a token is not supervised.
        questions: long [B, K], the place of the question in its list; -1 for padding.
    """

    ids: Tensor
    targets: Tensor
    questions: Tensor


class Packed(NamedTuple):
    """Questions about pictures.

    Attributes:
        pixels: uint8 [P, 336, 336, 3].
        branches: one entry per length; their B prompts are those of the pictures, one each, unless
            `answer_logits` is told another picture for each.
    """

    pixels: Tensor
    branches: tuple[Branches, ...]

    @property
    def targets(self) -> Tensor:
        """The supervised tokens, in the order of `answer_logits`. -> long [n]."""
        every = [part.targets[part.targets != IGNORE] for part in self.branches]
        return torch.cat(every)


def pack(
    pixels: Tensor,
    asked: Sequence[Sequence[Question]],
    tokenizer: Any,
    slots: Slots | None = None,
) -> Packed:
    """Make branches: the question, then the answer, of which every token and the end are supervised.

    Args:
        pixels: uint8 [B, 336, 336, 3].
        asked: questions about each picture, or of each prompt; not necessarily as many for each.
        tokenizer: of the language model.
        slots: branches to make of every prompt, ascending by length; a question takes the first
            free one that it fits, and is left out if there is none. Default: one for every
            question, all as long as the longest.
    """
    rows = [[_branch(question, tokenizer) for question in questions] for questions in asked]
    if slots is None:
        most = max(len(branches) for branches in rows)
        longest = max(len(ids) + len(answer) for branches in rows for ids, answer in branches) - 1
        slots = ((most, longest),)

    parts = tuple(_padding(len(rows), count, length, tokenizer) for count, length in slots)
    for row, branches in enumerate(rows):
        free = [count for count, _ in slots]
        for number, (prompt, answer) in enumerate(branches):
            tokens = len(prompt) + len(answer) - 1
            fitting = [part for part, (_, length) in enumerate(slots) if length >= tokens]
            part = next((part for part in fitting if free[part]), None)
            if part is not None:
                place = slots[part][0] - free[part]
                _fill(parts[part], row, place, number, prompt, answer)
                free[part] -= 1
    return Packed(pixels, parts)


def answer_logits(
    model: Any,
    tokenizer: Any,
    packed: Packed,
    layer: Callable[..., Tensor] | None = None,
    weights: Callable[[int, Any], LayerWeights] | None = None,
    kept: Tensor | None = None,
    pictures: Tensor | None = None,
) -> Tensor:
    """Predictions at the supervised tokens, in the order of `Packed.targets`. -> float32 [n, V].

    Args:
        model: of `architecture.assemble`.
        tokenizer: its tokenizer.
        packed: pictures and questions.
        layer, weights: the layer function and its weights, see `nano.packed.run_packed`.
        kept: long [B, N], ascending: the visual tokens that the language model is given, in their
            own positions. Default: all of them.
        pictures: long [B], the picture of each prompt. Default: one prompt of each.
    """
    device = model.device
    language = model.model.language_model
    start = torch.tensor(tokenizer(START, add_special_tokens=False).input_ids, device=device)

    # only the tower runs without gradients: it is frozen
    with torch.no_grad():
        patches = look(model.model.vision_tower, packed.pixels).patches
    if pictures is not None:
        patches = patches[pictures.to(device)]
    length = len(start) + patches.shape[1]
    positions = torch.arange(length).expand(len(patches), -1)
    if kept is not None:
        patches = patches.gather(1, kept[..., None].to(device).expand(-1, -1, patches.shape[-1]))
        positions = torch.cat([positions[:, : len(start)], len(start) + kept], dim=1)

    visual = model.model.multi_modal_projector(patches).float()
    text = language.embed_tokens(start).float().expand(len(visual), -1, -1)
    prefix = torch.cat([text, visual], dim=1)  # [B, P, D]

    branches = [part.ids.to(device) for part in packed.branches]
    states = run_packed(
        language, prefix, branches, layer=layer, weights=weights, positions=positions, after=length
    )
    supervised = [
        rows[part.targets.to(device) != IGNORE]
        for rows, part in zip(states, packed.branches, strict=True)
    ]
    return model.lm_head(torch.cat(supervised)).float()


def right_answers(logits: Tensor, packed: Packed) -> list[dict[int, bool]]:
    """Whether every token of an answer and its end are the likeliest: per prompt, by question."""
    hits = logits.argmax(dim=-1).cpu() == packed.targets
    found: list[dict[int, bool]] = [{} for _ in packed.branches[0].ids]

    done = 0
    for part in packed.branches:
        supervised = part.targets != IGNORE
        count = int(supervised.sum())
        right = torch.ones_like(supervised)
        right[supervised] = hits[done : done + count]
        done += count

        asked = part.questions >= 0
        rows = asked.nonzero()[:, 0].tolist()
        questions = part.questions[asked].tolist()
        verdicts = right.all(dim=-1)[asked].tolist()
        for row, question, verdict in zip(rows, questions, verdicts, strict=True):
            found[row][question] = verdict
    return found


def _branch(question: Question, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt behind the picture, and of the answer with its end."""
    prompt = tokenizer(ASK.format(question.text), add_special_tokens=False).input_ids
    answer = tokenizer(question.answer, add_special_tokens=False).input_ids
    return prompt, [*answer, tokenizer.eos_token_id]


def _padding(rows: int, count: int, length: int, tokenizer: Any) -> Branches:
    """Branches without questions."""
    ids = torch.full((rows, count, length), tokenizer.pad_token_id)
    return Branches(ids, torch.full_like(ids, IGNORE), torch.full((rows, count), -1))


def _fill(
    part: Branches, row: int, place: int, number: int, prompt: list[int], answer: list[int]
) -> None:
    """Write a question into a free branch."""
    whole = torch.tensor([*prompt, *answer])
    part.ids[row, place, : len(whole) - 1] = whole[:-1]
    # each token is trained to predict the next one
    part.targets[row, place, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
    part.questions[row, place] = number
