"""The cost of a run beside the unpruned one, in one convention (`transprune.cost.count`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from transprune.cost.layers import Convention
from transprune.errors import MethodError

Unit = Literal["MACs", "FLOPs"]


@dataclass(frozen=True)
class Cost:
    """The cost of a pruned run and of the unpruned one (`full_*`), in one convention.

    Attributes:
        convention: `"paper"` or `"exact"`.
        unit: what `prefill`, `scoring` and `decode` count.
        prefill: the whole first pass, scoring included.
        scoring: the part of `prefill` that choosing tokens costs; 0 in `paper`, which ignores it.
        decode: the first new token. Later ones attend to one more key each.
        kv_bytes: keys and values of the prompt; true head count in both conventions (bytes are no
            convention), visual tokens only in `paper`.
        full_prefill, full_decode, full_kv_bytes: the same without pruning.
    """

    convention: Convention
    unit: Unit
    prefill: int
    scoring: int
    decode: int
    kv_bytes: int
    full_prefill: int
    full_decode: int
    full_kv_bytes: int

    @property
    def prefill_share(self) -> float:
        """Prefill relative to the unpruned run; above 1 when scoring costs more than it saves."""
        return _share(self.prefill, self.full_prefill)

    @property
    def decode_share(self) -> float:
        """One new token relative to the unpruned run."""
        return _share(self.decode, self.full_decode)

    @property
    def kv_share(self) -> float:
        """K/V bytes relative to the unpruned run."""
        return _share(self.kv_bytes, self.full_kv_bytes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of all counts and shares."""
        return {
            **asdict(self),
            "prefill_share": self.prefill_share,
            "decode_share": self.decode_share,
            "kv_share": self.kv_share,
        }


def sum_costs(costs: Sequence[Cost]) -> Cost:
    """The cost of a batch from those of its samples: all counts added, so large samples weigh more.

    Raises:
        MethodError: nothing to add, or costs of different conventions.
    """
    found = sorted({cost.convention for cost in costs})
    if len(found) != 1:
        raise MethodError(f"costs add up within one convention only; got {found or 'no costs'}")

    counts = [field.name for field in fields(Cost) if field.name not in ("convention", "unit")]
    sums: dict[str, Any] = {}
    for name in counts:
        sums[name] = sum(getattr(cost, name) for cost in costs)
    return replace(costs[0], **sums)


def _share(part: int, whole: int) -> float:
    """`part` of `whole`; 1 of nothing."""
    # a prompt without an image costs nothing in `paper`, pruned or not
    return part / whole if whole else 1.0
