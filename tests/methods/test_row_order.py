"""Methods with an order of their own: merged tokens stand where their codes put them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from families.cases import FAMILIES, greedy
from reference import TOLERANCE
from transprune import Compose, TransPrune, Uniform, VisionZip, prune
from transprune.core.schedule import Schedule
from transprune.core.views import Selection
from transprune.errors import MethodError
from transprune.methods import PACT, LayerPruner, SparseVLM

LINEAR = ["llava", "llava_next", "vipllava"]  # positions that can be renumbered


@dataclass(frozen=True)
class Shuffled(LayerPruner):
    """Keeps what a table says, (boundary, tokens that arrive) -> tokens in the order of their rows."""

    table: Mapping[tuple[int, int], tuple[int, ...]]

    name: ClassVar[str] = "shuffled"

    def schedule(self, num_layers):
        return Schedule({boundary: 1.0 for boundary, _ in self.table})

    def score(self, view, carry):
        raise NotImplementedError

    def select(self, view, carry=None):
        there = view.candidates.tolist()
        wanted = self.table[view.boundary, view.total]
        rows = torch.tensor([there.index(token) for token in wanted])
        keep, _ = rows.sort()
        return Selection(keep, order=torch.searchsorted(keep, rows))


def draw(tokens: int, shares: Mapping[int, float]) -> dict[int, tuple[int, ...]]:
    """Random tokens in random order, each boundary's among those of the one before."""
    generator = torch.Generator().manual_seed(tokens)
    here = torch.arange(tokens)
    drawn = {}
    for boundary, share in shares.items():
        here = here[torch.randperm(len(here), generator=generator)[: int(tokens * share)]]
        drawn[boundary] = tuple(here.tolist())
    return drawn


@torch.no_grad()
def slow(model, inputs, orders: Mapping[int, Sequence[int]]) -> torch.Tensor:
    """Logits of the rows that are left, of one unpadded prompt: a causal loop over rows in their order."""
    decoder = model.get_decoder()
    seen = {}
    hook = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    model(**inputs, use_cache=False)
    hook.remove()
    hidden = seen["inputs_embeds"]
    visual = (inputs["input_ids"][0] == model.config.image_token_id).nonzero().flatten()
    running = torch.arange(hidden.shape[1])

    for index, layer in enumerate(decoder.layers):
        if index in orders:
            kept = [int(visual[token]) for token in orders[index]]
            places = {slot: row for row, slot in enumerate(running.tolist())}
            block = torch.isin(running, visual).nonzero().flatten()
            rows = [
                *range(int(block[0])),
                *[places[slot] for slot in kept],
                *range(int(block[-1]) + 1, len(running)),
            ]
            hidden, running = hidden[:, rows], running[rows]
        count = len(running)
        mask = torch.full((count, count), torch.finfo(hidden.dtype).min).triu(1)
        positions = torch.arange(count)[None]
        hidden = layer(
            hidden,
            attention_mask=mask[None, None],
            position_embeddings=decoder.rotary_emb(hidden, positions),
            position_ids=None,
        )
    return model.get_output_embeddings()(decoder.norm(hidden))[0]


@pytest.mark.parametrize("family", LINEAR)
@pytest.mark.parametrize("shares", [{2: 0.8, 4: 0.5, 6: 0.2}, {1: 0.9, 7: 0.3}], ids=str)
def test_rows_run_in_the_order_of_the_method(zoo, family, attn, shares):
    case = FAMILIES[family]
    samples = [case.sample([0], [3, 6]), case.sample([1], [1, 9], seed=1)]  # ragged once pruned
    table, drawn = {}, []
    for sample in samples:
        orders = draw(sample.visual_tokens, shares)
        drawn.append(orders)
        # `view.total` is that of the batch's group, which is one sample here
        table |= {(boundary, sample.visual_tokens): order for boundary, order in orders.items()}
    with (
        torch.no_grad(),
        prune(zoo(family, attn), Shuffled(table), positions="renumber") as session,
    ):
        logits = zoo(family, attn)(**case.batch(samples)).logits[:, -1]
    for row, (sample, orders) in enumerate(zip(samples, drawn, strict=True)):
        expected = slow(zoo(family), case.batch([sample]), orders)[-1]
        torch.testing.assert_close(logits[row], expected, atol=TOLERANCE, rtol=0)
        for stage in session.trace.stages:
            assert stage.keep[row].tolist() == list(orders[stage.boundary])


@pytest.mark.parametrize("family", LINEAR)
def test_decoding_goes_on_in_that_order(zoo, family):
    case = FAMILIES[family]
    sample = case.sample([0], [3, 6])
    orders = draw(sample.visual_tokens, {2: 0.8, 5: 0.4})
    table = {(boundary, sample.visual_tokens): order for boundary, order in orders.items()}
    model, inputs = zoo(family, "sdpa"), case.batch([sample])
    with torch.no_grad(), prune(model, Shuffled(table), positions="renumber"):
        run = greedy(model, inputs, steps=5)
        whole = {**inputs, "input_ids": run.sequences[:, :-1]}
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
    expected = slow(zoo(family), whole, orders)[-5:]
    torch.testing.assert_close(torch.cat(run.logits), expected, atol=5e-5, rtol=0)


def test_dropped_tokens_are_zero_at_their_own_places(zoo):
    case = FAMILIES["llava"]
    sample = case.sample([0], [3, 6])
    table = {(2, 16): (9, 3, 11)}
    model, inputs = zoo("llava", "sdpa"), case.batch([sample])
    with torch.no_grad(), prune(model, Shuffled(table), positions="renumber"):
        hidden = model.model(**inputs).last_hidden_state[0, 3:19]
    zero = model.get_decoder().norm(torch.zeros(1, 64))[0]
    alive = (hidden != zero).any(dim=-1).nonzero().flatten()
    assert alive.tolist() == [3, 9, 11]


@pytest.mark.parametrize(
    "method", [SparseVLM({2: 0.75, 4: 0.5, 6: 0.2}), VisionZip(0.5)], ids=lambda m: m.name
)
def test_merged_tokens_come_last(zoo, method):
    model, case = zoo("llava_next", "sdpa"), FAMILIES["llava_next"]
    inputs = case.batch(case.even()[:1])
    keeps = {}
    for policy in ("renumber", "keep"):
        with torch.no_grad(), prune(model, method, positions=policy) as session:
            model(**inputs)
        keeps[policy] = session.trace.stages[0].keep[0].tolist()
    assert sorted(keeps["renumber"]) == keeps["keep"]  # the same tokens
    assert keeps["renumber"] != keeps["keep"]


@pytest.mark.parametrize("family", LINEAR)
def test_in_place_is_what_positions_that_are_kept_do(zoo, family):
    model, case = zoo(family, "sdpa"), FAMILIES[family]
    inputs = case.batch(case.ragged())
    keep = {2: 0.75, 4: 0.5, 6: 0.2}
    with torch.no_grad(), prune(model, SparseVLM(keep, order="in_place")) as session:
        model(**inputs)
    for stage in session.trace.stages:
        for kept in stage.keep:
            assert kept.tolist() == sorted(kept.tolist())


def test_a_later_method_sees_the_tokens_it_is_given(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    inputs = case.batch(case.ragged())
    parts = [SparseVLM({2: 0.6}), TransPrune({4: 0.5, 6: 0.2}), Uniform({7: 0.5})]
    with torch.no_grad(), prune(model, Compose(parts), positions="renumber") as session:
        greedy(model, inputs, steps=3)
    arrived = session.trace.stages[0].keep
    for stage in session.trace.stages[1:]:
        for here, before in zip(stage.candidates, arrived, strict=True):
            assert here.tolist() == before.tolist()
        arrived = stage.keep


def test_keys_that_are_weighed_have_no_order(zoo):
    model, case = zoo("llava", "sdpa"), FAMILIES["llava"]
    both = Compose([PACT(layer=2), SparseVLM({4: 0.5})])
    with (
        torch.no_grad(),
        prune(model, both, positions="renumber"),
        pytest.raises(MethodError, match="in_place"),
    ):
        model(**case.batch(case.even()[:1]))


def test_an_unknown_order_is_refused():
    with pytest.raises(MethodError, match="official"):
        SparseVLM(order="behind")
    with pytest.raises(MethodError, match="official"):
        VisionZip(order="behind")
