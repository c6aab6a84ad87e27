"""Cost of a pruned run, against sums small enough to do by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import pytest

from transprune.core.plan import Eviction, Reading, Stage
from transprune.cost.count import Convention, Cost, count_cost, count_method, sum_costs
from transprune.cost.geometry import Geometry, known_geometry
from transprune.cost.layers import decode_cost, head_cost, kv_bytes, layer_cost, prefill_cost
from transprune.cost.scoring import scoring_cost, similarity_cost, transition_cost
from transprune.errors import MethodError, PruneError, ScheduleError

# d=8, m=16, 4 query heads over 2 key/value heads of width 2: q is 8 wide, k and v 4.
TINY = Geometry(
    "tiny", 3, 8, 16, 4, 2, 2, vocab=10, visual_tokens=6, text_tokens=4, vision_head_dim=5
)


class Halving:
    """A stand-in method: half of the tokens leave in front of layer 1, read ahead by the instruction."""

    def plan(self, num_layers: int, visual_tokens: int) -> tuple[Stage, ...]:
        return (Stage(1, visual_tokens // 2),)

    def reads_at(self, num_layers: int) -> tuple[Reading, ...]:
        return (Reading(1, rows="instruction"),)

    def frozen(self, num_layers: int) -> tuple[int, ...]:
        return ()

    def evicts(self, num_layers: int, visual: Sequence[int]) -> tuple[Eviction, ...]:
        return ()


def test_paper_layer_is_the_published_formula() -> None:
    # 4nd^2 + 2n^2 d + 3ndm = 4*6*64 + 2*36*8 + 3*6*8*16
    assert layer_cost(TINY, 6, 6, "paper") == 1536 + 576 + 2304


def test_paper_layer_counts_keys_and_values_full_width() -> None:
    assert layer_cost(TINY, 6, 6, "paper") == layer_cost(replace(TINY, kv_heads=4), 6, 6, "paper")


def test_exact_layer_is_grouped_query_aware() -> None:
    # two FLOPs each: q, o 2*6*8*8; k, v 2*6*8*4; q.k and p.v 2*6*6*8; gated MLP 3*6*8*16
    assert layer_cost(TINY, 6, 6, "exact") == 2 * (768 + 384 + 576 + 2304)
    wide = layer_cost(replace(TINY, kv_heads=4), 6, 6, "exact")
    assert wide - layer_cost(TINY, 6, 6, "exact") == 2 * 2 * 6 * 8 * 4


def test_exact_is_twice_paper_without_text_grouping_and_head() -> None:
    plain = replace(TINY, kv_heads=4)
    assert layer_cost(plain, 6, 6, "exact") == 2 * layer_cost(plain, 6, 6, "paper")


def test_wide_heads_count_in_exact() -> None:
    """Gemma's query heads together are wider than the residual stream."""
    # 8 heads' worth of width 16: q, o 2*1*8*16; k, v 2*1*8*8; attention 2*1*1*16; MLP 3*1*8*16
    assert layer_cost(replace(TINY, head_dim=4), 1, 1, "exact") == 2 * (256 + 128 + 32 + 384)


def test_the_head_of_one_position_only() -> None:
    assert head_cost(TINY, "exact") == 2 * 8 * 10
    assert head_cost(TINY, "paper") == 0
    layers = sum(layer_cost(TINY, n, n, "exact") for n in (6, 5, 4))
    assert prefill_cost(TINY, [6, 5, 4], "exact") == layers + 160


def test_decode_attends_to_what_each_layer_kept() -> None:
    # projections and MLP of one row per layer, plus 2*n*d over the keys of that layer
    assert decode_cost(TINY, [6, 3, 1], "paper") == 3 * (4 * 64 + 3 * 128) + 2 * 8 * (6 + 3 + 1)
    assert (
        decode_cost(TINY, [7, 4, 2], "exact")
        == 2 * (3 * (128 + 64 + 384) + 2 * 8 * (7 + 4 + 2)) + 160
    )


def test_kv_bytes() -> None:
    # two tensors, three layers, 10 tokens, 2 heads of width 2, 2 bytes
    assert kv_bytes(TINY, [10, 10, 10]) == 2 * 3 * 10 * 2 * 2 * 2
    assert kv_bytes(TINY, [10, 7, 4], dtype_bytes=4) == 2 * 21 * 4 * 4
    # LLaVA-1.5-7B, half precision: half a MiB per token
    assert kv_bytes(known_geometry("llava-1.5-7b"), [1] * 32) == 512 * 1024


def test_paper_cost_sees_visual_tokens_only() -> None:
    cost = count_cost(
        TINY,
        [6, 3, 3],
        4,
        unpruned=6,
        convention="paper",
        readings=[Reading(1, rows="instruction")],
    )
    assert cost == count_cost(TINY, [6, 3, 3], 999, unpruned=6, convention="paper")
    assert (cost.convention, cost.unit, cost.scoring) == ("paper", "MACs", 0)
    assert cost.prefill == 4416 + 2 * (4 * 3 * 64 + 2 * 9 * 8 + 3 * 3 * 128)
    assert cost.full_prefill == 3 * 4416
    assert cost.decode == decode_cost(TINY, [6, 3, 3], "paper")
    assert cost.kv_bytes == 2 * 12 * 4 * 2
    assert cost.kv_share == 12 / 18


def test_exact_cost_adds_text_head_scoring_and_the_new_token() -> None:
    reading = Reading(1, rows="instruction")
    cost = count_cost(
        TINY, [6, 3, 3], 4, unpruned=6, convention="exact", readings=[reading], instruction=2
    )
    assert (cost.convention, cost.unit) == ("exact", "FLOPs")
    # 2 rows x 10 tokens x 8 logits, 2 queries, and the keys of the 3 that leave: two FLOPs each
    assert cost.scoring == 2 * (2 * 10 * 8 + 2 * 8 * 8 + 3 * 8 * 4)
    assert cost.prefill == prefill_cost(TINY, [10, 7, 7], "exact") + cost.scoring
    assert cost.full_prefill == prefill_cost(TINY, [10, 10, 10], "exact")
    assert cost.decode == decode_cost(TINY, [11, 8, 8], "exact")
    assert cost.full_decode == decode_cost(TINY, [11, 11, 11], "exact")
    assert cost.kv_bytes == 2 * (10 + 7 + 7) * 4 * 2
    assert cost.kv_share == 24 / 30


def test_instruction_defaults_to_all_text_and_never_exceeds_it() -> None:
    def scoring(instruction: int | None) -> int:
        cut = [Reading(1, rows="instruction")]
        return count_cost(
            TINY,
            [6, 3, 3],
            4,
            unpruned=6,
            convention="exact",
            readings=cut,
            instruction=instruction,
        ).scoring

    assert scoring(None) == scoring(4) == scoring(50)
    assert scoring(2) < scoring(3) < scoring(4)


def test_without_instruction_the_last_token_is_read() -> None:
    def scoring(rows: Literal["instruction", "last"], instruction: int) -> int:
        cut = [Reading(1, rows=rows)]
        return count_cost(
            TINY,
            [6, 3, 3],
            4,
            unpruned=6,
            convention="exact",
            readings=cut,
            instruction=instruction,
        ).scoring

    assert scoring("instruction", 0) == scoring("last", 4) > 0


def test_a_batch_is_the_sum_of_its_samples() -> None:
    one = count_cost(
        TINY, [6, 3, 3], 4, unpruned=6, convention="exact", readings=[Reading(1, rows="last")]
    )
    two = count_cost(TINY, [5, 5, 5], 2, unpruned=5, convention="exact")
    both = sum_costs([one, two])
    assert (both.convention, both.unit) == ("exact", "FLOPs")
    for name in (
        "prefill",
        "scoring",
        "decode",
        "kv_bytes",
        "full_prefill",
        "full_decode",
        "full_kv_bytes",
    ):
        assert getattr(both, name) == getattr(one, name) + getattr(two, name), name
    assert sum_costs([one]) == one
    assert both.kv_share == (24 + 21) / (30 + 21)


def test_conventions_do_not_add_up() -> None:
    paper, exact = (
        count_cost(TINY, [6, 3, 3], 4, unpruned=6, convention=name) for name in get_args(Convention)
    )
    with pytest.raises(MethodError, match=r"one convention only; got \['exact', 'paper'\]"):
        sum_costs([paper, exact])
    with pytest.raises(MethodError, match="got no costs"):
        sum_costs([])


def score(reading: Reading, *more: Reading) -> int:
    return scoring_cost(TINY, [6, 3, 3], 4, [reading, *more], unpruned=6, instruction=2)


def test_the_last_row_is_one_row() -> None:
    assert score(Reading(1, rows="last")) == 2 * (1 * 10 * 8 + 1 * 8 * 8 + 3 * 8 * 4)


def test_reading_the_layer_that_ran_costs_only_logits() -> None:
    assert score(Reading(1, rows="last", source="previous")) == 2 * 10 * 8
    assert score(Reading(1, rows="instruction", source="previous")) == 2 * 2 * 10 * 8


def test_a_cut_that_drops_nobody_projects_no_extra_keys() -> None:
    # boundary 2: three candidates, three survivors; 7 tokens stand there
    assert score(Reading(2, rows="last")) == 2 * (7 * 8 + 8 * 8)


def test_transitions_of_two_modules_with_three_reductions() -> None:
    assert transition_cost(TINY, 10) == 2 * 2 * 3 * 10 * 8
    # layers[0] holds 10 tokens, layers[1] holds 7
    assert score(Reading(2, observed=(1, 2))) == transition_cost(TINY, 10) + transition_cost(
        TINY, 7
    )


def test_a_layer_observed_for_two_cuts_is_measured_once() -> None:
    assert score(Reading(1, observed=(1,)), Reading(2, observed=(1, 2))) == score(
        Reading(2, observed=(1, 2))
    )


def test_similarity_has_the_width_of_its_space() -> None:
    assert similarity_cost(TINY, Reading(0, similarity="features"), 6) == 2 * 36 * 8
    assert similarity_cost(TINY, Reading(0, similarity="keys"), 6) == 2 * 36 * 5
    before_the_cut = scoring_cost(
        TINY, [3, 3, 3], 4, [Reading(0, similarity="keys")], unpruned=6, instruction=2
    )
    assert before_the_cut == 2 * 36 * 5


def test_a_reading_of_nothing_is_free() -> None:
    assert score(Reading(0)) == 0


@pytest.mark.parametrize("convention", ["paper", "exact"])
def test_keeping_everything_costs_exactly_the_same(convention: Convention) -> None:
    cost = count_cost(TINY, [6, 6, 6], 4, unpruned=6, convention=convention)
    assert (cost.prefill_share, cost.decode_share, cost.kv_share) == (1.0, 1.0, 1.0)


def test_scoring_for_nothing_shows_as_a_share_above_one() -> None:
    cost = count_cost(
        TINY, [6, 6, 6], 4, unpruned=6, convention="exact", readings=[Reading(1, rows="last")]
    )
    assert cost.prefill_share > 1.0
    assert cost.decode_share == 1.0


def test_a_prompt_without_an_image_has_share_one() -> None:
    cost = count_cost(TINY, [0, 0, 0], 4, unpruned=0, convention="paper")
    assert cost.prefill == 0
    assert (cost.prefill_share, cost.kv_share) == (1.0, 1.0)


def test_pruning_in_front_of_layer_zero_is_relative_to_the_unpruned_run() -> None:
    cost = count_cost(TINY, [3, 3, 3], 4, unpruned=6)
    assert cost.kv_share == 0.5
    assert cost.full_prefill == 3 * 4416


def test_to_dict_is_json_and_complete() -> None:
    cost = count_cost(TINY, [6, 3, 3], 4, unpruned=6, convention="exact")
    data = json.loads(json.dumps(cost.to_dict()))
    shares = {key: data.pop(key) for key in ("prefill_share", "decode_share", "kv_share")}
    assert shares["kv_share"] == 24 / 30
    assert Cost(**data) == cost


@pytest.mark.parametrize("convention", ["paper", "exact"])
def test_count_method_is_count_cost_of_its_plan(convention: Convention) -> None:
    method = Halving()
    cost = count_method(TINY, method, 6, 4, convention)
    assert cost == count_cost(
        TINY,
        [6, 3, 3],
        4,
        unpruned=6,
        convention=convention,
        readings=method.reads_at(3),
    )
    assert cost == count_method(TINY, method, convention=convention)


def test_scoring_of_transprune_high_is_below_one_percent_of_exact_prefill() -> None:
    """Keys reused and queries projected for the question alone: cheaper than the 3-5 % of recomputing both."""
    readings = [
        Reading(7, rows="instruction", observed=(7,)),
        Reading(9, rows="instruction", observed=(8, 9)),
        Reading(12, rows="instruction", observed=(10, 11, 12)),
    ]
    visual = [576] * 7 + [504] * 2 + [360] * 3 + [72] * 20
    cost = count_cost(
        known_geometry("llava-1.5-7b"),
        visual,
        64,
        unpruned=576,
        convention="exact",
        readings=readings,
        instruction=29,
    )
    assert 0.002 < cost.scoring / cost.prefill < 0.01


@pytest.mark.parametrize(
    "call",
    [
        lambda wrong: layer_cost(TINY, 1, 1, wrong),
        lambda wrong: prefill_cost(TINY, [1], wrong),
        lambda wrong: decode_cost(TINY, [1], wrong),
        lambda wrong: head_cost(TINY, wrong),
        lambda wrong: count_cost(TINY, [6, 6, 6], 4, unpruned=6, convention=wrong),
        lambda wrong: count_method(TINY, Halving(), 6, 4, wrong),
    ],
    ids=["layer", "prefill", "decode", "head", "cost", "method"],
)
def test_an_unknown_convention_is_refused_with_the_known_ones(
    call: Callable[[Any], object],
) -> None:
    with pytest.raises(MethodError, match="'paper' or 'exact'; got 'field'") as caught:
        call("field")
    assert isinstance(caught.value, PruneError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("visual", "text", "unpruned", "message"),
    [
        ([6, 6], 4, 6, "3 decoder layers; got counts for 2"),
        ([6, 3, 4], 4, 6, "cannot come back"),
        ([7, 3, 3], 4, 6, "cannot come back"),
        ([6, 3, -1], 4, 6, "negative"),
        ([6, 3, 3], -1, 6, "negative"),
    ],
)
def test_impossible_counts_are_refused(
    visual: list[int], text: int, unpruned: int, message: str
) -> None:
    with pytest.raises(ScheduleError, match=message):
        count_cost(TINY, visual, text, unpruned=unpruned)


@pytest.mark.parametrize("boundary", [-1, 3])
def test_a_reading_outside_the_model_is_refused(boundary: int) -> None:
    with pytest.raises(ScheduleError, match=r"0\.\.2; got"):
        score(Reading(boundary, rows="last"))


@pytest.mark.parametrize("convention", ["paper", "exact"])
def test_a_frozen_layer_projects_keys_and_values_of_its_visual_tokens_only(
    convention: Convention,
) -> None:
    frozen = count_cost(TINY, [6, 6, 6], 4, unpruned=6, convention=convention, frozen=(1,))
    plain = count_cost(TINY, [6, 6, 6], 4, unpruned=6, convention=convention)
    # paper: two projections, 8 wide; exact: they are 4 wide, two FLOPs each, and the 4 text tokens see all 10
    text = 4 if convention == "exact" else 0
    still = 6 * 2 * 8 * 8 if convention == "paper" else 2 * 6 * 2 * 8 * 4
    seen = layer_cost(TINY, text, 6 + text, convention)
    assert (
        frozen.prefill
        == plain.prefill - layer_cost(TINY, 6 + text, 6 + text, convention) + still + seen
    )
    assert (frozen.decode, frozen.kv_bytes) == (plain.decode, plain.kv_bytes)


def test_keys_of_a_layer_are_as_wide_as_its_key_heads_and_only_some_pairs_count() -> None:
    assert similarity_cost(TINY, Reading(0, similarity="layer_keys"), 6) == 2 * 36 * 4
    assert similarity_cost(TINY, Reading(0, similarity="features", pairs=0.25), 6) == 2 * 9 * 8


def test_embeddings_of_image_and_instruction_are_multiplied() -> None:
    assert score(Reading(1, embeddings=True)) == 2 * 6 * 2 * 8


def test_the_mean_query_is_one_row() -> None:
    assert score(Reading(1, rows="mean")) == score(Reading(1, rows="last"))
