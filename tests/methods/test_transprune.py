"""TransPrune against the paper's equations, written out in plain Python."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.layer_views import reads_attention
from transprune.core.plan import Reading
from transprune.core.schedule import Schedule
from transprune.core.views import LayerTransitions, LayerView, Transition, transition_of
from transprune.errors import MethodError, ScheduleError
from transprune.methods import TransPrune

EXACT = {"abs": 1e-6, "rel": 1e-6}
DIRECTIONS = ("one_minus_abs_cos", "one_minus_cos", "cos", "abs_cos")

# Six rows of a sample: text, three visual tokens, text, text. Cosines of both signs, so that no two forms agree.
VISUAL = [False, True, True, True, False, False]
ATTENTION = ([0.5, 2.0, 1.0, 0.25, 3.0, 1.5], [0.9, -0.8, 0.1, -0.2, 0.4, 0.0])
MLP = ([1.0, 0.5, 4.0, 2.0, 0.1, 0.7], [-0.5, 0.3, 0.95, -0.05, -0.9, 0.6])


def step(
    attention: tuple[Sequence[float], Sequence[float]] = ATTENTION, mlp: Any = MLP
) -> LayerTransitions:
    visual = torch.tensor(VISUAL)
    return LayerTransitions(
        *(Transition(torch.tensor(m), torch.tensor(c), visual) for m, c in (attention, mlp))
    )


def by_hand(
    change: tuple[Sequence[float], Sequence[float]],
    direction: str = "one_minus_abs_cos",
    *,
    use_magnitude: bool = True,
    use_direction: bool = True,
    over: str = "all",
) -> list[float]:
    """TTV of one module, token by token."""
    forms = {
        "one_minus_abs_cos": lambda c: 1 - abs(c),
        "one_minus_cos": lambda c: 1 - c,
        "cos": lambda c: c,
        "abs_cos": abs,
    }
    magnitude, cosine = change
    inside = [over == "all" or visual for visual in VISUAL]
    weights = [
        math.exp(forms[direction](c)) if here else 0.0
        for c, here in zip(cosine, inside, strict=True)
    ]
    values = []
    for m, weight in zip(magnitude, weights, strict=True):
        value = m if use_magnitude else 1.0
        values.append(value * weight / sum(weights) if use_direction else value)
    return values


def view_of(attention: Tensor | None, count: int, tokens: int | None = None) -> LayerView:
    n = attention.shape[-1] if attention is not None else tokens
    assert n is not None

    def read(queries: object) -> Tensor:
        assert queries == "instruction"
        assert attention is not None, "TTV alone asks for no attention"
        return attention

    return LayerView(
        7, count, torch.arange(n), lambda: torch.zeros(n, 4), signals=reads_attention(read)
    )


# ---------------------------------------------------------------------------------------------- TTV


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("over", ["all", "visual"])
@pytest.mark.parametrize(
    ("use_magnitude", "use_direction"), [(True, True), (True, False), (False, True)]
)
def test_ttv_of_both_modules(
    direction: str, over: str, use_magnitude: bool, use_direction: bool
) -> None:
    method = TransPrune(
        direction=direction,
        softmax_over=over,
        use_magnitude=use_magnitude,
        use_direction=use_direction,
    )
    variations = method.transition_scores(step())
    options = {"use_magnitude": use_magnitude, "use_direction": use_direction, "over": over}
    assert set(variations) == {"attention", "mlp"}
    assert variations["attention"].tolist() == pytest.approx(
        by_hand(ATTENTION, direction, **options), **EXACT
    )
    assert variations["mlp"].tolist() == pytest.approx(by_hand(MLP, direction, **options), **EXACT)


def test_the_four_forms_differ() -> None:
    found = {
        tuple(TransPrune(direction=d).transition_scores(step())["attention"].tolist())
        for d in DIRECTIONS
    }
    assert len(found) == 4


def test_one_token_spelled_out() -> None:
    """Token 1 of the attention module: |y|/|x| = 2 and cos = -0.8, so its weight is exp(0.2) over all six."""
    total = sum(math.exp(e) for e in (0.1, 0.2, 0.9, 0.8, 0.6, 1.0))
    assert TransPrune().transition_scores(step())["attention"][1].item() == pytest.approx(
        2 * math.exp(0.2) / total, **EXACT
    )


def test_from_module_input_and_output() -> None:
    """The whole way from vectors: x before the module (normalised), y its output before the residual is added."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, len(VISUAL), 16))
    transition = Transition(*transition_of(torch.tensor(x), torch.tensor(y)), torch.tensor(VISUAL))
    magnitude = np.linalg.norm(y, axis=1) / np.linalg.norm(x, axis=1)
    cosine = (x * y).sum(axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    weight = np.exp(1 - np.abs(cosine))
    expected = magnitude * weight / weight.sum()
    found = TransPrune().transition_scores(LayerTransitions(transition, transition))
    assert found["attention"].dtype == torch.float32
    np.testing.assert_allclose(found["attention"].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(found["mlp"].numpy(), expected, atol=1e-6)


def test_the_softmax_scope_cannot_change_the_ranking_inside_a_module() -> None:
    generator = torch.Generator().manual_seed(0)
    magnitude, cosine = (
        torch.rand(40, generator=generator) * 3,
        torch.rand(40, generator=generator) * 2 - 1,
    )
    visual = torch.arange(40) >= 8
    change = Transition(magnitude, cosine, visual)
    for direction in DIRECTIONS:
        everywhere, inside = (
            TransPrune(direction=direction, softmax_over=over).transition_scores(
                LayerTransitions(change, change)
            )["mlp"]
            for over in ("all", "visual")
        )
        assert everywhere[visual].argsort().tolist() == inside[visual].argsort().tolist()
        ratio = inside[visual] / everywhere[visual]
        assert ratio.std() < 1e-4 * ratio.mean(), "one common factor"
        assert (inside[~visual] == 0).all()


def test_the_softmax_scope_can_change_how_modules_weigh() -> None:
    """Text that the attention turns and the MLP does not takes weight from the attention module only."""
    attention = ([1.0] * 6, [0.0, 0.9, 0.9, 0.9, 0.0, 0.0])
    mlp = ([1.0] * 6, [0.9] * 6)
    shares = {}
    for over in ("all", "visual"):
        found = TransPrune(softmax_over=over).transition_scores(step(attention, mlp))
        shares[over] = (found["attention"][1] / found["mlp"][1]).item()
    assert shares["visual"] == pytest.approx(1)
    assert shares["all"] < 0.7


# ---------------------------------------------------------------------------------------------- observe


def test_observe_adds_up_over_layers() -> None:
    method = TransPrune()
    first = [a + b for a, b in zip(by_hand(ATTENTION), by_hand(MLP), strict=True)]
    second = [a + b for a, b in zip(by_hand(MLP), by_hand(MLP), strict=True)]
    carry = method.observe(7, step(), torch.zeros(6))
    assert carry.tolist() == pytest.approx(first, **EXACT)
    carry = method.observe(8, step(MLP, MLP), carry)
    assert carry.tolist() == pytest.approx(
        [a + b for a, b in zip(first, second, strict=True)], **EXACT
    )


def test_without_accumulation_the_last_layer_stands_alone() -> None:
    method = TransPrune(accumulation=False)
    carry = method.observe(7, step(), torch.zeros(6))
    carry = method.observe(9, step(MLP, MLP), carry)
    assert carry.tolist() == pytest.approx([2 * v for v in by_hand(MLP)], **EXACT)


def test_observe_leaves_what_it_was_given_alone() -> None:
    given = torch.ones(6)
    TransPrune().observe(7, step(), given)
    assert given.tolist() == [1] * 6


# ---------------------------------------------------------------------------------------------- score

WEIGHTS = torch.tensor(
    [[[0.1, 0.2, 0.3], [0.0, 0.1, 0.1]], [[0.2, 0.0, 0.0], [0.1, 0.0, 0.1]]]
)  # [H=2, T=2, N=3]
IGA = [0.4 / 1.2, 0.3 / 1.2, 0.5 / 1.2]  # column means over heads and rows, divided by their sum
CARRY = torch.tensor([1.0, 2.0, 5.0])
TTV = [0.125, 0.25, 0.625]


@pytest.mark.parametrize("alpha", [0.4, 0.5, 0.6, 0.25])
def test_score_is_the_weighted_sum_of_two_shares(alpha: float) -> None:
    scores = TransPrune(alpha=alpha).score(view_of(WEIGHTS, 2), CARRY)
    assert set(scores) == {"ttv", "iga", "score"}
    assert scores["ttv"].tolist() == pytest.approx(TTV, **EXACT)
    assert scores["iga"].tolist() == pytest.approx(IGA, **EXACT)
    expected = [alpha * t + (1 - alpha) * i for t, i in zip(TTV, IGA, strict=True)]
    assert scores["score"].tolist() == pytest.approx(expected, **EXACT)


def test_shares_sum_to_one_whatever_their_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = TransPrune().score(
        view_of(torch.rand(4, 7, 90, generator=generator) * 1e-2, 9),
        torch.rand(90, generator=generator) * 100,
    )
    for name, share in scores.items():
        assert share.dtype == torch.float32
        assert share.sum().item() == pytest.approx(1, abs=1e-5), name


def test_alpha_one_asks_for_no_attention() -> None:
    scores = TransPrune(alpha=1).score(view_of(None, 2, tokens=3), CARRY)
    assert set(scores) == {"ttv", "score"}
    assert scores["score"].tolist() == pytest.approx(TTV, **EXACT)


def test_alpha_zero_needs_no_carry() -> None:
    scores = TransPrune(alpha=0).score(view_of(WEIGHTS, 2), None)
    assert set(scores) == {"iga", "score"}
    assert scores["score"].tolist() == pytest.approx(IGA, **EXACT)


def test_half_and_half_ranks_like_the_plain_sum_of_the_released_code() -> None:
    generator = torch.Generator().manual_seed(1)
    attention, carry = (
        torch.rand(2, 3, 50, generator=generator),
        torch.rand(50, generator=generator),
    )
    selection = TransPrune().select(view_of(attention, 20), carry)
    iga = attention.numpy().mean(axis=(0, 1))
    total = carry.numpy() / carry.numpy().sum() + iga / iga.sum()
    assert selection.keep.tolist() == sorted(np.argsort(-total, kind="stable")[:20].tolist())
    assert selection.features is None


def test_select_keeps_the_best_in_order() -> None:
    # 0.5 * (0.125 + 0.333), 0.5 * (0.25 + 0.25), 0.5 * (0.625 + 0.417)
    assert TransPrune().select(view_of(WEIGHTS, 2), CARRY).keep.tolist() == [1, 2]
    assert TransPrune(alpha=0).select(view_of(WEIGHTS, 2), None).keep.tolist() == [0, 2]


def test_ties_go_to_the_lower_index() -> None:
    attention = torch.ones(1, 1, 6)
    assert TransPrune().select(view_of(attention, 4), torch.ones(6)).keep.tolist() == [0, 1, 2, 3]


# ---------------------------------------------------------------------------------------------- presets, counts


def test_presets() -> None:
    assert TransPrune() == TransPrune.high()
    assert TransPrune.high().keep == Schedule({7: 0.875, 9: 0.625, 12: 0.125}, depth=32)
    assert TransPrune.low().keep == Schedule({7: 0.625, 9: 0.1875, 12: 0.0625}, depth=32)
    assert (TransPrune.ttv().alpha, TransPrune.iga().alpha) == (1.0, 0.0)
    assert TransPrune.ttv().keep == TransPrune.iga().keep == TransPrune.high().keep
    assert TransPrune.combined().keep == Schedule({7: 0.5, 9: 0.25, 12: 0.125}, depth=32)
    smol = TransPrune.smol()
    assert (smol.alpha, smol.policy, smol.observed(30)) == (0, "keep", ())
    assert [stage.count for stage in smol.plan(30, 576)] == [384, 192, 182]
    # the depths that share boundaries in the paper are those of its own schedules
    assert [smol.schedule(layers).boundaries for layers in (28, 32)] == [(2, 7, 16), (3, 8, 19)]
    assert TransPrune.presets == ("high", "low", "ttv", "iga", "combined", "smol")


def test_presets_take_changes() -> None:
    assert TransPrune.low(alpha=0.4) == dataclasses.replace(TransPrune.low(), alpha=0.4)
    assert TransPrune.high(keep={3: 0.5}).keep == Schedule({3: 0.5})


def test_defaults_are_the_papers() -> None:
    method = TransPrune()
    assert method.accumulate == range(7, 13)
    assert (method.alpha, method.direction, method.softmax_over) == (
        0.5,
        "one_minus_abs_cos",
        "all",
    )
    assert (method.use_magnitude, method.use_direction, method.accumulation) == (True, True, True)
    assert (method.positions, method.policy) == (None, "renumber")
    assert TransPrune(positions="keep").policy == "keep"


@pytest.mark.parametrize(
    ("method", "tokens", "counts"),
    [
        (TransPrune.high(), 576, [504, 360, 72]),
        (TransPrune.low(), 576, [360, 108, 36]),
        (TransPrune.high(), 2880, [2520, 1800, 360]),
        (TransPrune.low(), 2880, [1800, 540, 180]),
        (TransPrune.high(), 577, [504, 360, 72]),  # floored: 504.875, 360.625, 72.125
    ],
)
def test_keep_counts(method: TransPrune, tokens: int, counts: list[int]) -> None:
    stages = method.plan(32, tokens)
    assert [stage.boundary for stage in stages] == [7, 9, 12]
    assert [stage.count for stage in stages] == counts
    assert not any(stage.rounded_up for stage in stages)


def test_a_share_below_one_token_keeps_one() -> None:
    stages = TransPrune.low().plan(32, 10)
    assert [(stage.count, stage.rounded_up) for stage in stages] == [
        (6, False),
        (1, False),
        (1, True),
    ]


# ---------------------------------------------------------------------------------------------- depth


@pytest.mark.parametrize(
    ("layers", "boundaries", "accumulated"),
    [
        (32, (7, 9, 12), (7, 8, 9, 10, 11, 12)),
        (28, (7, 9, 12), (7, 8, 9, 10, 11, 12)),  # the published Qwen2.5-VL figure comes from these
        (16, (4, 5, 6), (4, 5, 6)),
        (40, (9, 12, 15), (9, 10, 11, 12, 13, 14, 15)),
        (24, (6, 7, 9), (6, 7, 8, 9)),
        (8, (2, 3, 4), (2, 3, 4)),  # 12 of 32 is 3 of 8, which is taken
    ],
)
def test_depth(layers: int, boundaries: tuple[int, ...], accumulated: tuple[int, ...]) -> None:
    method = TransPrune.high()
    assert tuple(stage.boundary for stage in method.plan(layers, 576)) == boundaries
    assert [stage.count for stage in method.plan(layers, 576)] == [504, 360, 72]
    assert method.observed(layers) == accumulated


@pytest.mark.parametrize("layers", [16, 28, 32, 40])
def test_explicit_boundaries_win(layers: int) -> None:
    method = TransPrune(keep={5: 0.5, 11: 0.25})
    assert [stage.boundary for stage in method.plan(layers, 100)] == [5, 11]
    assert method.observed(layers) == (5, 6, 7, 8, 9, 10, 11)
    assert method.notes(layers) == ()


def test_accumulation_layers_scale_with_the_presets() -> None:
    assert TransPrune(accumulate=[1, 2, 3, 12]).observed(16) == (1, 2, 6)  # 0.5, 1, 1.5, 6
    assert TransPrune(accumulate=range(1, 7)).observed(16) == (1, 2, 3)
    assert TransPrune(accumulate=[1, 4, 7]).observed(28) == (1, 4, 7)


def test_notes_tell_what_was_adapted() -> None:
    assert TransPrune.high().notes(32) == TransPrune.high().notes(28) == ()
    (note,) = TransPrune.high().notes(16)
    assert (
        note
        == "boundaries 7, 9, 12 of 32 layers became 4, 5, 6 of 16; TTV accumulates over layers 4, 5, 6"
    )
    (note,) = TransPrune.iga().notes(16)
    assert note == "boundaries 7, 9, 12 of 32 layers became 4, 5, 6 of 16"


@pytest.mark.parametrize("layers", [3, 2, 1])
def test_too_shallow_a_model_is_refused(layers: int) -> None:
    with pytest.raises(ScheduleError, match=f"for a model of {layers} decoder layers"):
        TransPrune.high().plan(layers, 576)


def test_boundaries_at_or_past_the_last_layer_are_refused() -> None:
    with pytest.raises(ScheduleError, match="got 32"):
        TransPrune(keep={32: 0.5}).plan(32, 576)
    assert TransPrune(keep={31: 0.5}).plan(32, 576)[0].boundary == 31


def test_boundary_zero_is_left_to_projector_side_methods() -> None:
    with pytest.raises(ScheduleError, match="only a projector-side method prunes"):
        TransPrune(keep={0: 0.5}).plan(32, 576)


# ---------------------------------------------------------------------------------------------- readings


def test_readings_of_the_default() -> None:
    assert TransPrune.high().reads_at(32) == (
        Reading(7, rows="instruction", source="next", observed=(7,)),
        Reading(9, rows="instruction", source="next", observed=(8, 9)),
        Reading(12, rows="instruction", source="next", observed=(10, 11, 12)),
    )


def test_readings_of_ttv_alone_have_no_rows() -> None:
    readings = TransPrune.ttv().reads_at(32)
    assert [reading.rows for reading in readings] == [None] * 3
    assert [reading.observed for reading in readings] == [(7,), (8, 9), (10, 11, 12)]


def test_readings_of_iga_alone_observe_nothing() -> None:
    readings = TransPrune.iga().reads_at(32)
    assert [reading.rows for reading in readings] == ["instruction"] * 3
    assert [reading.observed for reading in readings] == [()] * 3
    assert TransPrune.iga().observed(32) == ()


def test_readings_without_accumulation_observe_each_boundarys_own_layer() -> None:
    method = TransPrune(accumulation=False)
    assert [reading.observed for reading in method.reads_at(32)] == [(7,), (9,), (12,)]
    assert [reading.observed for reading in method.reads_at(16)] == [(4,), (5,), (6,)]


def test_readings_of_early_accumulation() -> None:
    """The paper's ablation: TTV of layers 1-3 only, read at 7, 9 and 12."""
    readings = TransPrune(accumulate=range(1, 4)).reads_at(32)
    assert [reading.observed for reading in readings] == [(1, 2, 3), (), ()]


# ---------------------------------------------------------------------------------------------- bad values


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), True, "0.5", None])
def test_alpha_lies_between_zero_and_one(alpha: object) -> None:
    with pytest.raises(MethodError, match=r"must lie in \[0, 1\]"):
        TransPrune(alpha=alpha)


def test_unknown_words_are_refused_with_the_known_ones() -> None:
    with pytest.raises(
        MethodError, match="'one_minus_abs_cos', 'one_minus_cos', 'cos' or 'abs_cos'; got 'sin'"
    ):
        TransPrune(direction="sin")
    with pytest.raises(MethodError, match="'all' or 'visual'; got 'text'"):
        TransPrune(softmax_over="text")
    with pytest.raises(MethodError, match="'keep', 'renumber' or None; got 'shift'"):
        TransPrune(positions="shift")


@pytest.mark.parametrize("name", ["use_magnitude", "use_direction", "accumulation"])
def test_switches_are_true_or_false(name: str) -> None:
    with pytest.raises(MethodError, match=f"{name} is True or False; got 'no'"):
        TransPrune(**{name: "no"})


def test_ttv_without_either_term_is_refused() -> None:
    with pytest.raises(MethodError, match="both are off"):
        TransPrune(use_magnitude=False, use_direction=False)
    assert TransPrune(use_magnitude=False, use_direction=False, alpha=0).alpha == 0


@pytest.mark.parametrize("keep", [{7: 0}, {7: 1.5}, {7: 0.5, 9: 0.6}, {}, "7", 0.5, None])
def test_what_is_no_schedule_is_refused(keep: object) -> None:
    with pytest.raises(ScheduleError):
        TransPrune(keep=keep)


@pytest.mark.parametrize(
    ("accumulate", "expected"),
    [
        (range(7, 13), range(7, 13)),
        ([12, 11, 10, 9, 8, 7], range(7, 13)),
        ("7-12", range(7, 13)),
        ("7,9-10", (7, 9, 10)),
        ("7", range(7, 8)),
        (7, range(7, 8)),
        ([7, 7], range(7, 8)),
        ((1, 3, 7), (1, 3, 7)),
        (np.arange(7, 13), range(7, 13)),
        (None, range(7, 13)),
    ],
)
def test_accumulate_in_every_form(accumulate: Any, expected: object) -> None:
    assert TransPrune(accumulate=accumulate).accumulate == expected


def test_accumulate_defaults_to_first_to_last_boundary() -> None:
    assert TransPrune(keep={3: 0.5, 6: 0.25}).accumulate == range(3, 7)
    assert TransPrune(keep={3: 0.5}).accumulate == range(3, 4)


@pytest.mark.parametrize(
    "accumulate", [[], [0, 1], [-1], "12-7", "a-b", "7,", [7.5], [True], [None], [float("inf")]]
)
def test_bad_accumulation_layers_are_refused(accumulate: Any) -> None:
    with pytest.raises(ScheduleError, match="accumulate takes 1-based layers"):
        TransPrune(accumulate=accumulate)


def test_ttv_alone_needs_evidence_at_its_first_boundary() -> None:
    with pytest.raises(
        ScheduleError, match="nothing to rank by at boundary 7: accumulate starts at layer 8"
    ):
        TransPrune.ttv(accumulate=range(8, 13))
    assert TransPrune.high(accumulate=range(8, 13)).alpha == 0.5, "IGA ranks there"
    assert TransPrune.ttv(accumulate=range(8, 13), accumulation=False).observed(32) == (7, 9, 12)


def test_accumulation_past_the_last_layer_is_refused() -> None:
    method = TransPrune(keep={4: 0.5}, accumulate=range(1, 20))
    assert method.observed(19) == tuple(range(1, 20))
    with pytest.raises(ScheduleError, match=r"layers of 16; got 1, 2, .*, 19"):
        method.observed(16)


# ---------------------------------------------------------------------------------------------- record


def test_is_frozen_and_can_be_changed_by_replace() -> None:
    method = TransPrune()
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.alpha = 0.4
    changed = dataclasses.replace(method, alpha=0.4)
    assert (method.alpha, changed.alpha) == (0.5, 0.4)
    assert dataclasses.replace(changed, alpha=0.5) == method


def test_equal_methods_hash_alike() -> None:
    assert hash(TransPrune()) == hash(TransPrune.high(accumulate=list(range(7, 13))))
    assert len({TransPrune.high(), TransPrune.low(), TransPrune(), TransPrune.ttv()}) == 3


def test_repr_survives_a_recipe() -> None:
    method = TransPrune.low(alpha=0.6, accumulate=[1, 3], direction="cos")
    assert repr(
        type(method)(**{f.name: getattr(method, f.name) for f in dataclasses.fields(method)})
    ) == repr(method)
    assert "alpha=0.6" in repr(method) and "accumulate=(1, 3)" in repr(method)
