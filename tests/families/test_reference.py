"""A pruned model computes what the slow reference computes: at prefill, at every decode step, in any batch."""

import pytest
import torch

from families.cases import FAMILIES, greedy
from reference import PLACES, TOLERANCE, Forced, draw_keeps, reference
from transprune import prune
from transprune.core.library import cache_of_output

each_place = pytest.mark.parametrize("places", PLACES, ids=str)
POSITIONS = [(name, policy) for name, case in FAMILIES.items() for policy in case.positions]
each_kind = pytest.mark.parametrize("kind", ["even", "level", "ragged"])


@each_place
@each_kind
def test_keeping_everything_changes_not_a_bit(model, family, kind, places):
    samples = getattr(FAMILIES[family], kind)()
    inputs = FAMILIES[family].batch(samples)
    with torch.no_grad():
        plain, plain_run = model(**inputs).logits, greedy(model, inputs)
        with prune(model, Forced.everything(samples, places)):
            kept, kept_run = model(**inputs).logits, greedy(model, inputs)
    assert torch.equal(kept, plain)
    assert torch.equal(kept_run.sequences, plain_run.sequences)
    assert all(torch.equal(a, b) for a, b in zip(kept_run.logits, plain_run.logits, strict=True))


@pytest.mark.parametrize(("family", "positions"), POSITIONS)
@each_place
@each_kind
def test_pruned_equals_the_oracle_at_every_step(zoo, attn, family, kind, places, positions):
    case, model = FAMILIES[family], zoo(family, attn)
    samples = getattr(case, kind)()
    keeps = [draw_keeps(sample, places) for sample in samples]
    inputs = case.batch(samples)
    with torch.no_grad(), prune(model, Forced.of(samples, keeps), positions=positions) as session:
        full = model(**inputs).logits
        run = greedy(model, inputs)
    steps = torch.stack(run.logits, dim=1)
    new = run.sequences[:, -9:]
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        expected = reference(zoo(family), case.batch([sample]), keep, new[row, :-1], positions)
        length = len(sample.ids)
        torch.testing.assert_close(steps[row], expected[length - 1 :], atol=TOLERANCE, rtol=0)
        alive = ~expected[:length].isnan().any(dim=-1)
        assert int(alive.sum()) == length - sample.visual_tokens + len(keep[max(places)])
        torch.testing.assert_close(
            full[row, -length:][alive], expected[:length][alive], atol=TOLERANCE, rtol=0
        )
        kept = [stage.keep[row].tolist() for stage in session.trace.stages]
        assert kept == [list(keep[boundary]) for boundary in places]


@each_place
def test_each_layer_stores_only_what_is_left(model, family, places):
    samples = FAMILIES[family].ragged()
    keeps = [draw_keeps(sample, places) for sample in samples]
    with torch.no_grad(), prune(model, Forced.of(samples, keeps)) as session:
        cache = cache_of_output(greedy(model, FAMILIES[family].batch(samples), steps=1))
    widths, width = [], max(len(sample.ids) for sample in samples)
    for layer in range(len(cache.layers)):
        if layer in places:
            text = [len(sample.ids) - sample.visual_tokens for sample in samples]
            width = max(t + len(keep[layer]) for t, keep in zip(text, keeps, strict=True))
        widths.append(width)
    assert (
        [layer.keys.shape[-2] for layer in cache.layers] == widths == list(session.trace.kv_lengths)
    )
    stored = sum(
        t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values)
    )
    assert session.trace.kv_bytes == stored


def test_pruning_changes_the_answer(model, family):
    """The other tests would mean nothing if the model did not care."""
    samples = FAMILIES[family].ragged()
    inputs = FAMILIES[family].batch(samples)
    with torch.no_grad():
        plain = model(**inputs).logits[:, -1]
        with prune(
            model, Forced.of(samples, [draw_keeps(sample, PLACES[0]) for sample in samples])
        ):
            pruned = model(**inputs).logits[:, -1]
    assert float((pruned - plain).abs().amax(dim=-1).min()) > 0.1


def test_the_oracle_tells_one_token_from_another(zoo, family):
    """Exchanging one kept token for a dropped one moves the oracle far more than the tolerance."""
    case = FAMILIES[family]
    sample = case.even()[0]
    keep = draw_keeps(sample, PLACES[0])
    other = dict(keep)
    arrived = set(keep[4]) - set(keep[6])
    other[6] = (*keep[6][1:], min(arrived))
    inputs = case.batch([sample])
    difference = (
        reference(zoo(family), inputs, keep)[-1] - reference(zoo(family), inputs, other)[-1]
    )
    assert float(difference.abs().max()) > 100 * TOLERANCE


@each_place
def test_a_padded_batch_equals_each_sample_alone(model, family, places):
    case, samples = FAMILIES[family], FAMILIES[family].ragged()
    keeps = [draw_keeps(sample, places) for sample in samples]
    with torch.no_grad(), prune(model, Forced.of(samples, keeps)):
        together = greedy(model, case.batch(samples))
        alone = [greedy(model, case.batch([sample])) for sample in samples]
    for row, one in enumerate(alone):
        assert torch.equal(together.sequences[row, -9:], one.sequences[0, -9:])
        for a, b in zip(together.logits, one.logits, strict=True):
            torch.testing.assert_close(a[row], b[0], atol=TOLERANCE, rtol=0)


@each_place
def test_decoding_with_the_cache_equals_one_full_forward(model, family, places):
    case, sample = FAMILIES[family], FAMILIES[family].even()[0]
    keep = draw_keeps(sample, places)
    inputs = case.batch([sample])
    with torch.no_grad(), prune(model, Forced.of([sample], [keep])):
        run = greedy(model, inputs)
        whole = {
            **inputs,
            "input_ids": run.sequences[:, :-1],
            "attention_mask": torch.ones_like(run.sequences[:, :-1]),
        }
        if case.token_types:
            whole["mm_token_type_ids"] = torch.nn.functional.pad(
                inputs["mm_token_type_ids"], (0, 8)
            )
        full = model(**whole, use_cache=False).logits
    torch.testing.assert_close(torch.stack(run.logits, dim=1), full[:, -9:], atol=1e-4, rtol=0)


def test_each_image_can_be_pruned_by_itself(zoo, model, family):
    case, sample = FAMILIES[family], FAMILIES[family].ragged()[0]
    first, second = (image.tokens for image in sample.images)
    early, late = tuple(range(0, first, 2)), tuple(range(first, first + second, 3))
    table = {(2, tuple(range(first))): early, (2, tuple(range(first, first + second))): late}
    inputs = case.batch([sample])
    with torch.no_grad(), prune(model, Forced(table), pool="image") as session:
        got = model(**inputs).logits[0, -1]
    assert session.trace.stages[0].keep[0].tolist() == [*early, *late]
    expected = reference(zoo(family), inputs, {2: (*early, *late)})[-1]
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


@each_place
def test_padding_on_the_right_is_no_different(zoo, model, family, places):
    case, samples = FAMILIES[family], FAMILIES[family].ragged()
    keeps = [draw_keeps(sample, places) for sample in samples]
    inputs = case.batch(samples)
    for row, sample in enumerate(samples):  # the padding is on the left: turn it round
        for key in {"input_ids", "attention_mask", "mm_token_type_ids"} & set(inputs):
            inputs[key][row] = inputs[key][row].roll(len(sample.ids))
    with torch.no_grad(), prune(model, Forced.of(samples, keeps)):
        logits = model(**inputs).logits
    for row, (sample, keep) in enumerate(zip(samples, keeps, strict=True)):
        expected = reference(zoo(family), case.batch([sample]), keep)
        alive = ~expected.isnan().any(dim=-1)
        torch.testing.assert_close(
            logits[row, : len(sample.ids)][alive], expected[alive], atol=TOLERANCE, rtol=0
        )


def test_ids_may_come_by_position_and_a_mask_may_be_missing(zoo, model, family):
    case, sample = FAMILIES[family], FAMILIES[family].even()[0]
    keep, inputs = draw_keeps(sample, PLACES[0]), case.batch([sample])
    expected = reference(zoo(family), inputs, keep)[-1]
    del inputs["attention_mask"]
    ids = inputs.pop("input_ids")
    with torch.no_grad(), prune(model, Forced.of([sample], [keep])):
        logits = model(ids, **inputs).logits[0, -1]
        inner = model.model(ids, **inputs).last_hidden_state[:, -1]
    torch.testing.assert_close(logits, expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(model.lm_head(inner)[0], expected, atol=TOLERANCE, rtol=0)
