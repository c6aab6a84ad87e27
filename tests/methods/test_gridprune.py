"""GridPrune: with so flat a softmax the rounding is the method, so the rounding is what is tested."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.signals import choose, numbered, on_grids
from transprune.core.plan import Stage
from transprune.core.views import Selection
from transprune.errors import MethodError, MissingSignal, ScheduleError
from transprune.methods import GridPrune


def at_cosine(values: Tensor) -> tuple[Tensor, Tensor]:
    """Patches whose cosines with the one question are `values`."""
    patches = torch.stack([values, (1 - values.square()).sqrt()], dim=1)
    return patches, torch.tensor([[1.0, 0.0]])


def run(method: GridPrune, cosine: Tensor, saliency: Tensor, *grids, **more) -> Selection:
    grid = on_grids(*grids, newlines=more.pop("newlines", False))
    features = numbered(len(cosine))
    return choose(method, features, joint=at_cosine(cosine), saliency=saliency, **(grid | more))


def narrow(seed: int = 0) -> Tensor:
    """576 cosines as CLIP has them: all between 0.15 and 0.25."""
    return 0.15 + 0.1 * torch.rand(576, generator=torch.Generator().manual_seed(seed))


def zone_of(keep: Tensor) -> Tensor:
    return keep // 24 // 2 * 12 + keep % 24 // 2


def test_of_64_for_144_zones_one_is_in_each_of_the_most_relevant() -> None:
    cosine = narrow()
    keep = run(GridPrune(64), cosine, torch.rand(576), (24, 24)).keep
    means = torch.zeros(144).index_add(0, zone_of(torch.arange(576)), cosine) / 4
    best = means.argsort(descending=True)[:64].sort().values
    assert zone_of(keep).sort().values.tolist() == best.tolist()


def test_of_192_every_zone_has_one_and_the_48_best_have_two() -> None:
    cosine = narrow(1)
    keep = run(GridPrune(192), cosine, torch.rand(576), (24, 24)).keep
    counts = torch.bincount(zone_of(keep), minlength=144)
    means = torch.zeros(144).index_add(0, zone_of(torch.arange(576)), cosine) / 4
    best = means.argsort(descending=True)[:48]
    expected = torch.ones(144, dtype=torch.long).index_fill(0, best, 2)
    assert torch.equal(counts, expected)


def test_the_score_within_a_zone_is_both_halves() -> None:
    """Cosines 0.2 and 0.6, attention 1 and 0 once rescaled: (0.6 + 1) / 2 against (0.8 + 0) / 2."""
    cosine = torch.tensor([0.2, 0.6])
    selection = run(GridPrune(1), cosine, torch.tensor([0.3, 0.1]), (1, 2))
    assert selection.scores["score"].tolist() == pytest.approx([0.3 + 0.5, 0.4], abs=1e-6)
    assert selection.keep.tolist() == [0]
    assert run(GridPrune(1, alpha=0.0), cosine, torch.tensor([0.3, 0.1]), (1, 2)).keep == 1


def test_zones_choose_by_relevance_even_if_attention_decides_within_them() -> None:
    """The right half is relevant, the left half salient: with alpha 1 the seats still go right."""
    cosine = torch.tensor([0.1, 0.1, 0.5, 0.5])
    saliency = torch.tensor([0.9, 0.8, 0.1, 0.2])
    keep = run(GridPrune(1, alpha=1.0), cosine, saliency, (1, 4)).keep
    assert keep.tolist() == [3]


def test_the_sign_can_be_turned() -> None:
    cosine, saliency = torch.tensor([0.1, 0.1, 0.5, 0.5]), torch.ones(4)
    assert run(GridPrune(1), cosine, saliency, (1, 4)).keep.tolist() == [2]
    assert run(GridPrune(1, sign=-1), cosine, saliency, (1, 4)).keep.tolist() == [0]


def test_crops_have_their_proportional_part() -> None:
    """Two crops of 4 and 12 patches share 8, however relevant the first one is."""
    cosine = torch.cat([torch.full((4,), 0.9), torch.full((12,), 0.1)])
    keep = run(GridPrune(8), cosine, torch.ones(16), (2, 2), (3, 4)).keep
    assert (keep < 4).sum() == 2
    assert len(keep) == 8


def test_newline_tokens_go_first() -> None:
    saliency = torch.tensor([0.1, 0.2, float("nan"), 0.3, 0.4, float("nan")])
    cosine = torch.full((6,), 0.5)
    run_it = lambda count: run(  # noqa: E731
        GridPrune(count), cosine, saliency, (2, 2), newlines=True
    ).keep.tolist()
    assert run_it(4) == [0, 1, 3, 4]
    assert run_it(5) == [0, 1, 2, 3, 4]
    assert run_it(1) == [4], "the most salient of the one zone"


def test_without_clip_the_question_s_embeddings_stand_in() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    grid = on_grids((1, 2))
    instruction = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    selection = choose(
        GridPrune(1, alpha=0.0), features, instruction=instruction, saliency=torch.ones(2), **grid
    )
    half = 0.5**0.5 / 2
    assert selection.scores["relevance"].tolist() == pytest.approx([half, 0.5 + half])
    assert selection.keep.tolist() == [1]
    with pytest.raises(MissingSignal, match="relevance='embedding'"):
        choose(GridPrune(1, relevance="clip"), features, saliency=torch.ones(2), **grid)


def test_settings_and_plan() -> None:
    assert GridPrune().plan(32, 576) == (Stage(0, 64),)
    assert GridPrune().policy == "renumber"
    for wrong in ({"alpha": 2}, {"side": 0}, {"sign": 0}, {"relevance": "clap"}):
        with pytest.raises(MethodError):
            GridPrune(**wrong)
    with pytest.raises(ScheduleError):
        GridPrune(0)


def test_what_another_crop_attends_to_changes_nothing() -> None:
    """A crop with one very salient patch must not flatten the attention of the crop beside it."""
    cosine = torch.tensor([0.2, 0.6, 0.2, 0.6])
    calm = run(GridPrune(2), cosine, torch.tensor([0.3, 0.1, 0.1, 0.1]), (1, 2), (1, 2))
    loud = run(GridPrune(2), cosine, torch.tensor([0.3, 0.1, 90.0, 0.1]), (1, 2), (1, 2))
    assert calm.keep.tolist() == [0, 3]
    assert loud.keep.tolist() == [0, 2]
    assert loud.scores["score"][:2].tolist() == calm.scores["score"][:2].tolist()
