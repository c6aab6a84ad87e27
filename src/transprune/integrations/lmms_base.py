"""What the models of lmms-eval for chat tasks and for simple tasks share.

Requests are answered batch by batch; a keeper, where there is one, is given each batch and knows the
answers of an earlier call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from transprune.core.plan import UNPRUNED
from transprune.errors import MethodError, MissingExtra, PruneError
from transprune.integrations.batches import Answers, Generation, answer_together
from transprune.integrations.keeper import Keeper, model_answers
from transprune.integrations.lmms_results import own_device, report, result
from transprune.integrations.messages import FRAMES, Conversation
from transprune.integrations.summary import Summary
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import Checkpoint, LoadOptions, load

Numbered = tuple[int, Conversation, Generation]


class TransPruneModel(lmms):
    """What chat and simple tasks share.

    Args:
        pretrained: `nano`, a folder or a hub id.
        method: recipe, with semicolons for commas; `unpruned` for the model as it is.
        attn, dtype, text_tower: as in `LoadOptions`.
        frames: of each video.
        batch_size: prompts per batch.
        device: as in `LoadOptions`, or `cuda:1`.

    Raises:
        MethodError: an unknown method, or arguments that nobody reads.
        CheckpointError: the model cannot be loaded.
    """

    def __init__(
        self,
        pretrained: str,
        method: str = UNPRUNED,
        attn: str = "sdpa",
        dtype: str = "auto",
        text_tower: str | None = None,
        frames: int = FRAMES,
        batch_size: int | str = 1,
        device: str | None = None,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            raise MethodError(
                f"--model_args has no {', '.join(sorted(unknown))}; it has pretrained, method, "
                "attn, dtype, text_tower and frames. Settings of a recipe are separated by "
                "semicolons: method=fastv:layer=3;keep_ratio=0.25"
            )

        # resolved before the weights are read: a typo should not take minutes
        chosen: Method | None = None
        if method != UNPRUNED:
            chosen = resolve(str(method).replace(";", ","))

        options = LoadOptions(dtype, device or own_device(), attn, text_tower)
        # "auto" of the command line means: the model decides
        size = int(batch_size) if str(batch_size).isdigit() else 1
        self._set_up(load(pretrained, options), chosen, size, int(frames), None)

    @classmethod
    def around(
        cls,
        checkpoint: Checkpoint,
        method: Method | None,
        batch_size: int = 1,
        frames: int = FRAMES,
        keeper: Keeper | None = None,
    ) -> TransPruneModel:
        """The same with a model that is loaded already.

        Args:
            checkpoint: the model.
            method: what prunes; None is the unpruned model.
            batch_size: prompts per batch.
            frames: of each video.
            keeper: is given every batch of answers, and knows earlier ones.
        """
        made = cls.__new__(cls)
        lmms.__init__(made)
        made._set_up(checkpoint, method, batch_size, frames, keeper)
        return made

    def _set_up(
        self,
        checkpoint: Checkpoint,
        method: Method | None,
        batch_size: int,
        frames: int,
        keeper: Keeper | None,
    ) -> None:
        self.checkpoint = checkpoint
        self.method = method
        self.batch_size = batch_size
        self.frames = frames
        self.keeper = keeper

    @property
    def device(self) -> Any:
        """Where the model computes; lmms-eval puts its own tensors there."""
        return self.checkpoint.model.device

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answers in the order of the requests."""
        results = [self._known(request) for request in requests]
        waiting = [number for number, found in enumerate(results) if found is None]
        summary = Summary()

        # a keeper shows how far it is
        hidden = self.rank != 0 or self.keeper is not None
        with tqdm(total=len(waiting), disable=hidden, desc="transprune") as bar:
            try:
                for batch in self._batches(requests, waiting):
                    answers = self._answer(requests, batch)
                    summary.add(answers)
                    for place, (number, _, _) in enumerate(batch):
                        results[number] = result(answers, place)
                        self._remember(requests[number], answers.texts[place])
                    bar.update(len(batch))
            # the other processes wait for this one, so a keeper raises it when they are through
            except (PruneError, RuntimeError, MemoryError) as error:
                if self.keeper is None:
                    raise
                self.keeper.stop(error)

        report(summary)
        return [one or GenerationResult(text="") for one in results]

    def _known(self, request: Instance) -> GenerationResult | None:
        """An answer that needs no model: one that was given before, or to a row that pads."""
        # rows that only make the processes' numbers of batches equal, which this model needs not
        if (getattr(request, "metadata", None) or {}).get("__padding_only__"):
            return GenerationResult(text="")
        known = None if self.keeper is None else self.keeper.known(request.args[3])
        return None if known is None else GenerationResult(text=known)

    def _answer(self, requests: Sequence[Instance], batch: Sequence[Numbered]) -> Answers:
        """The answers to one batch, which are kept at once."""
        conversations = [conversation for _, conversation, _ in batch]
        answers = answer_together(self.checkpoint, conversations, self.method, batch[0][2])
        if self.keeper is not None:
            rows = [requests[number].args[3] for number, _, _ in batch]
            given = model_answers(answers, self.checkpoint, self.method)
            self.keeper.keep(list(zip(rows, given, strict=True)))
        return answers

    def _batches(
        self, requests: Sequence[Instance], waiting: Sequence[int]
    ) -> Iterator[list[Numbered]]:
        """Requests that are generated alike and have the same kinds of media, in batches.

        Pictures are opened batch by batch: those of a whole benchmark do not fit the memory.
        """
        groups: dict[str, list[Numbered]] = {}
        for number in waiting:
            request = requests[number]
            conversation = self._try_to_read(request)
            if conversation is None:
                continue

            generation = Generation.read(self._options(request))
            key = json.dumps([self._options(request), conversation.media], default=str)

            # the frames of videos differ in number and size, so each is a batch of its own
            group = groups.setdefault(key, [])
            group.append((number, conversation, generation))
            if len(group) == self.batch_size or conversation.clips:
                yield groups.pop(key)

        yield from groups.values()

    def _try_to_read(self, request: Instance) -> Conversation | None:
        """The prompt of a request; None where a keeper was told that it cannot be read."""
        try:
            return self._read(request)
        # a damaged picture is an OSError or a ValueError of Pillow, or one of ours
        except (PruneError, OSError, ValueError) as error:
            if self.keeper is None or isinstance(error, MissingExtra):
                raise
            self.keeper.leave_out(request.args[3], error)
            return None

    def _read(self, request: Instance) -> Conversation:
        """The prompt of a request."""
        raise NotImplementedError

    def _options(self, request: Instance) -> dict[str, Any]:
        """The generation options of a request."""
        raise NotImplementedError

    def _document(self, request: Instance) -> Any:
        """The row that a request asks about."""
        _, _, _, number, task, split = request.args
        return self.task_dict[task][split][number]

    def _remember(self, request: Instance, text: str) -> None:
        """Hand the answer to lmms-eval's cache."""
        key = (request.args[0], self._options(request))
        self.cache_hook.add_partial("generate_until", key, text)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not there: a likelihood of a given answer is no generation."""
        raise NotImplementedError(
            "transprune answers generation tasks; choose one whose output_type is generate_until"
        )

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        """Not there: later rounds would need the answers of earlier ones."""
        raise NotImplementedError(
            "transprune answers generation tasks of one round (output_type generate_until)"
        )
