"""The settings of a search for tiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from transprune.core.shown import shown
from transprune.errors import MethodError
from transprune.methods.common.checks import check_choice, check_count, check_flag, check_number
from transprune.tiles.choice import RANKS, Rank

AUTO = "auto"

AttentionOf = Literal["instruction", "last"]

# Of the bundled model's 16 layers the eighth finds objects best, on drawn pictures of seeds that no
# test uses (benchmarks/tiles, `--choose`). Other models: the same share of the depth, not measured.
DEPTH = 7 / 16


@dataclass(frozen=True)
class Scorer:
    """How one look scores visual tokens, and from them tiles.

    LRS-VQA trains a module (RFM) to imitate the attention of the language model's own layers on the
    picture. This is that attention itself, read in the prefill of the tiles looked at.

    Args:
        rows: whose attention is read, mean over heads: all tokens of the `"instruction"`, or the
            `"last"` token of the prompt (RFM's own choice).
        rank: what a tile is ranked by: the number of `"hits"` (the paper), the `"sum"` of their
            scores, or the `"peak"`, the highest of them.
        depth: share of the decoder layers that run before the layer that is read, in (0, 1].

    Raises:
        MethodError: none of these rows or ranks; a depth outside (0, 1].
    """

    rows: AttentionOf
    rank: Rank
    depth: float = DEPTH

    def __post_init__(self) -> None:
        check_choice("rows", self.rows, get_args(AttentionOf))
        check_choice("rank", self.rank, RANKS)
        check_number("depth", self.depth, above=0, most=1)


@dataclass(frozen=True)
class Tiles:
    """How tiles of a large picture are searched for.

    Args:
        most: tiles of each level behind the base that are looked at, at most. Default 9, as many as
            the base of a square picture has. (The paper's code documents 6 and takes all that were
            hit.)
        rounds: levels looked at, the base included, at least 1. The last look chooses among its own
            tiles. Default 2, as in the paper; more finds smaller things.
        side: side of a tile, pixels; None takes what the model's processor crops pictures to, or
            336 where it has no fixed size.
        together: True shows thumbnail and tiles in one prompt, and answers from all tiles that are
            left. False looks at each tile in a prompt of its own, and answers from the best one.
            None takes False for families that were trained on one picture in a prompt.
        share: of the tokens that vote for tiles, in (0, 1]. Default 0.25 (the paper).
        search: scores the looks that choose tiles of the next level.
        final: scores the last look.

    Raises:
        MethodError: a number below 1, a share outside (0, 1].
    """

    most: int = 9
    rounds: int = 2
    side: int | None = None
    together: bool | None = None
    share: float = 0.25
    search: Scorer = field(default_factory=lambda: Scorer("instruction", "peak"))
    final: Scorer = field(default_factory=lambda: Scorer("last", "sum"))

    def __post_init__(self) -> None:
        check_count("most", self.most, "the most tiles of a level that are looked at")
        check_count("rounds", self.rounds, "the number of levels that are looked at")
        if self.side is not None:
            check_count("side", self.side, "pixels along a tile")
        if self.together is not None:
            check_flag("together", self.together)
        check_number("share", self.share, above=0, most=1)


DEFAULT = Tiles()


def parse_most(text: str) -> int:
    """The most tiles of a level, from a command line: `"auto"` or a whole number.

    Raises:
        MethodError: neither.
    """
    if text.strip().lower() == AUTO:
        return DEFAULT.most
    try:
        most = int(text)
    except ValueError as error:
        raise MethodError(
            f"tiles are 'auto' or the most tiles to look at on a level; got {shown(text)}"
        ) from error

    return Tiles(most=most).most
