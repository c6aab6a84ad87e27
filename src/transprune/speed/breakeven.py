"""From where on a method pays: break-even of prompt length, batch and output length.

A point is one prompt length and one batch, measured with and without pruning in paired rounds. The
time of an answer of n tokens is that of the prefill, plus n - 1 times that of a new token. Prompts
and batches beyond the measured ones are never judged; longer answers are, up to `LONGEST`, and
whoever prints them says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from transprune.speed.cells import UNPRUNED
from transprune.speed.ratios import Ratio, Verdict, paired_ratio
from transprune.speed.rounds import Failure
from transprune.speed.runs import PER_TOKEN, PREFILL, Times

LONGEST = 512  # new tokens of the longest answer that is judged

Axis = Literal["batch", "prompt"]


@dataclass(frozen=True)
class Point:
    """One prompt length and batch, as measured.

    Attributes:
        visual_tokens, text_tokens: of each prompt.
        batch: prompts at once.
        samples: `"unpruned"` and method texts -> times of the rounds, in pairs.
        failures: method texts -> why there are no times.
    """

    visual_tokens: int
    text_tokens: int
    batch: int
    samples: Mapping[str, Sequence[Times]]
    failures: Mapping[str, Failure] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        """All tokens of one prompt."""
        return self.visual_tokens + self.text_tokens

    @property
    def methods(self) -> list[str]:
        """The methods that have times here."""
        return [name for name in self.samples if name != UNPRUNED]


@dataclass(frozen=True)
class Span:
    """The answers for which a method pays at a point.

    Attributes:
        first, last: new tokens of the shortest and the longest such answer, the latter at most
            `LONGEST`; None where it pays for none.
        one, longest: the verdicts about answers of one token and of `LONGEST`.
    """

    first: int | None
    last: int | None
    one: Verdict
    longest: Verdict


@dataclass(frozen=True)
class Outlook:
    """How a method does along one axis, with the other one fixed.

    Attributes:
        axis: what grows, `"batch"` or `"prompt"` (visual tokens).
        fixed: the value of the other one.
        verdicts: value along the axis -> verdict, ascending.
        first: the smallest value from which on the method pays at all that were measured; None if
            it does not pay at the largest.
    """

    axis: Axis
    fixed: int
    verdicts: Mapping[int, Verdict]
    first: int | None


def phase_ratio(point: Point, method: str, what: str) -> Ratio:
    """A method beside the unpruned model in one phase, `"prefill"` or `"per_token"`."""
    pruned = [times[what] for times in point.samples[method]]
    return paired_ratio(pruned, [times[what] for times in point.samples[UNPRUNED]])


def answer_ratio(point: Point, method: str, tokens: int) -> Ratio:
    """A method beside the unpruned model for a whole answer of `tokens` new tokens, at least 1."""
    pruned = _answer_seconds(point.samples[method], tokens)
    return paired_ratio(pruned, _answer_seconds(point.samples[UNPRUNED], tokens))


def span(point: Point, method: str) -> Span:
    """For which lengths of the answer a method pays at a point."""
    verdicts: dict[int, Verdict] = {}
    for tokens in range(1, LONGEST + 1):
        verdicts[tokens] = answer_ratio(point, method, tokens).verdict

    paying = [tokens for tokens, verdict in verdicts.items() if verdict == "pays"]
    first, last = (paying[0], paying[-1]) if paying else (None, None)
    return Span(first, last, verdicts[1], verdicts[LONGEST])


def outlooks(points: Iterable[Point], method: str, tokens: int, axis: Axis) -> list[Outlook]:
    """How a method does along an axis, once for each value of the other axis.

    Args:
        points: the measured ones.
        method: its text.
        tokens: new tokens of the answer.
        axis: what grows.

    Returns:
        Ascending by the fixed value.
    """
    lines: dict[int, dict[int, Verdict]] = {}
    for point in points:
        if method in point.samples:
            along, fixed = point.batch, point.visual_tokens
            if axis == "prompt":
                along, fixed = fixed, along
            lines.setdefault(fixed, {})[along] = answer_ratio(point, method, tokens).verdict

    found = []
    for fixed in sorted(lines):
        verdicts = dict(sorted(lines[fixed].items()))
        found.append(Outlook(axis, fixed, verdicts, _first_of_the_paying(verdicts)))

    return found


def _first_of_the_paying(verdicts: Mapping[int, Verdict]) -> int | None:
    """The smallest value from which all verdicts are "pays"."""
    first = None
    for value, verdict in verdicts.items():
        if verdict != "pays":
            first = None
        elif first is None:
            first = value
    return first


def _answer_seconds(rounds: Sequence[Times], tokens: int) -> list[float]:
    # the first token comes with the prefill
    return [times[PREFILL] + (tokens - 1) * times[PER_TOKEN] for times in rounds]
