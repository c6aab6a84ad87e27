"""Closed-up positions: any stages, policies and padding, against counting one by one."""

import numpy as np
import pytest
import torch
from torch import nn

from transprune.core.layout import Layout
from transprune.core.prompt import PromptTable
from transprune.families.rotation import Rotary
from transprune.runtime.renumbering import Renumbering

LENGTH = 23


def prompt(draw, consecutive=True):
    """Three samples with padding on one side, or on both."""
    valid = np.ones((3, LENGTH), dtype=bool)
    for sample in range(3):
        valid[sample, : draw.integers(0, 4)] = False
        if draw.integers(2):
            valid[sample, LENGTH - draw.integers(0, 4) :] = False
    visual = valid & (draw.random((3, LENGTH)) < 0.6)
    visual[:, 8] = True
    image = np.zeros((3, LENGTH), dtype=np.int64)
    return PromptTable(visual, valid, image, torch.device("cpu"), consecutive=consecutive)


def drop(layout, draw):
    """Some visual rows of each sample go."""
    stay = layout.valid.clone()
    kept, kept_visual = [], []
    for sample in range(layout.batch):
        rows = layout.visual[sample].nonzero().flatten()
        gone = rows[torch.from_numpy(draw.random(len(rows)) < 0.4)]
        stay[sample, gone] = False
        kept.append(layout.lengths[sample] - len(gone))
        kept_visual.append(layout.visual_counts[sample] - len(gone))
    return layout.survivors(stay, tuple(kept), tuple(kept_visual))


def counted(slots, gone):
    """Positions of slots of one sample, each minus what closed gaps removed in front of it."""
    return [slot - sum(other < slot for other in gone) for slot in slots]


@pytest.mark.parametrize("seed", range(40))
def test_differences_of_positions_are_those_of_counting(seed):
    draw = np.random.default_rng(seed)
    layout = Layout.of_prompt(prompt(draw))
    gone = [[] for _ in range(3)]
    renumbering = Renumbering()

    for _ in range(3):
        closes = bool(draw.integers(2))
        index, after = drop(layout, draw)
        renumbering.follow(layout, after, index, closes)
        for sample in range(3):
            before = set(layout.origin[sample, layout.rows(sample)].tolist())
            stays = set(after.origin[sample, after.rows(sample)].tolist())
            gone[sample] += sorted(before - stays) if closes else []
        layout = after

    # tables that say their own place
    table = torch.arange(LENGTH)[None, :, None].float()
    places, _ = renumbering.tables((table, table), layout, table, None, None)
    places = places.expand(3, -1, -1)[..., 0]
    for sample in range(3):
        rows = layout.rows(sample)
        expected = torch.tensor(counted(layout.origin[sample, rows].tolist(), gone[sample]))
        found = places[sample, rows].long()
        # the newest token keeps its place, whatever was dropped in front of it
        last = int(layout.origin[sample, -1])
        behind = sum(other > last for other in gone[sample])
        assert int(found[-1]) == last + behind
        assert torch.equal(found - found[-1], expected - expected[-1])


class Places(nn.Module):
    """A rotary module whose tables say the positions."""

    def forward(self, hidden, positions):
        return positions[..., None].float(), positions[..., None].float()


@pytest.mark.parametrize("seed", range(10))
def test_positions_with_gaps_are_computed_anew(seed):
    draw = np.random.default_rng(seed)
    layout = Layout.of_prompt(prompt(draw, consecutive=False))
    positions = torch.arange(LENGTH)[None] * 3
    renumbering = Renumbering()
    index, after = drop(layout, draw)
    renumbering.follow(layout, after, index, closes=True)

    places, _ = renumbering.tables((None, None), after, torch.empty(0), Rotary(Places()), positions)
    for sample in range(3):
        rows = after.rows(sample)
        slots = after.origin[sample, rows]
        dropped = set(layout.origin[sample, layout.rows(sample)].tolist()) - set(slots.tolist())
        behind = torch.tensor([sum(other > slot for other in dropped) for slot in slots.tolist()])
        assert torch.equal(places[sample, rows, 0].long(), 3 * slots + behind)
