"""Labels that keep their distance."""

from __future__ import annotations


def spread_labels(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Positions for labels: at least `gap` apart, within low..high, near the wanted positions.

    This is isotonic regression (pool adjacent violators): labels that would collide are pooled,
    and each pool is centred on the mean of its wanted positions.
    """
    # where so many labels do not fit, they share the whole height evenly
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    order = sorted(range(len(wanted)), key=wanted.__getitem__)

    # `rank * gap` is subtracted from the positions, so that "at least gap apart" is "ascending"
    pools: list[list[float]] = []
    for rank, number in enumerate(order):
        pools.append([wanted[number] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last

    bases: list[float] = []
    for pool in pools:
        bases += [_mean(pool)] * len(pool)

    # clip the whole column at once, so that the distances survive
    top = high - gap * (len(wanted) - 1)
    positions = [0.0] * len(wanted)
    for rank, number in enumerate(order):
        positions[number] = min(max(bases[rank], low), top) + rank * gap
    return positions


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
