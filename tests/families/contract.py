"""What the contract tests of all families share: the cases, a run beside its replay, and how near is near enough."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from families.case import FamilyCase, Sample
from families.cases import MODELS, Zoo, greedy
from families.refusals import refusal
from reference import Forced, draw_keeps
from replay import replay
from transprune import prune
from transprune.families import Family
from transprune.methods import Method
from transprune.trace import Trace

NEAR = 3e-5  # float32 logits of size 5
STEPS = 9  # the prefill and eight decode steps
PLACES = {
    "early": {0: 0.6, 3: 0.3},
    "middle": {2: 0.8, 4: 0.5, 6: 0.2},
    "late": {1: 0.9, 7: 0.05},
}
KINDS = ("alone", "even", "level", "ragged")
ATTENTIONS = ("eager", "sdpa")

Record = Callable[[str, object], None]


def samples_of(case: FamilyCase, kind: str) -> list[Sample]:
    """The prompts of a batch: `"alone"` is one with two images."""
    if kind == "alone":
        return case.ragged()[:1]
    samples: list[Sample] = getattr(case, kind)()
    return samples


def case_of(name: str) -> FamilyCase:
    """The case; skips where this release of transformers has no such model class."""
    case = MODELS[name]
    try:
        config = case.config()
    except (AttributeError, KeyError) as missing:
        pytest.skip(f"this release of transformers has no such model: {missing}")
    pixels = [key for key in case.image(0).tensors if key.startswith("pixel_values")]
    unknown = set(pixels) - _arguments(config)
    if unknown:
        pytest.skip(f"this release of transformers calls {', '.join(unknown)} differently")
    return case


def _arguments(config: Any) -> set[str]:
    """Names of the arguments of the model class's forward."""
    kind = transformers.AutoModelForImageTextToText._model_mapping[type(config)]
    return set(inspect.signature(kind.forward).parameters)


def products(quick: Callable[..., bool], *axes: Sequence[str]) -> list[Any]:
    """All combinations of the axes; those that are not quick run with `make test-all`."""
    rows: list[tuple[str, ...]] = [()]
    for axis in axes:
        rows = [(*row, value) for row in rows for value in axis]
    return [
        pytest.param(*row, marks=() if quick(*row) else pytest.mark.slow, id="-".join(row))
        for row in rows
    ]


@contextmanager
def declared(
    record: Record,
    name: str,
    kind: str,
    item: str,
    attention: str = "",
    method: Method | None = None,
    family: Family | None = None,
) -> Iterator[None]:
    """A cell of the support matrix: the block works, or raises what `refusals.py` says.

    Args:
        record: pytest's `record_property`.
        name: of the row under test.
        kind: `"method"` or `"mode"`.
        item: which one.
        attention: implementation.
        method: for what it reads.
        family: for what it describes.
    """
    refused = refusal(name, item, method, family)
    cell = {"family": name, "kind": kind, "item": item, "attention": attention}
    record("support", {**cell, "refused": refused.why if refused else ""})
    if refused is None:
        yield
        return
    with pytest.raises(Exception, match=re.escape(refused.words)):
        yield


@dataclass(frozen=True)
class Beside:
    """A family's model beside its replay.

    Attributes:
        zoo: the models.
        name: the family.
        attn: attention implementation of the model that is pruned.
        own: a model that is pruned in place of the shared one.
        slow: the eager model that is replayed in place of the shared one.
        dtype: of the pictures.
    """

    zoo: Zoo
    name: str
    attn: str
    own: Any = None
    slow: Any = None
    dtype: torch.dtype = torch.float32

    @property
    def case(self) -> FamilyCase:
        return MODELS[self.name]

    @property
    def model(self) -> Any:
        """The model that is pruned; a shared one stays as it is."""
        return self.zoo(self.name, self.attn) if self.own is None else self.own

    def batch(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """Model inputs of a left-padded batch."""
        inputs = self.case.batch(samples)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self.dtype)
        return inputs

    def expected(self, sample: Sample, keeps: Any, extra: Tensor | None, **told: Any) -> Tensor:
        """The replay's logits of a prompt and the tokens behind it."""
        slow = self.zoo(self.name) if self.slow is None else self.slow
        return replay(slow, self.batch([sample]), keeps, extra, **told)

    def check(
        self,
        samples: Sequence[Sample],
        run: Any,
        told: Sequence[Mapping[str, Any]],
        full: Tensor | None = None,
    ) -> None:
        """Logits of every step, and of a whole prefill, equal the replay's."""
        self.near(self.distance(samples, run, told, full), samples)

    def near(self, farthest: float, samples: Sequence[Sample]) -> None:
        """A distance from the replay is rounding: of our size, or that of the model itself."""
        if farthest <= NEAR:
            return
        # recurrent layers and experts sum in another order, pruned or not
        plain = greedy(self.model, self.batch(samples), steps=STEPS)
        own = self.distance(samples, plain, [{"keeps": {}}] * len(samples))
        assert farthest <= 10 * own, f"{farthest:.1e} from the replay; unpruned {own:.1e}"

    def distance(
        self,
        samples: Sequence[Sample],
        run: Any,
        told: Sequence[Mapping[str, Any]],
        full: Tensor | None = None,
    ) -> float:
        """The largest difference of any logit."""
        steps = torch.stack(run.logits, dim=1)
        farthest = 0.0
        for row, (sample, tell) in enumerate(zip(samples, told, strict=True)):
            length, count = len(sample.ids), steps.shape[1]
            new = run.sequences[row, -count:-1]
            expected = self.expected(sample, extra=new, **tell)
            farthest = max(farthest, apart(steps[row], expected[-count:]))
            if full is not None:
                prompt = expected[:length]
                alive = ~prompt.isnan().any(dim=-1)
                farthest = max(farthest, apart(full[row, -length:][alive], prompt[alive]))
        return farthest


def apart(got: Tensor, expected: Tensor) -> float:
    """The largest difference; infinite where either is no number."""
    difference = (got.float() - expected.float()).abs().max()
    return float(difference.nan_to_num(nan=torch.inf))


def forced(samples: Sequence[Sample], places: Mapping[int, float]) -> tuple[Forced, list[Any]]:
    """A method that keeps drawn tokens, and what the replay must be told of each sample."""
    keeps = [draw_keeps(sample, places) for sample in samples]
    return Forced.of(samples, keeps), [{"keeps": keep} for keep in keeps]


def run_pruned(
    model: Any, case: FamilyCase, samples: Sequence[Sample], method: Method, **options: Any
) -> tuple[Any, Trace]:
    """A greedy run of the batch under a method, and its trace."""
    with prune(model, method, positions="keep", **options) as session:
        run = greedy(model, case.batch(samples), steps=STEPS)
    return run, session.trace
