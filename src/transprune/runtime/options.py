"""The options of `prune`, checked where they come in: a typo is an error before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from transprune.errors import MethodError, PositionsError
from transprune.families.base import Family
from transprune.methods.common.method import POSITIONS, Method, Positions
from transprune.runtime.pools import Pool
from transprune.runtime.static.compiled import check_backend
from transprune.runtime.turns import TURNS, Turns

Decode = Literal["dynamic", "static"]
DECODES: tuple[str, ...] = get_args(Decode)
POOLS: tuple[str, ...] = get_args(Pool)
RECORDS = ("scores", "transitions", "changes")


@dataclass(frozen=True)
class Options:
    """How a session runs its method; each as in `prune`.

    Attributes:
        pool: which visual tokens are ranked together.
        record: what the trace carries besides the kept tokens.
        decode: `"static"` for buffers of a fixed size.
        backend: of torch.compile; None where nothing is compiled.
        turns: what a later instruction does with the tokens that were kept for the first one.
    """

    pool: Pool = "sample"
    record: frozenset[str] = frozenset()
    decode: Decode = "dynamic"
    backend: str | None = None
    turns: Turns = "keep"

    @classmethod
    def of(
        cls, pool: Pool, record: Iterable[str], decode: Decode, compiles: bool | str, turns: Turns
    ) -> Options:
        """The options that a caller gave; `compiles` is the argument `compile` of `prune`.

        Raises:
            MethodError: an unknown name, or two options that exclude each other.
        """
        if pool not in POOLS:
            raise MethodError(f"pool is 'sample', 'image' or 'frame'; got {pool!r}")

        records = _checked_records(record)

        if decode not in DECODES:
            raise MethodError(f"decode is 'dynamic' or 'static'; got {decode!r}")

        backend = check_backend(compiles)

        if turns not in TURNS:
            raise MethodError(f"turns is 'keep' or 'refresh'; got {turns!r}")
        if turns == "refresh" and decode == "static":
            raise MethodError(
                "turns='refresh' prefills into an emptied DynamicCache, which decode='static' does "
                "without; use one of them"
            )

        return cls(pool, records, decode, backend, turns)


def _checked_records(record: Iterable[str]) -> frozenset[str]:
    """The names in `record`, which may be one name."""
    known = ", ".join(map(repr, RECORDS))
    if not isinstance(record, Iterable):
        raise MethodError(f"record takes some of {known}, or () for nothing; got {record!r}")

    # a text is a sequence of letters, and no letter is a name
    records = [record] if isinstance(record, str) else list(record)
    unknown = [name for name in records if name not in RECORDS]
    if unknown:
        raise MethodError(f"record takes {known}; got {', '.join(map(repr, unknown))}")
    return frozenset(records)


def position_policies(
    method: Method, family: Family, positions: Positions | None
) -> tuple[Positions, ...]:
    """The position policy of each step: the caller's, the step's own, or that of its code.

    Args:
        method: what is run; its `steps` may differ.
        family: of the model.
        positions: what the caller wants for all steps, or None.

    Raises:
        MethodError: an unknown policy.
        PositionsError: renumbering was asked for under M-RoPE.
    """
    if positions is not None and positions not in POSITIONS:
        raise MethodError(f"positions is 'keep', 'renumber' or None; got {positions!r}")

    asked = [positions or step.positions for step in method.steps]
    if family.mrope and "renumber" in asked:
        raise PositionsError(
            f"{family.title} has M-RoPE positions (time, height, width), for which renumbering by "
            "count has no definition; use positions='keep', which is also the default there"
        )

    # under M-RoPE also a method whose own code renumbers keeps its positions; the trace notes it
    policies: list[Positions] = []
    for step, wish in zip(method.steps, asked, strict=True):
        policies.append("keep" if family.mrope else wish or step.policy)

    return tuple(policies)
