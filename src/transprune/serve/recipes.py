"""The methods a server offers: resolved when it starts, and chosen by name for each request.

What a client writes is only compared with these names. It is never resolved, because a recipe may
also be the path of a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from transprune.core.plan import UNPRUNED
from transprune.errors import MethodError, PruneError, ServeError
from transprune.methods.common.method import Method
from transprune.methods.common.recipe import resolve
from transprune.models.checkpoint import Checkpoint
from transprune.nano import NANO
from transprune.registry import did_you_mean
from transprune.serve.refusal import Refusal
from transprune.session import Session, prune
from transprune.smol import SMOL

AT = "@"  # nano@transprune-low
# without training, settings or further weights; left out where they do not fit the model
OFFERED = (
    "transprune-high",
    "transprune-low",
    "fastv",
    "pdrop",
    "sparsevlm",
    "visionzip",
    "divprune",
)
# chosen for one model, and for no other
OFFERED_FOR = {NANO: ("transprune-nano",), SMOL: ("transprune-smol",)}


@dataclass(frozen=True, eq=False)
class Recipe:
    """One method on the served model.

    Attributes:
        name: as clients write it.
        method, session: None for the unpruned model. The session is attached for each batch.
        budget: the share of the unpruned prefill that it was scaled to; None as it is offered.
        notes: what scaling changed besides how much stays.
    """

    name: str
    method: Method | None = None
    session: Session | None = None
    budget: float | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """Recipes with the same key keep the same tokens, so their requests run together."""
        # no name on offer contains the sign
        return self.name if self.budget is None else f"{self.name}{AT}{self.method!r}"

    @property
    def reads_tower(self) -> bool:
        """Whether the vision tower must run, although its features are known."""
        return self.method is not None and any(step.reads.vision for step in self.method.steps)

    @property
    def reads_question(self) -> bool:
        """Whether what is kept may depend on the text behind the pictures."""
        if self.method is None or self.session is None:
            return False

        reads = [step.reads for step in self.method.steps]
        if any(read.question or read.embeddings or read.signals for read in reads):
            return True

        # the query "mean" is of tokens up to the last visual one
        readings = self.method.reads_at(self.session.geometry.layers)
        return any(reading.rows not in (None, "mean") for reading in readings)


class Recipes:
    """The methods of one server.

    Args:
        checkpoint: the model they run on.
        name: how clients call the model.
        default: the method of a request that names none, or `"unpruned"`.
        offered: further methods; None offers those of `OFFERED` that fit the model.

    Raises:
        MethodError, FamilyError: a method that does not exist, or does not fit the model.
    """

    def __init__(
        self, checkpoint: Checkpoint, name: str, default: str, offered: Sequence[str] | None = None
    ) -> None:
        self.model_name = name
        self.default = default
        self._known = {UNPRUNED: Recipe(UNPRUNED)}

        for text in [default, *(offered or ())]:
            self._known[text] = self._known.get(text) or _make(checkpoint, text)
        if offered is None:
            self._offer_usual(checkpoint)

    def __iter__(self) -> Iterator[Recipe]:
        return iter(self._known.values())

    @property
    def model_names(self) -> list[str]:
        """The model alone, which means the default method, and with each method."""
        return [self.model_name, *(f"{self.model_name}{AT}{name}" for name in self._known)]

    def choose(self, model: str, pruning: str | None) -> Recipe:
        """The method of a request, by its model's suffix or its field `pruning`.

        Raises:
            Refusal: another model, a method that is not offered, or two different ones.
        """
        name, _, suffix = model.partition(AT)
        if name != self.model_name:
            raise Refusal(
                f"no model {model[:64]!r} here.{did_you_mean(name[:64], [self.model_name])} "
                f"This server has {self.model_name!r}",
                404,
                param="model",
                code="model_not_found",
            )

        if suffix and pruning and suffix != pruning:
            raise Refusal(
                "the model's suffix and the field 'pruning' name two methods; give one of them",
                param="pruning",
            )

        return self._find(suffix or pruning or self.default, "model" if suffix else "pruning")

    def _find(self, name: str, param: str) -> Recipe:
        found = self._known.get(name)
        if found is None:
            shown = name[:64]
            raise Refusal(
                f"no method {shown!r} on this server.{did_you_mean(shown, self._known)} "
                f"It offers {', '.join(self._known)}",
                404 if param == "model" else 400,
                param=param,
                code="model_not_found" if param == "model" else "unknown_method",
            )

        return found

    def _offer_usual(self, checkpoint: Checkpoint) -> None:
        for text in (*OFFERED_FOR.get(checkpoint.source, ()), *OFFERED):
            # a method may not fit the depth of this model; nobody asked for it
            try:
                self._known[text] = self._known.get(text) or _make(checkpoint, text)
            except PruneError:
                continue


def _make(checkpoint: Checkpoint, text: str) -> Recipe:
    """Resolve a method and try it on the model, without running anything."""
    if AT in text:
        raise ServeError(f"a method's name must not contain {AT!r} on a server; got {text!r}")

    method = resolve(text)
    if not isinstance(method, Method):
        raise MethodError(f"{text!r} is no method")

    session = prune(checkpoint.model, method, text_tower=checkpoint.text_tower)
    # a model that no family lists is checked when a session attaches, and not by a first client
    with session:
        pass
    return Recipe(text, method, session)
