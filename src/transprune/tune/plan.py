"""The options of `transprune tune` as one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transprune.errors import TuneError
from transprune.models.checkpoint import LoadOptions
from transprune.nano import NANO

CostKind = Literal["flops", "kv", "ms"]
LossKind = Literal["kl", "last-token"]

TRIALS = 80
HELD_OUT = 0.3  # of the pictures
SCENES = 40  # of a test bed's validation split
ANSWER_TOKENS = 4
BATCH = 32


@dataclass(frozen=True)
class Plan:
    """The options of a search.

    Attributes:
        out: folder of the search and of the recipe it finds.
        budget: text of the budget, as `0.35`, `35%` or `0.2:0.6` (see `budget.parse_budget`).
        model: `"nano"`, `"smol"`, a folder or a hub id.
        questions: name of a test bed, as `"nano"`, for its validation scenes, or a folder or file.
        methods: recipe texts; each is a starting point, and settings written in it are not
            searched.
        cost: what the budget counts: `"flops"` and `"kv"` as shares of the unpruned model (exact
            FLOPs of the prefill, bytes of keys and values), `"ms"` milliseconds of a prefill.
        loss: `"kl"`, KL divergence of the first answer tokens from the unpruned model, or
            `"last-token"`, one minus the cosine between the last hidden states of the last prompt
            token (the measure of VFlowOpt, Yang et al., ICCV 2025).
        trials: how many settings are tried, those of earlier calls counted.
        n: scenes of a test bed (default 40), or questions of a file (default all).
        held_out: share of the pictures whose questions the search never sees.
        answer_tokens: how many answer tokens are compared.
        seed: seed of the search, of the held-out part, and of a test bed's questions.
        strict: whether a bad line of a questions file is an error.
        loading: dtype, device, attention implementation and text tower of the model.
        batch_size: prompts per batch; after each batch a bad trial may be stopped.
        command: the command line, for the provenance.

    Raises:
        TuneError: a number or a choice that makes no search.
    """

    out: Path
    budget: str
    model: str = NANO
    questions: str = NANO
    methods: tuple[str, ...] = ("transprune",)

    # what is searched for
    cost: CostKind = "flops"
    loss: LossKind = "kl"
    trials: int = TRIALS

    # the questions
    n: int | None = None
    held_out: float = HELD_OUT
    answer_tokens: int = ANSWER_TOKENS
    seed: int = 0
    strict: bool = False

    # how the model runs
    loading: LoadOptions = LoadOptions()
    batch_size: int = BATCH
    command: str = ""

    def __post_init__(self) -> None:
        choices = {"cost": ("flops", "kv", "ms"), "loss": ("kl", "last-token")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise TuneError(f"{name} is one of {', '.join(known)}; got {getattr(self, name)!r}")

        if not 0 < self.held_out < 1:
            raise TuneError(
                f"held_out is a share of the pictures between 0 and 1; got {self.held_out!r}"
            )
        if min(self.trials, self.answer_tokens, self.batch_size) < 1:
            raise TuneError("trials, answer_tokens and batch_size are whole numbers from 1 on")
        if not self.methods:
            raise TuneError("give at least one method to search, as 'transprune'")
