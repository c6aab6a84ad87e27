"""Many questions about one picture in one forward, in the words of the language model.

The layout is that of `nano.packed`: a prefix with the picture, then one branch per question, which
attends to the prefix and to itself. It is exactly the prompt of a single question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transprune.nano.packed import run_packed
from transprune.smol.asker import Question
from transprune.smol.vision import look

START = "<|im_start|>user\n"  # in front of the picture
ASK = "\n{}<|im_end|>\n<|im_start|>assistant\n"  # behind it, with the question
IGNORE = -100  # target of a token that is not supervised


class Packed(NamedTuple):
    """Questions about B pictures, K each, the shorter ones padded.

    Attributes:
        pixels: uint8 [B, 336, 336, 3].
        ids: long [B, K, T].
        targets: long [B, K, T]; -100 where a token is not supervised.
    """

    pixels: Tensor
    ids: Tensor
    targets: Tensor


def pack(pixels: Tensor, asked: Sequence[Sequence[Question]], tokenizer: Any) -> Packed:
    """Make branches: the question, then the answer, of which every token and the end are supervised.

    Args:
        pixels: uint8 [B, 336, 336, 3].
        asked: questions about each picture, not necessarily as many for each.
        tokenizer: of the language model.
    """
    rows = [[_branch(question, tokenizer) for question in questions] for questions in asked]
    most = max(len(branches) for branches in rows)
    longest = max(len(ids) + len(answer) for branches in rows for ids, answer in branches) - 1

    ids = torch.full((len(rows), most, longest), tokenizer.pad_token_id)
    targets = torch.full_like(ids, IGNORE)
    for row, branches in enumerate(rows):
        for place, (prompt, answer) in enumerate(branches):
            whole = torch.tensor([*prompt, *answer])
            ids[row, place, : len(whole) - 1] = whole[:-1]
            # each token is trained to predict the next one
            targets[row, place, len(prompt) - 1 : len(whole) - 1] = whole[len(prompt) :]
    return Packed(pixels, ids, targets)


def answer_logits(
    model: Any, tokenizer: Any, packed: Packed, layer: Callable[..., Tensor] | None = None
) -> Tensor:
    """Predictions at the supervised tokens, in their order. -> float32 [n, V].

    Args:
        model: of `architecture.assemble`.
        tokenizer: its tokenizer.
        packed: pictures and questions.
        layer: the layer function, see `nano.packed.run_packed`.
    """
    device = model.device
    language = model.model.language_model
    start = torch.tensor(tokenizer(START, add_special_tokens=False).input_ids, device=device)

    # only the tower runs without gradients: it is frozen
    with torch.no_grad():
        patches = look(model.model.vision_tower, packed.pixels).patches
    visual = model.model.multi_modal_projector(patches).float()
    text = language.embed_tokens(start).float().expand(len(visual), -1, -1)

    prefix = torch.cat([text, visual], dim=1)  # [B, P, D]
    (states,) = run_packed(language, prefix, [packed.ids.to(device)], layer=layer)
    supervised = packed.targets.to(device) != IGNORE
    return model.lm_head(states[supervised]).float()


def right_answers(logits: Tensor, packed: Packed) -> Tensor:
    """Whether every token of an answer and its end are the likeliest. -> bool [B, K].

    Padding, which has no answer, counts as right.
    """
    supervised = packed.targets != IGNORE
    right = torch.ones_like(supervised)
    right[supervised] = logits.argmax(dim=-1).cpu() == packed.targets[supervised]
    return right.all(dim=-1)


def _branch(question: Question, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt behind the picture, and of the answer with its end."""
    prompt = tokenizer(ASK.format(question.text), add_special_tokens=False).input_ids
    answer = tokenizer(question.answer, add_special_tokens=False).input_ids
    return prompt, [*answer, tokenizer.eos_token_id]
