"""FitPrune: the released tables, how they reach other depths, and what ranks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from transprune.core.plan import Reading
from transprune.core.schedule import Schedule
from transprune.core.views import LayerView
from transprune.errors import MethodError, MissingSignal, ScheduleError
from transprune.methods import FitPrune
from transprune.methods.common.recipe import from_dict, resolve
from transprune.methods.fitprune import DELETED_40, DELETED_60, from_deletions, stretch


@dataclass
class Maps:
    """Attention of a pool made by hand: [H, V, N] of its own rows, [H, T, N] of the words."""

    image: Tensor
    words: Tensor

    def received(self) -> tuple[Tensor, Tensor]:
        return self.image.amax(dim=0).mean(dim=0), self.words.amax(dim=0).sum(dim=0)

    def view(self, count: int) -> LayerView:
        tokens = torch.arange(self.words.shape[-1])
        return LayerView(
            3, count, tokens, lambda: tokens[:, None], signals={"attention": lambda: self}
        )


# two heads, two image rows, two words, two tokens
ONE_HEAD_LOOKS = Maps(
    image=torch.tensor([[[0.6, 0.1], [0.2, 0.3]], [[0.1, 0.3], [0.2, 0.5]]]),
    words=torch.tensor([[[0.8, 0.1], [0.0, 0.4]], [[0.0, 0.4], [0.2, 0.4]]]),
)


def test_of_each_row_the_head_that_looks_most_counts() -> None:
    """Image rows: (0.6 + 0.2) / 2 and (0.3 + 0.5) / 2; words: 0.8 + 0.2 and 0.4 + 0.4."""
    selection = FitPrune().select(ONE_HEAD_LOOKS.view(1))
    assert selection.scores["from_image"].tolist() == pytest.approx([0.4, 0.4])
    assert selection.scores["from_words"].tolist() == pytest.approx([1.0, 0.8])
    assert selection.scores["score"].tolist() == pytest.approx([0.4, 0.32])
    assert selection.keep.tolist() == [0]


def test_means_over_heads_would_choose_otherwise() -> None:
    """The trap: with heads averaged token 1 receives more."""
    mean = ONE_HEAD_LOOKS.image.mean(dim=(0, 1)) * ONE_HEAD_LOOKS.words.mean(dim=0).sum(dim=0)
    assert mean.argmax() == 1


def test_both_have_to_look() -> None:
    image = torch.tensor([[[0.9, 0.3, 0.0], [0.9, 0.3, 0.0]]])
    words = torch.tensor([[[0.0, 0.3, 0.9]]])
    assert FitPrune().select(Maps(image, words).view(1)).keep.tolist() == [1]


def test_equal_scores_leave_the_first() -> None:
    same = torch.full((2, 3, 5), 0.2)
    assert FitPrune().select(Maps(same, same).view(2)).keep.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("method", "deleted", "left"),
    [(FitPrune.saving40(), DELETED_40, 240), (FitPrune.saving60(), DELETED_60, 127)],
)
def test_the_released_tables(method: FitPrune, deleted: str, left: int) -> None:
    """Layer by layer what the code deletes of 576 tokens."""
    counts = {stage.boundary: stage.count for stage in method.plan(32, 576)}
    tokens = 576
    for layer, gone in enumerate(map(int, deleted.split())):
        tokens -= gone
        assert counts.get(layer + 1, tokens) == tokens
    assert tokens == left
    assert len(deleted.split()) == 32


def test_no_stage_where_nothing_goes() -> None:
    boundaries = FitPrune.saving40().schedule(32).boundaries
    assert 1 not in boundaries  # layer 0 deletes nothing
    assert boundaries[-1] == 29


@pytest.mark.parametrize("layers", [8, 16, 28, 40, 48])
@pytest.mark.parametrize("method", [FitPrune.saving40(), FitPrune.saving60()], ids=repr)
def test_another_depth_leaves_as_much_on_average(method: FitPrune, layers: int) -> None:
    def average(depth: int) -> float:
        shares, share = [], 1.0
        keep = dict(method.schedule(depth))
        for layer in range(depth):
            share = keep.get(layer + 1, share)
            shares.append(share)
        return sum(shares) / depth

    # inside a layer tokens go at once, so the steps of few layers are coarse
    assert average(layers) == pytest.approx(average(32), abs=0.8 / layers)
    assert "were interpolated" in method.notes(layers)[0]


def test_shares_between_two_layers_are_interpolated() -> None:
    written = Schedule({1: 0.8, 2: 0.4}, depth=4)
    assert dict(stretch(written, 8)) == pytest.approx({1: 0.9, 2: 0.8, 3: 0.6, 4: 0.4})
    assert dict(stretch(written, 2)) == pytest.approx({1: 0.4})
    assert dict(stretch(written, 4)) == dict(written)
    assert dict(stretch(Schedule({5: 0.5}), 4)) == {5: 0.5}  # written without a depth
    assert dict(stretch(Schedule({2: 1.0}, depth=4), 8)) == {1: 1.0}


def test_a_schedule_of_its_own_depth_has_no_note() -> None:
    assert FitPrune().notes(32) == ()
    assert FitPrune({2: 0.5}).notes(8) == ()


def test_more_or_fewer_tokens_at_the_end() -> None:
    half = FitPrune.saving40().scaled_by(0.5)
    assert half.plan(32, 576)[-1].count == 120
    assert half.schedule(32).boundaries == FitPrune.saving40().schedule(32).boundaries
    assert FitPrune.saving40().scaled_by(1.0) == FitPrune.saving40()
    assert FitPrune.saving40().scaled_by(9.0).plan(32, 576)[-1].count == 576
    for factor in (0, -1, float("nan")):
        with pytest.raises(MethodError, match="positive factor"):
            FitPrune().scaled_by(factor)
    with pytest.raises(MethodError, match="keeps everything"):
        FitPrune({1: 1.0}).scaled_by(0.5)


def test_reads_and_recipes() -> None:
    assert FitPrune({3: 0.5}).reads_at(8) == (
        Reading(3, rows="all", source="previous", inside=True),
    )
    assert FitPrune().policy == "keep"
    assert resolve("fitprune-saving40") == FitPrune.saving40()
    assert from_dict(FitPrune.saving60().to_dict()) == FitPrune()
    assert resolve("fitprune:keep=1:0.9/4:0.5") == FitPrune({1: 0.9, 4: 0.5})


def test_wrong_use() -> None:
    with pytest.raises(MissingSignal, match="attention"):
        FitPrune().select(LayerView(2, 1, torch.arange(2), lambda: torch.ones(2, 2)))
    with pytest.raises(ScheduleError, match=r"boundaries must lie in 1\.\.7"):
        FitPrune({8: 0.5}).plan(8, 64)
    with pytest.raises(ScheduleError, match="cannot increase"):
        FitPrune({1: 0.5, 2: 0.6})


def test_a_table_of_deletions() -> None:
    assert from_deletions("0 2 0 3", tokens=10) == Schedule({2: 0.8, 4: 0.5}, depth=4)
