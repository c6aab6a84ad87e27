"""FasterVLM, VisPruner and Norm on hand-made towers."""

from __future__ import annotations

import pytest
import torch

from methods.signals import choose, numbered
from transprune.errors import MissingSignal, ScheduleError
from transprune.methods import FasterVLM, Norm, VisPruner
from transprune.methods.vispruner import drop_duplicates


def test_fastervlm_keeps_the_most_salient_in_raster_order() -> None:
    selection = choose(FasterVLM(3), numbered(6), saliency=[0.1, 0.5, 0.2, 0.9, 0.0, 0.4])
    assert selection.keep.tolist() == [1, 3, 5]
    assert selection.features is None


def test_newline_tokens_go_first() -> None:
    saliency = [0.1, float("nan"), 0.2, float("nan"), 0.3]
    assert choose(FasterVLM(3), numbered(5), saliency=saliency).keep.tolist() == [0, 2, 4]
    assert choose(FasterVLM(4), numbered(5), saliency=saliency).keep.tolist() == [0, 1, 2, 4]


def test_vispruner_with_everything_important_is_fastervlm() -> None:
    generator = torch.Generator().manual_seed(0)
    saliency, features = (
        torch.rand(57, generator=generator),
        torch.randn(57, 8, generator=generator),
    )
    for count in (1, 7, 30, 56):
        ours = choose(VisPruner(count, important=1.0), features, saliency=saliency)
        assert (
            ours.keep.tolist()
            == choose(FasterVLM(count), features, saliency=saliency).keep.tolist()
        )


def test_of_exact_duplicates_the_even_ones_go_first() -> None:
    assert drop_duplicates(torch.ones(8, 3), 6, step=8).tolist() == [4, 6, 1, 3, 5, 7]
    assert drop_duplicates(torch.ones(8, 3), 4, step=8).tolist() == [1, 3, 5, 7]


def test_a_list_of_odd_length_as_the_published_setting_gives() -> None:
    """58 of 576 at 0.5: 547 patches are left over, an odd number, on which the released code stops."""
    generator = torch.Generator().manual_seed(1)
    saliency, features = (
        torch.rand(576, generator=generator),
        torch.randn(576, 8, generator=generator),
    )
    selection = choose(VisPruner(58), features, saliency=saliency)
    assert len(selection.keep.unique()) == 58
    important = saliency.argsort(descending=True)[:29].tolist()
    assert set(important) <= set(selection.keep.tolist())


def test_a_round_written_out() -> None:
    """Five in a list: 0, 2, 4 against 1 and 3. 0 is nearest to 1, so it goes; then 4 (by similarity), 2, 1, 3."""
    angles = torch.tensor([0.0, 0.1, 2.0, 1.0, 1.3])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert drop_duplicates(features, 4, step=1).tolist() == [4, 2, 1, 3]


def test_the_list_is_by_falling_attention() -> None:
    """The same patches in the order of their attention: which of two equal ones goes depends on their place in it."""
    features = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0], [0.6, 0.8]])
    keep = choose(
        VisPruner(3, important=0.0), features, saliency=[4.0, 3.0, 2.0, 1.0]
    ).keep.tolist()
    assert keep == [1, 2, 3]
    assert choose(
        VisPruner(3, important=0.0), features, saliency=[3.0, 4.0, 2.0, 1.0]
    ).keep.tolist() == [0, 2, 3]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 33])
def test_every_count_of_every_odd_size(n: int) -> None:
    for count in range(1, n + 1):
        for important in (0.0, 0.5, 1.0):
            keep = choose(
                VisPruner(count, important), torch.randn(n, 4), saliency=torch.rand(n)
            ).keep.tolist()
            assert len(keep) == count and keep == sorted(set(keep))


def test_similarity_is_that_in_front_of_the_projector() -> None:
    states = torch.tensor([[1.0, 0], [1.0, 0.01], [0, 1.0], [0.0, -1.0]])
    features = torch.tensor([[1.0, 0], [0.0, 1.0], [0, 1.0], [0.0, 1.0]])
    keep = choose(VisPruner(3, 0.0), features, saliency=[4.0, 3, 2, 1], states=states).keep.tolist()
    assert keep == [1, 2, 3]


def test_norm_keeps_the_longest() -> None:
    selection = choose(Norm(2), torch.tensor([[3.0, 4], [0, 6], [1, 1], [-5, 0]]))
    assert selection.keep.tolist() == [0, 1]
    assert selection.scores["score"].tolist() == pytest.approx([5, 6, 2**0.5, 5])


def test_settings_are_checked_and_signals_announced() -> None:
    for wrong in (0, 1.5, "10"):
        with pytest.raises(ScheduleError):
            FasterVLM(wrong)
    with pytest.raises(ScheduleError, match="important"):
        VisPruner(10, important=1.1)
    with pytest.raises(ScheduleError, match="step"):
        VisPruner(10, step=0)
    with pytest.raises(MissingSignal, match="saliency"):
        choose(FasterVLM(2), numbered(4))
    assert VisPruner(1000).plan(32, 576)[0].count == 576
