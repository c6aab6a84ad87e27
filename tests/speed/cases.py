"""Synthetic measurements: the times of a method are given, so the right answer is known."""

from __future__ import annotations

from transprune.speed.breakeven import Point
from transprune.speed.cells import UNPRUNED

METHOD = "transprune-high"
ROUNDS = 7


def point(visual, batch, prefill, per_token, base=(1.0, 0.1), noise=0.0):
    """A point where the method takes these parts of the unpruned times.

    Args:
        visual: visual tokens.
        batch: prompts at once.
        prefill, per_token: ratios to the unpruned model.
        base: seconds of the unpruned model.
        noise: half the range of the ratios over the rounds.
    """
    unpruned, pruned = [], []
    for number in range(ROUNDS):
        slow = 1.0 + number  # of the machine in this round
        shift = noise * (2 * number / (ROUNDS - 1) - 1)  # from -noise to +noise
        unpruned.append({"prefill": slow * base[0], "per_token": slow * base[1]})
        pruned.append(
            {
                "prefill": slow * base[0] * (prefill + shift),
                "per_token": slow * base[1] * (per_token + shift),
            }
        )
    return Point(visual, 20, batch, {UNPRUNED: unpruned, METHOD: pruned})
