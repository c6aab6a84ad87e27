"""Prompts, masks, schedules and counts nobody thought of: equivalences that hold for all of them."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from families.cases import FAMILIES, IMAGE
from property.prompts import (
    ATTENTION,
    METHODS,
    NAMES,
    batches,
    kept,
    often,
    samples,
)
from reference import TOLERANCE, reference
from transprune import PDrop, Random, TransPrune, Uniform, VisionZip, prune
from transprune.core.schedule import count_kept
from transprune.methods import FasterVLM, Norm, VisPruner

pytestmark = pytest.mark.filterwarnings("ignore::transprune.errors.PruneWarning")

methods = st.sampled_from(METHODS)


def assert_near(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, atol=2 * TOLERANCE, rtol=0)


# ------------------------------------------------------------------------------------ masks and padding


@often(25)
@given(batches(), methods, ATTENTION, st.sampled_from(["sample", "image"]))
def test_no_padding_and_no_neighbour_changes_a_sample(zoo, batch, method, attention, pool) -> None:
    model = zoo(batch.name, attention)
    stages, logits = kept(model, method, batch.inputs, pool=pool)
    for row, sample in enumerate(batch.samples):
        alone, expected = kept(model, method, batch.single(row), pool=pool)
        assert_near(logits[row, batch.real(row)], expected[0])
        if sample.images:
            assert [keep[row] for keep in stages] == [keep[0] for keep in alone]


@often(15)
@given(batches(most=2), methods, st.integers(0, 2**32))
def test_what_a_mask_hides_is_neither_kept_nor_counted(zoo, batch, method, seed) -> None:
    """What it hides may as well be other words."""
    inputs = batch.inputs
    ids = inputs["input_ids"]
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.rand(ids.shape, generator=generator) < 0.2
    if batch.name == "qwen2_5_vl":
        hidden &= ids < 80  # its own code counts the places of every picture token
    visible = inputs["attention_mask"].bool() & ~hidden
    inputs["attention_mask"] = visible.long()

    model = zoo(batch.name, "sdpa")
    with torch.no_grad(), prune(model, method) as session:
        logits = model(**inputs).logits
    assert session.trace.visual_tokens == tuple((visible & (ids == IMAGE)).sum(dim=1).tolist())
    json.loads(session.trace.to_json(), parse_constant=pytest.fail)

    inputs["input_ids"] = torch.where(hidden & (ids < 80), 7, ids)
    assert_near(kept(model, method, inputs)[1][visible], logits[visible])


@often(15)
@given(st.data(), methods, ATTENTION)
def test_a_mask_of_rows_and_columns_does_what_a_padding_mask_does(
    zoo, data, method, attention
) -> None:
    name = data.draw(NAMES.filter(lambda name: name != "qwen2_5_vl"))  # counts by a padding mask
    inputs = FAMILIES[name].batch([data.draw(samples(name, least=1))])
    length = inputs["input_ids"].shape[1]
    mask = torch.ones(length, length).tril().bool()[None, None]
    # eager attention adds whatever it is given
    if attention == "eager" or data.draw(st.booleans()):
        lowest = torch.finfo(torch.float32).min
        mask = torch.zeros(mask.shape).masked_fill(~mask, lowest)

    model = zoo(name, attention)
    stages, logits = kept(model, method, inputs)
    again, other = kept(model, method, {**inputs, "attention_mask": mask})
    assert again == stages
    assert_near(other, logits)


# ------------------------------------------------------------------------------- schedules and counts


@st.composite
def schedules(draw) -> dict[int, float]:
    """Boundaries of a model of eight layers."""
    boundaries = draw(st.sets(st.integers(1, 7), min_size=1, max_size=4))
    share = st.floats(1e-6, 1.0) | st.sampled_from([1 / 3, 0.1 + 0.2, 1 - 1e-12, 1.0])
    shares = draw(st.lists(share, min_size=len(boundaries), max_size=len(boundaries)))
    return dict(zip(sorted(boundaries), sorted(shares, reverse=True), strict=True))


@often(20)
@given(st.data(), schedules(), st.sampled_from([PDrop, TransPrune, Uniform, Random]))
def test_every_schedule_equals_the_slow_loop(zoo, data, schedule, kind) -> None:
    name = data.draw(NAMES)
    sample = data.draw(samples(name, least=1))
    inputs = FAMILIES[name].batch([sample])
    stages, logits = kept(zoo(name, "sdpa"), kind(schedule), inputs, positions="keep")

    total = sample.visual_tokens
    counts = [len(keep[0]) for keep in stages]
    # the newest token is never dropped, so a picture at the end may keep one more
    spare = int(sample.ids[-1] == IMAGE)
    for count, share in zip(counts, schedule.values(), strict=True):
        wanted = max(1, count_kept(total, share))
        assert wanted <= count <= wanted + spare

    keeps = {place: keep[0] for place, keep in zip(schedule, stages, strict=True)}
    expected = reference(zoo(name), inputs, keeps)
    alive = ~expected.isnan().any(dim=-1)
    assert alive.sum() == len(sample.ids) - total + counts[-1]
    assert_near(logits[0][alive], expected[alive])


@often(15)
@given(st.data(), schedules(), st.sampled_from([PDrop, Uniform, Random]))
def test_a_boundary_where_nothing_goes_changes_nothing(zoo, data, schedule, kind) -> None:
    name = data.draw(NAMES)
    sample = data.draw(samples(name, least=1))
    assume(sample.ids[-1] != IMAGE)  # kept as the newest token beyond the share, it would count
    inputs = FAMILIES[name].batch([sample])
    _, expected = kept(zoo(name, "sdpa"), kind(schedule), inputs)

    free = sorted(set(range(1, 8)) - set(schedule))
    place = data.draw(st.sampled_from(free))
    share = min((schedule[at] for at in schedule if at < place), default=1.0)
    _, logits = kept(zoo(name, "sdpa"), kind({**schedule, place: share}), inputs)
    assert torch.equal(logits, expected)


@often(15)
@given(st.data(), st.integers(1, 200), st.sampled_from([VisionZip, FasterVLM, VisPruner, Norm]))
def test_a_count_is_its_share_and_too_many_is_everything(zoo, data, count, kind) -> None:
    name = data.draw(NAMES)
    sample = data.draw(samples(name, least=1))
    inputs = FAMILIES[name].batch([sample])
    model = zoo(name, "sdpa")

    by_count, logits = kept(model, kind(count), inputs)
    share = min(1.0, count / sample.visual_tokens)
    by_share, other = kept(model, kind(share), inputs)
    assert by_count == by_share
    assert torch.equal(logits, other)

    if count >= sample.visual_tokens:
        with torch.no_grad():
            assert torch.equal(logits, model(**inputs).logits)
