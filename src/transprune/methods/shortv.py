"""ShortV: in most layers the visual tokens need no update."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from transprune.core.plan import Reading, Stage
from transprune.core.schedule import as_boundary
from transprune.errors import MethodError, ScheduleError
from transprune.methods.common.checks import is_count
from transprune.methods.common.method import Fidelity, Method
from transprune.methods.common.recipe import register

# model -> decoder layers, and the layers in the order in which they are frozen (released code,
# 0-based)
RELEASED: dict[str, tuple[int, str]] = {
    "llava-7b": (32, "31,29,30,28,0,26,27,25,24,22,23,21,2,3,20,18,17,12,19"),
    "llava-13b": (40, "39,32,28,36,27,37,29,30,1,38,25,31,2,26,23,34,0,33,35,22,24,21,20,17"),
    "next-7b": (32, "31,29,30,28,26,27,22,24,21,23,25,20,19,17,18,15,12,0,2"),
    "next-13b": (40, "39,32,29,36,27,30,37,23,25,31,26,2,28,22,33,35,34,24,38,21,20,18,1,17"),
}


@register("shortv")
@dataclass(frozen=True)
class ShortV(Method):
    """Freeze the visual tokens in the layers that change the answer least; none is dropped.

    Yuan et al., ShortV, ICCV 2025. https://arxiv.org/abs/2504.00502

    In a frozen layer the visual tokens keep their hidden state and give keys and values only; the
    text attends to them as ever. The cache keeps its full length, and decoding is unchanged. The
    paper chooses the layers by their layer contribution on 40 samples;
    `transprune.models.calibrate` measures that for any model, and the orders released for LLaVA are
    here by name. On a model of another depth than theirs they scale, which is a guess: calibrate.

    TransPrune's tables count this method as 44 % of LLaVA-1.5-7B, which these 19 layers are not
    (50 %): no released setting gives that row.

    Args:
        order: `"llava-7b"`, `"llava-13b"`, `"next-7b"`, `"next-13b"`, or 0-based layers, first to
            be frozen first.
        count: how many of them to freeze; None for all that the order lists (19 of 32 and 24 of 40,
            as published).

    Raises:
        MethodError: an unknown order, a layer twice, or a count the order does not have.
        ScheduleError: (when planned) a layer that the model does not have.
    """

    order: str | Iterable[int] = "llava-7b"
    count: int | None = None

    title: ClassVar[str] = "ShortV: visual tokens frozen in the layers that contribute least"
    paper: ClassVar[str] = "Yuan et al., ICCV 2025, arXiv 2504.00502"
    fidelity: ClassVar[Fidelity] = "exact"
    kind: ClassVar[str] = "within-LLM"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.order, str) or self.order not in RELEASED:
            object.__setattr__(self, "order", _layers(self.order))

        _, order = self._listed()
        if self.count is None:
            return
        if not is_count(self.count) or not 0 <= self.count <= len(order):
            raise MethodError(
                f"count is how many of the {len(order)} layers in order to freeze; got "
                f"{self.count!r}"
            )

    def frozen(self, num_layers: int) -> tuple[int, ...]:
        """The first `count` layers of the order, ascending."""
        depth, order = self._listed()
        count = len(order) if self.count is None else self.count

        # a released order on a model of another depth
        if depth is not None and depth != num_layers:
            count = round(count * num_layers / depth)
            moved = [layer * num_layers // depth for layer in order]
            order = tuple(dict.fromkeys(moved))  # two layers may move to the same one

        frozen = order[:count]
        unknown = [layer for layer in frozen if not 0 <= layer < num_layers]
        if unknown:
            raise ScheduleError(
                f"this model has decoder layers 0..{num_layers - 1}; the order names {unknown}"
            )

        return tuple(sorted(frozen))

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        """No stage: no token is dropped anywhere."""
        self.frozen(num_layers)  # raises if the order does not fit this model
        return ()

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        """Nothing is read: the layers were chosen beforehand."""
        return ()

    def notes(self, num_layers: int) -> tuple[str, ...]:
        """How a released order was adapted to this depth."""
        depth, _ = self._listed()
        if depth is None or depth == num_layers:
            return ()

        layers = ", ".join(map(str, self.frozen(num_layers)))
        return (
            f"the order of {self.order} with {depth} layers, scaled to {num_layers}, freezes "
            f"{layers}; calibrate",
        )

    def scaled_by(self, factor: float) -> ShortV:
        """`factor` times as many layers left running, as far as the order allows.

        An order of layers is taken for all layers of its model, as `transprune.models.calibrate`
        writes it.
        """
        depth, order = self._listed()
        depth = depth or len(order)
        frozen = len(order) if self.count is None else self.count
        running = depth - frozen

        if not factor > 0 or running == 0:
            raise MethodError(
                f"no layer is left running to have {factor!r} times as many: give a smaller count"
            )

        count = depth - round(running * factor)
        return replace(self, count=min(len(order), max(0, count)))

    def _listed(self) -> tuple[int | None, tuple[int, ...]]:
        """The depth of the model an order was released for, None for explicit layers; the order."""
        if isinstance(self.order, str):
            depth, text = RELEASED[self.order]
            return depth, tuple(map(int, text.split(",")))

        return None, tuple(self.order)


def _layers(order: Any) -> tuple[int, ...]:
    """Explicit layers from a sequence, one number, or text as `31,29,30`."""
    try:
        layers = tuple(as_boundary(layer) for layer in _items(order))
    except (TypeError, ValueError) as error:
        known = ", ".join(RELEASED)
        raise MethodError(
            f"order is one of {known}, or 0-based layers as 31,29,30; got {order!r}"
        ) from error

    if len(set(layers)) < len(layers) or min(layers, default=0) < 0:
        raise MethodError(f"order lists each 0-based layer at most once; got {layers}")
    return layers


def _items(order: Any) -> Iterable[Any]:
    """The parts of an order, not yet checked to be layers."""
    if isinstance(order, str):
        return [int(part) for part in order.replace("/", ",").split(",") if part.strip()]
    if isinstance(order, int):
        return [order]
    return order
