"""ApET: what a basis explains, what stays, and what joins what."""

from __future__ import annotations

import pytest
import torch

from methods.layer_views import Given
from methods.signals import choose, numbered
from transprune.algebra.approximation import approximation_error, farthest_points
from transprune.core.plan import Reading, Stage
from transprune.errors import MethodError, ScheduleError
from transprune.methods import ApET
from transprune.methods.apet import compress


def test_farthest_points_by_hand() -> None:
    """On a line 0, 1, 2, 10: the mean is 3.25, so 10 is first; then 0, and 2 is farther than 1."""
    rows = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    assert farthest_points(rows, 4).tolist() == [3, 0, 2, 1]


def test_equal_rows_are_taken_by_index_and_once() -> None:
    assert farthest_points(torch.ones(5, 3), 4).tolist() == [0, 1, 2, 3]


def test_the_error_is_the_distance_from_the_span() -> None:
    """The basis spans the plane of x and y; what is left of (1, 2, 3) is its z."""
    rows = torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [1.0, 2, 3], [5.0, -4, 0.5]])
    error = approximation_error(rows, torch.tensor([0, 1]))
    assert error.tolist() == pytest.approx([0, 0, 3, 0.5], abs=1e-4)


def test_the_error_of_a_ridge_regression_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    basis = rows[[3, 7]]
    inverse = (basis @ basis.T + 1e-5 * torch.eye(2, dtype=torch.float64)).inverse()
    expected = (rows - (inverse @ basis @ rows.T).T @ basis).norm(dim=1)
    error = approximation_error(rows.float(), torch.tensor([3, 7]))
    torch.testing.assert_close(error, expected.float(), atol=1e-5, rtol=0)


def test_a_basis_of_equal_rows_can_still_be_solved() -> None:
    error = approximation_error(torch.tensor([[1.0, 0], [1.0, 0], [0, 2.0]]), torch.tensor([0, 1]))
    assert error.tolist() == pytest.approx([0, 0, 2], abs=1e-4)


def test_compress_by_hand() -> None:
    """Basis 0; of the others 3 and 1 are worst; 2 points as 1 does, 4 as 3 does."""
    rows = torch.tensor([[1.0, 0], [0, 4.0], [0.1, 2.0], [3.0, -5], [3.0, -1]])
    error = torch.tensor([9.0, 4.0, 2.0, 5.0, 1.0])
    keep, means, alone = compress(rows, error, torch.tensor([0]), 3)
    assert keep.tolist() == [0, 1, 3]
    torch.testing.assert_close(means, torch.tensor([[1.0, 0], [0.05, 3.0], [3.0, -3.0]]))
    assert alone.tolist() == [True, False, False]


def test_the_basis_takes_in_nothing() -> None:
    """Row 1 is the same as the basis, and joins the only other token that stays."""
    rows = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    keep, means, _ = compress(rows, torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0]), 2)
    assert keep.tolist() == [0, 2]
    assert means.tolist() == [[1.0, 0], [0.5, 0.5]]


@pytest.mark.parametrize("k", [1, 2, 5, 10, 11])
def test_every_count_gives_the_mass_back(k: int) -> None:
    """Means times sizes are the sum of all: nothing is lost and nothing counts twice."""
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(k))
    basis = farthest_points(rows, 10)
    keep, means, alone = compress(rows, approximation_error(rows, basis), basis, k)
    assert keep.tolist() == sorted(set(keep.tolist()))
    assert len(keep) == len(means) == len(alone) == k
    assert set(basis[: k - 1].tolist()) <= set(keep.tolist())
    torch.testing.assert_close(means[alone], rows[keep[alone]])


def test_the_first_stage_merges_in_front_of_the_projector() -> None:
    states = torch.tensor([[1.0, 0], [0, 4.0], [0.0, 2.0]])
    method = ApET(2, then=None, basis=1)
    selection = choose(
        method.steps[0],
        numbered(3),
        states=states,
        project=lambda rows: 10 * rows,
        place=[[0, 0]] * 3,
    )
    # row 0 is farthest from the mean (1/3, 2); row 2 joins row 1, whose error is larger
    assert selection.keep.tolist() == [0, 1]
    assert selection.features is not None
    assert selection.features.tolist() == [[0, 0], [0, 30]]
    assert selection.scores["score"].tolist() == pytest.approx([0, 4, 2], abs=1e-4)


def test_the_second_stage_on_hidden_states() -> None:
    hidden = torch.tensor([[1.0, 0], [0, 4.0], [0.1, 2.0], [3.0, -5], [3.0, -1]])
    # the mean is (1.42, 0): row 3 is farthest from it, and rows 1 and 2 point the other way
    selection = ApET(basis=1).steps[1].select(Given(hidden).view(3))
    assert farthest_points(hidden, 1).tolist() == [3]
    assert selection.keep.tolist() == [1, 3, 4]
    # the basis stays as it is; 0 is most similar to 4, and 2 to 1
    assert selection.features is not None
    expected = torch.tensor([[0.05, 3.0], [3.0, -5.0], [2.0, -0.5]])
    torch.testing.assert_close(selection.features, expected)


def test_the_readme_s_average_of_64() -> None:
    assert ApET().plan(32, 576) == (Stage(0, 96), Stage(16, 32))
    assert (96 * 16 + 32 * 16) / 32 == 64
    assert ApET().plan(28, 576)[1].boundary == 14
    assert ApET(then=None).plan(32, 576) == (Stage(0, 96),)
    assert ApET().reads_at(32) == (
        Reading(0, similarity="features"),
        Reading(16, similarity="features"),
    )
    assert ApET().shifted_earlier(6, 32).plan(32, 576)[1].boundary == 10


def test_settings_are_checked() -> None:
    with pytest.raises(MethodError, match="basis"):
        ApET(basis=0)
    with pytest.raises(ScheduleError):
        ApET(keep=0.0)
    with pytest.raises(ScheduleError, match="cannot start earlier"):
        ApET(then=None).shifted_earlier(1, 32)
