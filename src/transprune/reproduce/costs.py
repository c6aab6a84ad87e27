"""The cost columns of a table, counted from sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

from transprune.core.plan import per_layer
from transprune.cost.count import count_method, unpruned_cost
from transprune.cost.geometry import Geometry, known_geometry
from transprune.methods.common.method import Method
from transprune.reproduce.exhibits import Exhibit, Row

TERA = 1e12


@dataclass(frozen=True)
class Counted:
    """The counted cost of a row, for the sizes and the nominal prompt of the paper's model.

    Attributes:
        cost: in the unit of the table.
        share: in percent of the unpruned one, visual tokens only (`paper`).
        exact: in percent of the unpruned one, every token and the scoring (`exact`).
        final: visual tokens that leave the last layer.
    """

    cost: float
    share: float
    exact: float
    final: int


def count_row(exhibit: Exhibit, row: Row) -> Counted | None:
    """The counted cost of a row; None where its configuration is unknown."""
    if not row.recipe:
        return None

    geometry = known_geometry(row.geometry or exhibit.geometry)
    method = row.method()
    tokens = _tokens(geometry, method)
    share = 100 * _work(geometry, method, "paper")
    if exhibit.unit == "%":
        # the published share is linear in token-layers
        cost = share = 100 * sum(tokens) / (geometry.visual_tokens * geometry.layers)
    else:
        full = unpruned_cost(geometry, geometry.visual_tokens, geometry.text_tokens, "paper")
        cost = share / 100 * full.prefill / TERA

    exact = 100 * _work(geometry, method, "exact")
    return Counted(cost=cost, share=share, exact=exact, final=tokens[-1])


def _work(geometry: Geometry, method: Method | None, convention: str) -> float:
    """Prefill relative to the unpruned one."""
    if method is None:
        return 1.0
    return count_method(geometry, method, convention=convention).prefill_share  # type: ignore[arg-type]


def _tokens(geometry: Geometry, method: Method | None) -> tuple[int, ...]:
    """Visual tokens that enter each layer."""
    stages = () if method is None else tuple(method.plan(geometry.layers, geometry.visual_tokens))
    return per_layer(geometry.layers, geometry.visual_tokens, stages)
