"""PTP: what falls on a tile in the whole view decides its budget, and both terms choose within it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.layer_views import reads_attention
from methods.signals import on_grids
from transprune.algebra.footprints import overlaps
from transprune.algebra.zones import share_seats
from transprune.core.plan import Reading, Stage, per_layer
from transprune.core.signals import Tile, VisionSignals
from transprune.core.views import LayerView, Selection
from transprune.errors import MethodError, MissingSignal, ScheduleError
from transprune.methods import PTP
from transprune.methods.ptp import region_shares, rescale_by_group

WHOLE = (Tile(0, 0, 0, 1, 1),)
# a view of the whole of 4 x 4, and four tiles of 2 x 2
FOUR = (Tile(0, -1, -1, 2, 2), *(Tile(0, row, column, 2, 2) for row in (0, 1) for column in (0, 1)))
FOUR_GRIDS = ((4, 4), (2, 2), (2, 2), (2, 2), (2, 2))


def vision_of(saliency: Tensor, tiles: tuple[Tile, ...], *grids, newlines=False) -> VisionSignals:
    grid = on_grids(*grids, newlines=newlines)
    return VisionSignals(
        grid["crop"],
        {"saliency": saliency, "place": grid["place"], "grid": grid["grid"]},
        find_tiles=lambda: tiles,
    )


def choose(method: PTP, vision: VisionSignals, attention: Tensor, count: int) -> Selection:
    """What stays of these tokens; attention [H, T, N]."""
    n = attention.shape[-1]
    signals = reads_attention(lambda queries: attention) | {"vision": lambda: vision}
    view = LayerView(2, count, torch.arange(n), lambda: torch.zeros(n, 2), signals=signals)
    return method.select(view)


def on_quarters(*mass: float) -> Tensor:
    """Saliency of a 4 x 4 view whose quarters have these masses, each spread over its four patches."""
    quarters = torch.tensor(mass).view(2, 2) / 4
    return quarters.repeat_interleave(2, 0).repeat_interleave(2, 1).flatten()


def test_one_boundary_and_what_it_reads() -> None:
    assert PTP().plan(24, 1000) == (Stage(2, 500),)
    assert PTP().reads_at(24) == (Reading(2, rows="instruction", source="previous"),)
    assert PTP(layer=3).shifted_earlier(2, 24).layer == 1


def test_the_published_savings_are_out_of_reach_behind_two_layers() -> None:
    """InternVL2-2B has 24 layers; the paper halves its K/V, which takes the cut in front of the first one."""
    tokens = per_layer(24, 1000, PTP().plan(24, 1000))
    assert sum(tokens) / 24_000 == pytest.approx((2 + 22 / 2) / 24)
    assert sum(tokens) / 24_000 > 0.54 > 168 / 336


def test_mean_attention_received_says_nothing_about_a_tile() -> None:
    """Trap: rows of each tile add up to one, so every tile received the same in the mean."""
    tiles = torch.randn(4, 9, 9, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    received = tiles.mean(dim=1).mean(dim=1)  # [4]
    torch.testing.assert_close(received, received[:1].expand(4))


def test_the_whole_view_says_how_salient_each_tile_is() -> None:
    saliency = torch.cat([on_quarters(0.1, 0.2, 0.3, 0.4), torch.ones(16)])
    share = region_shares(vision_of(saliency, FOUR, *FOUR_GRIDS))
    # half of the tokens are the view of the whole
    torch.testing.assert_close(share, torch.tensor([0.5, 0.05, 0.1, 0.15, 0.2]))
    torch.testing.assert_close(
        region_shares(vision_of(saliency, FOUR, *FOUR_GRIDS), by_tile=False),
        torch.tensor([0.5] + [0.125] * 4),
    )


def test_seats_go_to_the_largest_remainders() -> None:
    """16 x (.5, .05, .1, .15, .2) = 8, .8, 1.6, 2.4, 3.2: thirteen or fourteen rounded down, the rest by .8, .6."""
    share = torch.tensor([0.5, 0.05, 0.1, 0.15, 0.2])
    assert share_seats(share, 16).tolist() == [8, 1, 2, 2, 3]


def test_a_tile_keeps_as_many_as_it_is_salient_and_no_more_than_it_has() -> None:
    saliency = torch.cat([on_quarters(0.04, 0.1, 0.1, 0.76), torch.rand(16)])
    vision = vision_of(saliency, FOUR, *FOUR_GRIDS)
    attention = torch.rand(2, 3, 32, generator=torch.Generator().manual_seed(0))
    keep = choose(PTP(), vision, attention, 16).keep
    per_crop = torch.bincount(vision.crop[keep], minlength=5).tolist()
    # 16 x (.5, .02, .05, .05, .38): seats 8, 0, 1, 1, 6; the last tile has 4, so two go to the
    # others round by round, the most salient first
    assert share_seats(region_shares(vision), 16).tolist() == [8, 0, 1, 1, 6]
    assert per_crop == [9, 0, 2, 1, 4]


def test_within_a_tile_both_terms_choose() -> None:
    saliency = torch.tensor([0.0, 0.2, 0.4, 0.1])
    heads = torch.tensor([[[0.9, 0.0, 0.0, 0.1], [0.0, 0.1, 0.0, 0.5]]])
    attention = torch.cat([heads, torch.zeros_like(heads)])  # two heads, the second sees nothing
    vision = vision_of(saliency, WHOLE, (2, 2))
    selection = choose(PTP(alpha=0.25), vision, attention, 1)
    # mean over the heads, then the largest word: .45, .05, 0, .25
    assert selection.scores["instruction"].tolist() == pytest.approx([0.45, 0.05, 0.0, 0.25])
    expected = [0.25 * 0.45, 0.75 * 0.5 + 0.0125, 0.75, 0.75 * 0.25 + 0.0625]
    assert selection.scores["score"].tolist() == pytest.approx(expected)
    assert selection.keep.tolist() == [2]
    assert choose(PTP(alpha=1.0), vision, attention, 1).keep.tolist() == [0]
    matched = choose(PTP(alpha=1.0, match_scales=True), vision, attention, 1)
    assert matched.scores["score"].tolist() == pytest.approx([1.0, 1 / 9, 0.0, 5 / 9])


def test_one_tile_is_a_plain_ranking() -> None:
    generator = torch.Generator().manual_seed(3)
    saliency = torch.rand(16, generator=generator)
    attention = torch.rand(2, 3, 16, generator=generator)
    selection = choose(PTP(), vision_of(saliency, WHOLE, (4, 4)), attention, 5)
    assert selection.keep.tolist() == selection.scores["score"].topk(5).indices.sort()[0].tolist()


def test_newlines_go_first() -> None:
    saliency = torch.rand(12, generator=torch.Generator().manual_seed(4))
    saliency[[3, 7, 11]] = float("nan")
    attention = torch.zeros(1, 1, 12)
    attention[..., [3, 7, 11]] = 1.0
    vision = vision_of(saliency, WHOLE, (3, 3), newlines=True)
    keep = choose(PTP(), vision, attention, 9).keep.tolist()
    assert keep == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert len(choose(PTP(), vision, attention, 11).keep) == 11


def test_a_picture_that_may_have_been_cut_is_refused_unless_tiles_do_not_count() -> None:
    unknown = (Tile(0, -1, -1, 0, 0), Tile(1, -1, -1, 0, 0))
    vision = vision_of(torch.rand(8), unknown, (2, 2), (2, 2))
    attention = torch.rand(1, 1, 8)
    with pytest.raises(MissingSignal, match="tiles=false"):
        choose(PTP(), vision, attention, 4)
    keep = choose(PTP(tiles=False), vision, attention, 4).keep
    assert torch.bincount(vision.crop[keep]).tolist() == [2, 2]


def test_a_view_of_the_whole_behind_its_tiles() -> None:
    """InternVL's order; a single picture stands in front."""
    tiles = (Tile(0, 0, 0, 1, 1), *(Tile(1, r, c, 2, 2) for r in (0, 1) for c in (0, 1)))
    tiles = (*tiles, Tile(1, -1, -1, 2, 2))
    grids = ((2, 4), *[(2, 2)] * 4, (4, 4))
    saliency = torch.cat([torch.ones(24), on_quarters(0.1, 0.2, 0.3, 0.4)])
    share = region_shares(vision_of(saliency, tiles, *grids))
    torch.testing.assert_close(share, torch.tensor([0.2, 0.04, 0.08, 0.12, 0.16, 0.4]))


def test_several_pictures_share_by_size() -> None:
    tiles = (*FOUR, Tile(5, 0, 0, 1, 1))
    saliency = torch.cat([on_quarters(0.25, 0.25, 0.25, 0.25), torch.ones(16), torch.ones(8)])
    share = region_shares(vision_of(saliency, tiles, *FOUR_GRIDS, (2, 4)))
    torch.testing.assert_close(share, torch.tensor([0.4, 0.1, 0.1, 0.1, 0.1, 0.2]))


def test_overlaps_of_tiles_with_padding() -> None:
    """Two tiles of 4, of which places 2 to 5 are the picture: each shows half of it."""
    assert overlaps(2, 4, (2, 6), 4).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    # 3 cells of the view for two tiles: the middle one lies on both
    assert overlaps(2, 2, (0, 4), 3).tolist() == [[1, 0.5, 0], [0, 0.5, 1]]
    three = overlaps(3, 5, (1, 13), 7)
    np.testing.assert_allclose(three.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(three.sum(axis=1), np.array([4, 5, 3]) * 7 / 12, rtol=1e-5)


def test_groups_are_rescaled_each_by_itself() -> None:
    values = torch.tensor([1.0, 3.0, 2.0, 5.0, 5.0])
    group = torch.tensor([0, 0, 0, 1, 1])
    assert rescale_by_group(values, group, 3).tolist() == [0.0, 1.0, 0.5, 0.0, 0.0]


def test_behind_an_earlier_stage_the_shares_are_those_of_the_whole_picture() -> None:
    saliency = torch.cat([on_quarters(0.1, 0.2, 0.3, 0.4), torch.rand(16)])
    whole = vision_of(saliency, FOUR, *FOUR_GRIDS)
    left = torch.tensor([0, 5, 17, 18, 21, 22, 25, 26, 29, 30])
    attention = torch.rand(2, 3, 10, generator=torch.Generator().manual_seed(0))
    keep = choose(PTP(), whole.of(left), attention, 5).keep
    seats = share_seats(region_shares(whole), 5).tolist()
    # .5, .05, .1, .15, .2 of 5: two and a half for the view, which has two left
    assert seats == [3, 0, 0, 1, 1]
    assert torch.bincount(whole.crop[left[keep]], minlength=5).tolist() == [2, 0, 0, 1, 2]


def test_settings_are_checked() -> None:
    with pytest.raises(ScheduleError, match="keep_ratio"):
        PTP(0)
    with pytest.raises(MethodError, match="alpha"):
        PTP(alpha=1.5)
    with pytest.raises(MethodError, match="tiles"):
        PTP(tiles="no")
    with pytest.raises(MethodError, match="layer"):
        PTP(layer=0)
