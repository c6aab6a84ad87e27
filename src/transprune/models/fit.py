"""Fit how many visual tokens each layer drops: FitPrune's offline search, on any model.

    from transprune.models.fit import fit
    found = fit(model, prompts, saving=0.4)         # prompts: a list of model inputs, one each
    method = FitPrune(found.keep)

On the command line: `transprune fit --model ... --questions ... --saving 0.4 --out ...`.

One number, alpha, says how much of the attention a layer may lose: as much as its visual tokens
received of the unpruned model. The smallest alpha that saves enough is found by bisection; for each
one every prompt runs once (`transprune.models.fit_pass`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from transprune.core.schedule import Schedule
from transprune.cost.count import count_method, sum_costs
from transprune.cost.geometry import Geometry
from transprune.errors import LayoutError, TuneError
from transprune.families import find_family
from transprune.methods.fitprune import FitPrune
from transprune.models.fit_pass import Layers, Prompt, drop_by_alpha, measure_masses

WIDTH = 0.01  # of the interval in which alpha is left, as in the released code
DIGITS = 4  # of a share in the schedule

OnPass = Callable[[str, int, int], None]  # what runs, prompts done, prompts


@dataclass(frozen=True)
class Fitted:
    """What a fit found.

    Attributes:
        keep: share left behind each layer that drops some.
        alpha: share of the attention that every layer may lose.
        saving: share of the unpruned prefill that `keep` saves on the prompts of the fit, `paper`
            convention.
        left: mean number of visual tokens behind the last layer.
        prompts: how many there were.
    """

    keep: Schedule
    alpha: float
    saving: float
    left: float
    prompts: int


def fit(
    model: nn.Module,
    prompts: Sequence[Mapping[str, Any]],
    saving: float,
    *,
    on_pass: OnPass | None = None,
) -> Fitted:
    """Find the schedule that saves `saving` and changes the attention of these prompts least.

    Ye et al., AAAI 2025, arXiv 2409.10197. A prompt stops dropping once the layers to come, with the
    tokens that are left, save enough. What the prompts keep is averaged as shares; so the schedule
    reaches the saving, where the released counts, rounded down, save 38.8 % for 40 %.

    Args:
        model: a model of a known family, not being pruned.
        prompts: what the processor returns for a picture and a question, already on the model's
            device; one prompt each, run one by one. They are asked for anew in every pass, so that a
            sequence may make them as they are needed.
        saving: share of the prefill to save, in (0, 1): visual tokens only, as papers count.
        on_pass: called in front of each prompt of each pass over the prompts, and at the end.

    Raises:
        LayoutError: no prompts, a batch, or a prompt without a picture.
        TuneError: a saving outside (0, 1), or one that nothing reaches (the most is named).
        SessionError: the model is being pruned.
    """
    if not 0 < saving < 1:
        raise TuneError(
            f"a saving is a share of the prefill in (0, 1), as 0.4 for 40 %; got {saving!r}"
        )
    if not len(prompts):
        raise LayoutError("a fit needs at least one prompt with a picture")

    return _Search(model, prompts, saving, on_pass or _say_nothing).run()


class _Search:
    """The bisection over alpha."""

    def __init__(
        self, model: nn.Module, prompts: Sequence[Mapping[str, Any]], saving: float, on_pass: OnPass
    ) -> None:
        base = find_family(model).base(model)
        self.geometry = Geometry.from_config(base.config)
        self.model = model
        self.saving = saving
        self.on_pass = on_pass
        self.layers = Layers.of(model, self.geometry)

        self.prompts = prompts
        self.known: list[Prompt] = []
        for number, inputs in enumerate(prompts):
            on_pass("unpruned", number, len(prompts))
            self.known.append(measure_masses(model, inputs, self.layers))

    def run(self) -> Fitted:
        """The smallest alpha that saves enough, to within `WIDTH`."""
        low, high = 0.0, 1.0
        best = self._at(high)
        if best.saving < self.saving:
            raise TuneError(
                f"no schedule saves {100 * self.saving:.1f} % here: the most is "
                f"{100 * best.saving:.1f} %, with one visual token left behind layer "
                f"{self.layers.boundaries[0] - 1}. Ask for that or less"
            )

        # more saving means more loss, so the smallest value that saves enough is bisected
        while high - low > WIDTH:
            middle = (low + high) / 2
            found = self._at(middle)
            if found.saving >= self.saving:
                high, best = middle, found
            else:
                low = middle

        self.on_pass("fitted", len(self.known), len(self.known))
        return best

    def _at(self, alpha: float) -> Fitted:
        """What is kept at this alpha, on average."""
        kept = []
        for number, (inputs, known) in enumerate(zip(self.prompts, self.known, strict=True)):
            self.on_pass(f"alpha {alpha:.3f}", number, len(self.known))
            kept.append(drop_by_alpha(self.model, inputs, known, self.layers, alpha, self.saving))

        shares = {}
        for boundary in self.layers.boundaries:
            of_prompts = [
                left[boundary] / prompt.tokens
                for left, prompt in zip(kept, self.known, strict=True)
            ]
            shares[boundary] = sum(of_prompts) / len(of_prompts)

        tokens = max(prompt.tokens for prompt in self.known)
        return self._judged(alpha, write_schedule(shares, self.geometry.layers, tokens))

    def _judged(self, alpha: float, keep: Schedule) -> Fitted:
        """What a schedule saves on the prompts, and what it leaves."""
        method = FitPrune(keep)
        costs = [count_method(self.geometry, method, prompt.tokens, 0) for prompt in self.known]
        left = [method.plan(self.geometry.layers, prompt.tokens)[-1].count for prompt in self.known]

        return Fitted(
            keep=keep,
            alpha=alpha,
            saving=1 - sum_costs(costs).prefill_share,
            left=sum(left) / len(left),
            prompts=len(left),
        )


def _say_nothing(what: str, done: int, total: int) -> None:
    """No progress."""


def write_schedule(shares: Mapping[int, float], layers: int, tokens: int) -> Schedule:
    """The boundaries at which one of `tokens` or more goes, for a model of `layers` layers.

    Choosing costs work at each of them, so what is less than a token waits for a later one.
    """
    keep = {}
    newest = 1.0
    for boundary, share in sorted(shares.items()):
        rounded = max(round(share, DIGITS), 10**-DIGITS)
        if newest - rounded >= 1 / tokens:
            keep[boundary] = newest = rounded

    # an alpha at which nothing goes
    return Schedule(keep or {min(shares): 1.0}, depth=layers)
