"""A claim of the paper, as comparisons that a run or a measurement can decide."""

from __future__ import annotations

from dataclasses import dataclass

# the costs at which the paper compares, as shares of the unpruned prefill: TransPrune-High and -Low
HIGH = 0.408
LOW = 0.312

# the same two as budgets of `transprune bench`, which counts every token
HIGH_EXACT = 0.41
LOW_EXACT = 0.31


def kept(method: str) -> str:
    """A method that renumbers the tokens that stay, with their positions kept instead."""
    return f"{method}:positions=keep"


def substituted(method: str) -> str:
    """A method that reads the question in CLIP's space, with its substitute for other models.

    It compares the projected features of the picture with the embeddings of the question's words.
    """
    return f"{method}:relevance=embedding"


def behind_substitute(second: str) -> str:
    """A method behind CDPruner's substitute, as in the presets `cdpruner-288-...`."""
    return f"{substituted('cdpruner')},keep=288+{second}"


@dataclass(frozen=True)
class Pair:
    """Two methods of a benchmark run at the same cost.

    Attributes:
        better, worse: names as in the run, `transprune/alpha=0.4` for a variant; the claim is that
            the first has the higher accuracy.
        share: of the unpruned prefill that both may cost.
        convention: how that is counted, `"exact"` or `"paper"`.
    """

    better: str
    worse: str
    share: float = HIGH_EXACT
    convention: str = "exact"

    @property
    def key(self) -> str:
        """Name of the comparison in the files."""
        return f"{self.better} - {self.worse} at {100 * self.share:.1f} % {self.convention}"


@dataclass(frozen=True)
class Printed:
    """Two rows that the paper prints, with tables named as in `transprune reproduce`.

    Attributes:
        exhibit: the table.
        better, worse: its rows.
        better_in: the table of the better row, where it is another one.
    """

    exhibit: str
    better: str
    worse: str
    better_in: str = ""


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim.

    Attributes:
        label: for the reader.
        key: name in the files; of a pair its own.
        printed: where the paper prints it; empty where it does not.
        pair: what is compared, if it is an accuracy.
        unit: of the difference: `"points"` of `Acc.`, `"AUC"`, or `"%"` of the kept tokens.
        neutral: no sign of it is better, so it gets no word.
    """

    label: str
    key: str
    printed: tuple[Printed, ...] = ()
    pair: Pair | None = None
    unit: str = "points"
    neutral: bool = False

    @classmethod
    def of(cls, label: str, pair: Pair, *printed: Printed) -> Comparison:
        """A comparison of accuracies."""
        return cls(label, pair.key, printed, pair)


@dataclass(frozen=True)
class Claim:
    """What the paper says.

    Attributes:
        name: short, for addresses and the overview.
        title: heading.
        says: the claim in one sentence.
        source: where the paper shows it.
        comparisons: that decide it; the first is the one of the overview.
        further: printed in the section without a say in the verdict.
        note: what a reader has to know to compare the columns; no figures.
    """

    name: str
    title: str
    says: str
    source: str
    comparisons: tuple[Comparison, ...]
    further: tuple[Comparison, ...] = ()
    note: str = ""
