"""The trained scorer: its maths beside a slow loop, and what LVPruning and AsymVLM do with its ratings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from methods.pools import Pool
from methods.trained import draw_weights
from transprune.core.plan import Stage, scorer_width
from transprune.core.views import LayerView, ProjectorView
from transprune.cost.count import count_method
from transprune.cost.geometry import known_geometry
from transprune.errors import MethodError, ScheduleError
from transprune.methods import AsymVLM, LVPruning
from transprune.methods.asymvlm import fewest
from transprune.methods.common.cross_attention import HEADS, draw_module, rate

WIDTH, INNER = 16, 64


def module(outputs, seed=0):
    return draw_module(WIDTH, INNER, outputs, torch.Generator().manual_seed(seed))


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def slow(weights, rows, words):
    """Ratings of one token at a time, head by head, from the definition."""

    def norm(x, name):
        x = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    ratings = []
    for row in rows:
        query = weights["query.weight"] @ norm(row, "rows_norm")
        keys = [weights["key.weight"] @ norm(word, "words_norm") for word in words]
        values = [weights["value.weight"] @ norm(word, "words_norm") for word in words]
        heads = []
        for part in torch.arange(INNER).chunk(HEADS):
            logits = torch.stack([query[part] @ key[part] for key in keys]) / math.sqrt(len(part))
            share = logits.softmax(dim=0)
            heads.append(sum(s * value[part] for s, value in zip(share, values, strict=True)))
        state = norm(query + weights["out.weight"] @ torch.cat(heads), "state_norm")
        hidden = torch.nn.functional.gelu(weights["up.weight"] @ state + weights["up.bias"])
        ratings.append(weights["down.weight"] @ hidden + weights["down.bias"])
    return torch.stack(ratings)


@pytest.mark.parametrize("outputs", [1, 2])
def test_ratings_are_those_of_a_slow_loop(outputs):
    weights = {name: value + 0.1 * drawn(*value.shape) for name, value in module(outputs).items()}
    rows, words = drawn(7, WIDTH), drawn(4, WIDTH)
    torch.testing.assert_close(rate(weights, rows, words), slow(weights, rows, words))


def test_ratings_follow_their_tokens_and_the_order_of_the_words_is_nothing():
    weights, rows, words = module(1), drawn(9, WIDTH), drawn(5, WIDTH)
    ratings, order = rate(weights, rows, words), torch.randperm(9)
    torch.testing.assert_close(rate(weights, rows[order], words), ratings[order])
    torch.testing.assert_close(rate(weights, rows, words.flip(0)), ratings)
    assert (rate(weights, rows, drawn(6, WIDTH)) - ratings).abs().max() > 1e-3


def test_half_precision_states_of_any_size_are_rated_in_float32():
    ratings = rate(module(1), 1e4 * drawn(5, WIDTH).half(), drawn(3, WIDTH).bfloat16())
    assert ratings.dtype == torch.float32
    assert ratings.isfinite().all()


@pytest.mark.parametrize(
    ("width", "widest", "expected"),
    [(4096, 1024, 1024), (4096, 256, 256), (3584, 1024, 896), (128, 1024, 64), (896, 1024, 224)],
)
def test_the_inner_width(width, widest, expected):
    assert scorer_width(width, widest) == expected
    assert expected % HEADS == 0


# --------------------------------------------------------------------------- LVPruning


@pytest.fixture
def rated(monkeypatch):
    """`rate` reads the first column of the rows: (score, 0)."""
    read = lambda weights, rows, words: torch.cat([rows, torch.zeros_like(rows)], dim=1)  # noqa: E731
    monkeypatch.setattr("transprune.methods.lvpruning.rate", read)
    monkeypatch.setattr("transprune.methods.asymvlm.rate", lambda weights, rows, words: rows)


def layer_view(score, count):
    signals = {"module": dict, "instruction_rows": lambda: torch.zeros(2, 1)}
    tokens = torch.arange(len(score))
    return LayerView(3, count, tokens, lambda: torch.tensor(score)[:, None], signals=signals)


@pytest.mark.parametrize(
    ("decide", "count", "expected"),
    [
        ("budget", 3, [0, 2, 4]),
        ("budget", 1, [2]),
        ("modules", 3, [0, 2]),  # the third of the budget is one that the module drops
        ("modules", 1, [2]),  # the module would keep two, the budget allows one
        ("modules", 5, [0, 2]),
    ],
)
def test_who_decides(rated, decide, count, expected):
    view = layer_view([0.5, -3.0, 2.0, -2.0, -0.5], count)
    keep = LVPruning(decide=decide).select(view).keep
    assert keep.tolist() == expected


def test_a_module_that_drops_everything_leaves_its_best(rated):
    keep = LVPruning(decide="modules").select(layer_view([-3.0, -1.0, -2.0], 3)).keep
    assert keep.tolist() == [1]


def test_the_default_boundaries_scale_with_depth():
    assert LVPruning().schedule(32).boundaries == (1, 8, 16)
    assert LVPruning().schedule(16).boundaries == (1, 4, 8)
    assert LVPruning().schedule(28).boundaries == (1, 7, 14)


def test_modules_do_not_move_to_other_layers():
    with pytest.raises(ScheduleError, match="its modules belong to their layers"):
        LVPruning().shifted_earlier(1, 32)


def test_plans_say_where_they_are_bounds():
    assert not any(stage.at_most for stage in LVPruning().plan(32, 576))
    assert all(stage.at_most for stage in LVPruning(decide="modules").plan(32, 576))


@pytest.mark.parametrize("value", [3, "", "  ", 0.5, True])
@pytest.mark.parametrize("kind", [LVPruning, AsymVLM])
def test_weights_are_a_folder(kind, value):
    with pytest.raises(MethodError, match="weights is the folder of `transprune train-pruner`"):
        kind(weights=value)


# ----------------------------------------------------------------------------- AsymVLM


@pytest.mark.parametrize(
    ("mass", "expected"), [(0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (1.0, 4)]
)
def test_the_fewest_that_have_the_mass(mass, expected):
    share = torch.tensor([0.125, 0.5, 0.125, 0.25])
    assert fewest(share, mass) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mass": 0.6, "least": 1, "most": 4}, [1, 3]),
        ({"mass": 0.6, "least": 3, "most": 4}, [0, 1, 3]),
        ({"mass": 0.9, "least": 1, "most": 2}, [1, 3]),
        ({"mass": 1.0, "least": 1, "most": 3}, [0, 1, 3]),
        ({"mass": 0.1, "least": 0.01, "most": 4}, [1]),
    ],
)
def test_the_budget_by_mass_within_its_bounds(rated, settings, expected):
    method = AsymVLM(**settings)
    logits = torch.tensor([0.125, 0.5, 0.125, 0.25]).log()[:, None]
    view = ProjectorView(
        0,
        method.plan(8, 4)[0].count,
        torch.arange(4),
        lambda: logits,
        signals={"module": dict},
        _instruction=lambda: torch.zeros(2, 1),
    )
    assert method.select(view).keep.tolist() == expected


def test_bounds_are_bounds():
    with pytest.raises(ScheduleError, match="least is at most as large as most"):
        AsymVLM(least=0.6, most=0.5)
    with pytest.raises(ScheduleError, match="mass"):
        AsymVLM(mass=0.0)
    assert AsymVLM().scaled_by(0.5) == AsymVLM(least=0.025, most=0.25)
    assert AsymVLM(mass=1.0).plan(8, 100) == (Stage(0, 50),)


def test_simple_questions_keep_fewer():
    """Of peaked ratings fewer tokens have the mass than of flat ones."""
    pool = Pool(40)
    method = AsymVLM(0.9, 1, 40, "x")
    stage = method.plan(8, 40)[0]
    flat = len(method.select(pool.view(method, stage)).keep)

    peaked = draw_weights("asymvlm", 12).modules[0]
    peaked = {**peaked, "down.weight": 300 * peaked["down.weight"]}
    view = pool.view(method, stage)
    sharp = replace(view, signals={**view.signals, "module": lambda: peaked})
    assert len(method.select(sharp).keep) < flat


# -------------------------------------------------------------------------------- cost


def test_the_scorer_is_counted():
    """LLaVA-1.5-7B: width 4096; at boundary 1 the scorer rates 576 tokens by 40 words."""
    geometry = known_geometry("llava-1.5-7b")
    method = LVPruning({1: 0.5})
    counted = count_method(geometry, method, convention="exact", text=60, instruction=40)
    tokens, words, inner = 576, 40, 1024
    macs = (tokens + 2 * words) * 4096 * inner + 2 * tokens * words * inner
    macs += 2 * tokens * inner * inner
    assert counted.scoring == 2 * macs
    assert counted.scoring / counted.full_prefill < 0.001

    front = count_method(geometry, AsymVLM(), convention="exact", text=60, instruction=40)
    inner = 256
    macs = (tokens + 2 * words) * 4096 * inner + 2 * tokens * words * inner
    assert front.scoring == 2 * (macs + 2 * tokens * inner * inner)


def test_the_cost_of_the_default_schedule():
    """The figures of its targets on LLaVA-1.5-7B: near what the paper saves, and not taken from it."""
    geometry = known_geometry("llava-1.5-7b")
    paper = count_method(geometry, LVPruning())
    assert paper.prefill_share == pytest.approx(1 - 0.695, abs=5e-4)
    exact = count_method(geometry, LVPruning(), text=64, convention="exact")
    assert (exact.prefill - exact.scoring) / exact.full_prefill == pytest.approx(0.373, abs=2e-3)
