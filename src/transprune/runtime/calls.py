"""The calls of a model that run now, and what is known of the next one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

from torch import nn

from transprune.core.library import cache_length, cache_of
from transprune.runtime.forward_pass import Pass
from transprune.runtime.taps.prompt import Prompt


class Calls(threading.local):
    """The calls that run now, of each thread that runs the model: a hook may call the model again.

    Attributes:
        prompts: what the calls of the outer model hold; None once the decoder has taken it.
        states: the passes of the calls of the decoder; None where no hook has work.
        drafts: tokens at the end of the next prompt that are drafts.
        verified: tokens at the end of the next call that are to be verified, whatever it is.
        asked: tokens of the newest turn, where a whole conversation is the next prompt; else 0.
    """

    def __init__(self) -> None:
        self.prompts: list[Prompt | None] = []
        self.states: list[Pass | None] = []
        self.drafts = 0
        self.verified = 0
        self.asked = 0


def is_being_called(module: nn.Module) -> bool:
    """Whether a call of `module` is on the stack of this thread."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is nn.Module._call_impl.__code__ and frame.f_locals["self"] is module:
            return True
    return False


def count_verified(kwargs: Mapping[str, Any]) -> int:
    """Tokens at the end of a call that are to be verified: `generate` wants all their logits."""
    wanted = kwargs.get("logits_to_keep")
    return max(0, wanted - 1) if isinstance(wanted, int) else 0


def count_drafts(kwargs: Mapping[str, Any]) -> int:
    """How many tokens at the end of a prompt are drafts, from the call of the whole model.

    `generate` with an assistant gives the first forward its drafts to verify, and asks for the
    logits of all of them and of the last token of the prompt.
    """
    wanted = kwargs.get("logits_to_keep")
    if not isinstance(wanted, int) or wanted <= 1:
        return 0

    # a caller who wants the logits of some words leaves caches and positions to the model, where
    # `generate` passes both
    cache = cache_of(kwargs)
    first = cache is not None and cache_length(cache) == 0
    generates = kwargs.get("use_cache") is True and kwargs.get("position_ids") is not None
    return wanted - 1 if first and generates else 0
