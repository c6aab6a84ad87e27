"""VisionZip on hand-made towers: dominant patches stay as they are, contextual ones absorb the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from transprune.core.plan import Reading, Stage
from transprune.core.views import ProjectorView, Selection, VisionSignals
from transprune.errors import MissingSignal, ScheduleError
from transprune.methods import VisionZip

NAN = float("nan")


def run(
    method: VisionZip,
    features: Tensor,
    saliency: list[float] | Tensor,
    keys: Tensor | None = None,
    *,
    count: int | None = None,
    cls: Tensor | None = None,
) -> Selection:
    n = len(features)
    saliency = torch.as_tensor(saliency, dtype=torch.float32)
    signals = VisionSignals(
        signals={
            "saliency": saliency,
            "keys": torch.ones(n, 3) if keys is None else keys,
        },
        crop=torch.where(saliency.isnan(), -1, 0),  # newline tokens show no patch
        cls=cls,
    )
    count = method.plan(32, n)[0].count if count is None else count
    return method.select(
        ProjectorView(
            0, count, torch.arange(n), lambda: features, signals={"vision": lambda: signals}
        )
    )


def numbered(n: int, width: int = 2) -> Tensor:
    """Feature i is i everywhere, so every row tells where it came from."""
    return torch.arange(float(n))[:, None].expand(n, width).clone()


CLS = torch.tensor([[-5.0, -5.0]])


def test_published_counts() -> None:
    """192 = 162 dominant, the CLS token among them, + 30 contextual; likewise 128 and 64."""
    for total, contextual in ((192, 30), (128, 20), (64, 10), (288, 45)):
        saliency = torch.arange(576.0)  # the last ones are dominant
        selection = run(VisionZip(total), numbered(576), saliency, cls=CLS)
        assert len(selection.keep) == total
        assert selection.features is not None
        dominant = total - contextual - 1
        assert selection.keep[-dominant:].tolist() == list(range(576 - dominant, 576))
        assert (selection.features == CLS).all(dim=1).sum() == 1


def test_a_planted_patch_survives() -> None:
    saliency = torch.rand(100, generator=torch.Generator().manual_seed(0))
    for planted in (0, 37, 99):
        strong = saliency.clone()
        strong[planted] = 50
        for count in (2, 10, 50):
            selection = run(VisionZip(count), numbered(100), strong, cls=CLS)
            assert planted in selection.keep.tolist()
            assert selection.features is not None
            kept = selection.features[selection.keep.tolist().index(planted)]
            assert kept.tolist() == [planted, planted], "a dominant token stays as it is"


def test_contextual_is_the_target_plus_the_mean_of_its_members() -> None:
    # 8 patches, 4 stay: 2 dominant (6, 7), 2 contextual; six left over, so step 3: targets 0 and 3
    features = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0], [32.0], [64.0], [128.0]])
    along, across = [1.0, 0.0], [0.0, 1.0]
    keys = torch.tensor([along, along, across, across, across, [0.9, 0.1], along, across])
    selection = run(VisionZip(4, contextual=0.5), features, [0.0] * 6 + [1, 2], keys)
    assert selection.keep.tolist() == [0, 3, 6, 7]
    assert selection.features is not None
    # target 0 takes 1 and 5, target 3 takes 2 and 4
    assert selection.features.flatten().tolist() == [1 + (2 + 32) / 2, 8 + (4 + 16) / 2, 64, 128]


def test_targets_are_strided_over_the_leftovers() -> None:
    # 20 patches, 3 dominant at 1, 2 and 10; 17 left over, 5 contextual: step 3 -> leftovers number 0, 3, 6, 9, 12
    saliency = torch.zeros(20)
    saliency[[1, 2, 10]] = 1
    left = [i for i in range(20) if i not in (1, 2, 10)]
    selection = run(VisionZip(8, contextual=5 / 8), numbered(20), saliency)
    assert selection.keep.tolist() == sorted([1, 2, 10, *(left[i] for i in (0, 3, 6, 9, 12))])


def test_identical_leftovers_tie_to_the_first_target() -> None:
    features = torch.full((40, 4), 3.0)
    features[:5] = 7.0
    selection = run(
        VisionZip(10, contextual=0.5), features, [1.0] * 5 + [0.0] * 35, torch.full((40, 64), 0.3)
    )
    assert selection.keep.tolist() == [0, 1, 2, 3, 4, 5, 12, 19, 26, 33]
    assert selection.features is not None
    assert selection.features[:, 0].tolist() == [7, 7, 7, 7, 7, 6, 3, 3, 3, 3]


def test_the_cls_state_takes_one_slot() -> None:
    # 4 of 6: 1 CLS, 1 contextual, 2 dominant (4, 5); leftovers 0..3, the one target is 0, the first free slot is 1
    selection = run(VisionZip(4), numbered(6), [0, 0, 0, 0, 1, 1], cls=CLS)
    assert selection.keep.tolist() == [0, 1, 4, 5]
    assert selection.features is not None
    assert selection.features[:, 0].tolist() == [0 + (1 + 2 + 3) / 3, -5, 4, 5]


def test_several_crops_bring_several_cls_states() -> None:
    cls = torch.tensor([[-1.0, -1.0], [-2.0, -2.0], [-3.0, -3.0]])
    selection = run(VisionZip(8), numbered(30), torch.arange(30.0), cls=cls)
    assert selection.features is not None
    assert selection.keep.tolist() == [
        0,
        1,
        2,
        3,
        26,
        27,
        28,
        29,
    ]  # 4 dominant, 1 contextual, 3 CLS
    assert selection.features[:, 0].tolist()[1:] == [-1, -2, -3, 26, 27, 28, 29]


def test_without_cls_every_slot_is_a_patch() -> None:
    selection = run(VisionZip(192), numbered(576), torch.arange(576.0))
    assert len(selection.keep) == 192
    assert selection.keep[-162:].tolist() == list(range(576 - 162, 576)), (
        "162 dominant, no CLS among them"
    )
    assert selection.features is not None
    assert selection.features[30:, 0].tolist() == list(range(576 - 162, 576))


def test_kept_content_stays_in_raster_order() -> None:
    generator = torch.Generator().manual_seed(0)
    saliency, keys = torch.rand(97, generator=generator), torch.randn(97, 8, generator=generator)
    for count in (3, 10, 31, 96):
        for cls in (None, CLS):
            selection = run(VisionZip(count), numbered(97), saliency, keys, cls=cls)
            keep = selection.keep.tolist()
            assert len(keep) == count and keep == sorted(set(keep))
            assert keep[0] >= 0 and keep[-1] < 97
            assert selection.features is not None and selection.features.shape == (count, 2)


def test_newline_tokens_are_never_dominant_and_never_merged() -> None:
    """Rows without a patch have NaN saliency; their features are marked so that any use of them shows."""
    saliency, features = torch.rand(30, generator=torch.Generator().manual_seed(0)), numbered(30)
    newline = torch.arange(30) % 6 == 5
    saliency[newline] = NAN
    features[newline] = 1e6
    for count in (2, 5, 12, 20):
        selection = run(VisionZip(count), features, saliency, keys=torch.rand(30, 4), cls=CLS)
        assert selection.features is not None
        assert len(selection.keep) == count
        assert not newline[selection.keep[(selection.features != -5).all(dim=1)]].any()
        assert selection.features.max() < 1e3, "a newline token was averaged into a patch"


def test_dominant_ties_go_to_the_lower_index() -> None:
    selection = run(VisionZip(5, contextual=0.01), numbered(9), [1.0] * 9)
    assert selection.keep.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [9, 10, 500])
def test_a_count_of_everything_is_the_identity(count: int) -> None:
    selection = run(VisionZip(count), numbered(9), torch.rand(9), count=min(count, 9), cls=CLS)
    assert selection.keep.tolist() == list(range(9))
    assert selection.features is None, "nothing is merged, nothing becomes the CLS state"


def test_where_it_differs_from_the_code_with_a_budget_for_all() -> None:
    """One token less, and the CLS state and a merged token are there as in the code; with all of them nothing is."""
    saliency = torch.arange(9.0)
    fewer = run(VisionZip(8), numbered(9), saliency, count=8, cls=CLS)
    assert fewer.features is not None
    rows = fewer.features[:, 0].tolist()
    assert -5 in rows, "the CLS state"
    assert len(set(rows) - {*range(9), -5}) == 1, "a contextual token"
    whole = run(VisionZip(9), numbered(9), saliency, count=9, cls=CLS)
    assert whole.features is None
    assert "a budget for every patch changes nothing" in VisionZip.differs_from_code


def test_counts_of_one_and_two() -> None:
    saliency = [0.0, 3.0, 1.0, 0.0]
    one = run(VisionZip(1), numbered(4), saliency, cls=CLS)
    assert (one.keep.tolist(), one.features.tolist()) == ([1], [[1, 1]])
    two = run(VisionZip(2), numbered(4), saliency, cls=CLS)
    assert (two.keep.tolist(), two.features.tolist()) == ([0, 1], [[-5, -5], [1, 1]])
    bare = run(VisionZip(2), numbered(4), saliency)
    assert bare.keep.tolist() == [1, 2]


@pytest.mark.parametrize("n", [2, 3, 5, 7, 11, 33])
def test_every_odd_size(n: int) -> None:
    for count in range(1, n + 1):
        for cls in (None, CLS):
            selection = run(VisionZip(count), numbered(n), torch.rand(n), torch.rand(n, 3), cls=cls)
            keep = selection.keep.tolist()
            assert len(keep) == count and keep == sorted(set(keep)), (n, count)


def test_features_are_not_edited_in_place() -> None:
    features = numbered(20)
    run(VisionZip(6), features, torch.rand(20), cls=CLS)
    assert torch.equal(features, numbered(20))


def test_half_precision_features_stay_half_precision() -> None:
    selection = run(VisionZip(6), numbered(20).bfloat16(), torch.arange(20.0), cls=CLS)
    assert selection.features is not None and selection.features.dtype == torch.bfloat16


def test_permuting_the_patches_permutes_the_dominant_ones() -> None:
    generator = torch.Generator().manual_seed(3)
    saliency, order = torch.rand(50, generator=generator), torch.randperm(50, generator=generator)
    method = VisionZip(10, contextual=0.01)
    before = run(method, numbered(50), saliency).keep
    after = run(method, numbered(50)[order], saliency[order]).keep
    assert sorted(order[after].tolist()) == before.tolist()


def test_a_share_or_a_count() -> None:
    assert VisionZip(192).plan(32, 576) == (Stage(0, 192),)
    assert VisionZip(1 / 3).plan(32, 576) == (Stage(0, 192),)
    assert VisionZip(0.5).plan(32, 577) == (Stage(0, 288),)
    assert VisionZip(1.0).plan(32, 577) == (Stage(0, 577),)
    assert VisionZip(1).plan(32, 577) == (Stage(0, 1),)
    assert VisionZip(192).plan(32, 100) == (Stage(0, 100),)
    assert VisionZip(0.001).plan(32, 100) == (Stage(0, 1, rounded_up=True),)


@pytest.mark.parametrize("keep", [0, -3, 0.0, 1.5, -0.1, True, "192", None, NAN])
def test_bad_counts_are_refused(keep: Any) -> None:
    with pytest.raises(ScheduleError, match="keep"):
        VisionZip(keep)


@pytest.mark.parametrize("contextual", [0, 1, 1.0, -0.2, 2, NAN, "half"])
def test_bad_shares_of_contextual_tokens_are_refused(contextual: Any) -> None:
    with pytest.raises(ScheduleError, match="contextual"):
        VisionZip(192, contextual=contextual)


def test_needs_the_vision_tower() -> None:
    assert VisionZip.reads.vision == ("saliency", "keys")
    with pytest.raises(MissingSignal):
        VisionZip(2).select(ProjectorView(0, 2, torch.arange(4), lambda: numbered(4)))


def test_reading_and_defaults() -> None:
    assert VisionZip().reads_at(32) == (Reading(0, similarity="keys"),)
    assert (VisionZip().keep, VisionZip().contextual, VisionZip().policy) == (192, 5 / 32, "keep")
    assert VisionZip().plan(28, 576) == VisionZip().plan(32, 576)


def test_merging_happens_in_front_of_the_projector_where_it_takes_patches_one_by_one() -> None:
    """Four patches, one dominant, one contextual: squaring after the sum tells it from squaring before."""
    states = torch.tensor([[9.0], [1.0], [2.0], [6.0]])
    signals = VisionSignals(
        signals={"saliency": torch.tensor([4.0, 1.0, 1.0, 1.0]), "keys": torch.ones(4, 2)},
        crop=torch.zeros(4, dtype=torch.long),
        states=states,
        project=torch.square,
    )
    view = ProjectorView(
        0, 2, torch.arange(4), lambda: states.square(), signals={"vision": lambda: signals}
    )
    selection = VisionZip(2, contextual=0.5).select(view)
    assert selection.keep.tolist() == [0, 1]
    assert selection.features is not None
    assert selection.features.flatten().tolist() == [81.0, (1 + (2 + 6) / 2) ** 2]
