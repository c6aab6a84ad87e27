"""Recurrent layers: in float64, with the delta rule as a plain loop, pruning is exact to 1e-5.

The model's own kernel sums a chunk at once and in float32, so a pruned sequence rounds differently from a whole one.
"""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import Tensor

from families.cases import greedy
from families.contract import PLACES, Beside, case_of, forced, products, samples_of
from transprune import prune

CLOSE = 1e-5
KERNELS = ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule")


def delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    initial_state: Tensor | None = None,
    **options: object,
) -> tuple[Tensor, Tensor]:
    """The gated delta rule, token by token in float64. Queries and keys [B, L, H, d], values [B, L, Hv, dv].

    Each token fades the state by exp(g), then replaces what is stored under its key by its value, as far as beta says
    (Yang et al., arXiv 2412.06464). -> outputs [B, L, Hv, dv], and the state [B, Hv, d, dv].
    """
    dtype, groups = value.dtype, value.shape[2] // key.shape[2]
    query, key = (unit(x.double()).repeat_interleave(groups, dim=2) for x in (query, key))
    value, g, beta = value.double(), g.double(), beta.double()

    batch, length, heads, width = key.shape
    state = value.new_zeros(batch, heads, width, value.shape[-1])
    if initial_state is not None:
        state = initial_state.double()
    outputs = []
    for t in range(length):
        state = state * g[:, t].exp()[..., None, None]
        stored = torch.einsum("bhdv,bhd->bhv", state, key[:, t])
        change = beta[:, t, :, None] * (value[:, t] - stored)
        state = state + torch.einsum("bhd,bhv->bhdv", key[:, t], change)
        outputs.append(torch.einsum("bhdv,bhd->bhv", state, query[:, t]) / width**0.5)
    return torch.stack(outputs, dim=1).to(dtype), state


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1."""
    return rows * torch.rsqrt((rows * rows).sum(dim=-1, keepdim=True) + 1e-6)


@pytest.fixture
def exact(monkeypatch):
    """Both kinds of model run the loop above."""
    for name in ("qwen3_5", "qwen3_5_moe"):
        try:
            module = import_module(f"transformers.models.{name}.modeling_{name}")
        except ImportError as missing:
            pytest.skip(f"this release of transformers has no such model: {missing}")
        for kernel in KERNELS:
            if not hasattr(module, kernel):
                pytest.skip(f"this release of transformers names {kernel} differently")
            monkeypatch.setattr(module, kernel, delta_rule)


@pytest.mark.parametrize(
    ("name", "kind", "place"),
    products(
        lambda name, kind, place: (name, kind, place) == ("qwen3_5", "ragged", "early"),
        ("qwen3_5", "qwen3_5_moe"),
        ("alone", "ragged"),
        list(PLACES),
    ),
)
def test_with_an_exact_rule_pruning_is_exact(zoo, exact, name, kind, place):
    samples = samples_of(case_of(name), kind)
    model, slow = (zoo.fresh(name, attn).double() for attn in ("sdpa", "eager"))
    for one in (model, slow):
        one.set_experts_implementation("eager")  # the default has no float64
    beside = Beside(zoo, name, "sdpa", own=model, slow=slow, dtype=torch.float64)
    method, told = forced(samples, PLACES[place])
    with prune(model, method):
        run = greedy(model, beside.batch(samples))
    assert beside.distance(samples, run, told) <= CLOSE


def test_the_loop_is_the_rule_of_the_model(zoo):
    """Else the comparison above would be about another model."""
    case_of("qwen3_5")
    module = import_module("transformers.models.qwen3_5.modeling_qwen3_5")
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 5, heads, 8, generator=generator) for heads in (2, 2, 4))
    every = [x.repeat_interleave(2, dim=2) for x in (query, key)]  # heads of values share them
    g = -torch.rand(2, 5, 4, generator=generator)
    beta = torch.rand(2, 5, 4, generator=generator)
    options = {"output_final_state": True, "use_qk_l2norm_in_kernel": True}
    theirs = module.torch_chunk_gated_delta_rule(*every, value, g=g, beta=beta, **options)
    ours = delta_rule(query, key, value, g, beta)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.float(), b.float(), atol=1e-5, rtol=1e-5)
