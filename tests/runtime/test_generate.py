"""Everything `generate` can do with a pruned model: sampling, beams, later turns, drafts, no cache, no image."""

import copy
from functools import partial

import pytest
import torch
from transformers import DynamicCache

from families.cases import FAMILIES, IMAGE, Sample, greedy
from reference import PLACES, TOLERANCE, Forced, draw_keeps, reference
from transprune import TransPrune, prune
from transprune.core.library import cache_argument, cache_of_output

each_place = pytest.mark.parametrize("places", PLACES[:2], ids=str)


@pytest.fixture
def case(family):
    return FAMILIES[family]


def session_for(model, samples, places=PLACES[0], **options):
    return prune(
        model, Forced.of(samples, [draw_keeps(sample, places) for sample in samples]), **options
    )


def assert_near(actual, expected, tolerance=TOLERANCE):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


@each_place
def test_each_of_two_sampled_sequences_equals_the_oracle(zoo, model, family, case, places):
    samples = case.ragged()
    torch.manual_seed(0)
    with session_for(model, samples, places):
        run = greedy(model, case.batch(samples), steps=5, do_sample=True, num_return_sequences=2)
    logits = torch.stack(run.logits, dim=1)
    for row in range(4):
        sample = samples[row // 2]
        new = run.sequences[row, -5:-1]
        expected = reference(zoo(family), case.batch([sample]), draw_keeps(sample, places), new)
        assert_near(logits[row], expected[-5:])
    assert not torch.equal(run.sequences[0], run.sequences[1])


@each_place
def test_beams_of_a_batch_equal_those_of_each_sample(model, case, places):
    samples = case.ragged()
    with session_for(model, samples, places):
        together = greedy(model, case.batch(samples), steps=5, num_beams=3, output_scores=True)
        alone = [
            greedy(model, case.batch([s]), steps=5, num_beams=3, output_scores=True)
            for s in samples
        ]
    for row, one in enumerate(alone):
        assert torch.equal(together.sequences[row, -5:], one.sequences[0, -5:])
        assert_near(together.sequences_scores[row], one.sequences_scores[0])


@each_place
def test_beam_scores_are_the_log_probabilities_of_the_oracle(zoo, model, family, case, places):
    samples = case.ragged()
    with session_for(model, samples, places):
        run = greedy(model, case.batch(samples), steps=5, num_beams=3, output_scores=True)
    for row, sample in enumerate(samples):
        new = run.sequences[row, -5:]
        expected = reference(
            zoo(family), case.batch([sample]), draw_keeps(sample, places), new[:-1]
        )[-5:]
        chosen = expected.log_softmax(dim=-1).gather(1, new[:, None])
        assert_near(run.sequences_scores[row], chosen.sum() / 5)


@pytest.mark.parametrize("copied", [False, True], ids=["same cache", "deep copy"])
@each_place
def test_a_second_turn_continues_the_pruned_cache(zoo, model, family, case, places, copied):
    sample = case.even()[0]
    inputs = case.batch([sample])
    with session_for(model, [sample], places):
        first = greedy(model, inputs, steps=4)
        cache = copy.deepcopy(cache_of_output(first)) if copied else cache_of_output(first)
        ids = torch.cat([first.sequences, torch.tensor([[11, 12, 13]])], dim=1)
        second = greedy(model, case.text_turn(ids), steps=4, **cache_argument(model, cache))
    new = second.sequences[0, len(sample.ids) : -1]
    expected = reference(zoo(family), inputs, draw_keeps(sample, places), new)
    assert_near(torch.stack(second.logits, dim=1)[0], expected[-4:])
    if copied:
        stored = cache_of_output(first).layers[-1].keys.shape[-2]
        assert (
            stored == cache.layers[-1].keys.shape[-2] - 7
        )  # 4 answers and 3 new words: the original is untouched


def turn(case, samples, past):
    """Inputs of a turn behind the padding mask `past`: the mask of all turns, and positions that skip the padding."""
    inputs = case.batch(samples)
    mask = torch.cat([past, inputs["attention_mask"]], dim=1)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, past.shape[1] :]
    return {**inputs, "attention_mask": mask, "position_ids": positions}


@pytest.mark.parametrize("positions", ["keep", "renumber"])
@each_place
@pytest.mark.parametrize(
    "family", ["llava", "llava_next"]
)  # for M-RoPE the caller computes 3-D positions
def test_second_images_join_the_pruned_cache_of_a_padded_batch(
    zoo, attn, family, case, places, positions
):
    model = zoo(family, attn)
    turns = (
        [case.sample([0], [3, 2]), case.sample([1], [1, 4], seed=1)],
        [case.sample([1], [2, 3], seed=2), case.sample([2], [4, 9], seed=3)],
        [case.sample([], [2], seed=4), case.sample([], [2], seed=5)],
        [case.sample([], [1], seed=6), case.sample([], [1], seed=7)],
    )
    everyone = [sample for samples in turns[:2] for sample in samples]
    cache, mask, logits = (
        DynamicCache(config=model.config.get_text_config()),
        torch.ones(2, 0, dtype=torch.long),
        [],
    )
    method = Forced.of(everyone, [draw_keeps(sample, places) for sample in everyone])
    with torch.no_grad(), prune(model, method, positions=positions):
        for samples in turns:
            inputs = turn(case, samples, mask)
            mask = inputs["attention_mask"]
            logits.append(model(**inputs, **cache_argument(model, cache), use_cache=True).logits)
    for row, (first, second, third, fourth) in enumerate(zip(*turns, strict=True)):
        joint = Sample(
            (*first.ids, *second.ids, *third.ids, *fourth.ids), (*first.images, *second.images)
        )
        early, late = draw_keeps(first, places), draw_keeps(second, places)
        keeps = {
            b: [*early[b], *(first.visual_tokens + token for token in late[b])] for b in places
        }
        expected = reference(zoo(family), case.batch([joint]), keeps, positions=positions)
        parts = zip(logits, (first, second, third, fourth), strict=True)
        got = torch.cat([rows[row, -len(sample.ids) :] for rows, sample in parts])
        alive = ~expected.isnan().any(dim=-1)
        assert_near(got[alive], expected[alive])


def test_without_a_cache_every_step_prunes_again_and_agrees(model, case):
    samples = case.ragged()
    inputs = case.batch(samples)
    with session_for(model, samples):
        cached, uncached = (
            greedy(model, inputs, steps=5),
            greedy(model, inputs, steps=5, use_cache=False),
        )
    assert torch.equal(cached.sequences, uncached.sequences)
    for a, b in zip(cached.logits, uncached.logits, strict=True):
        assert_near(a, b)


def rows_fed(model, run):
    """Rows of every forward of the language model while `run()` generates, and what it returned."""
    rows = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    try:
        return rows, run()
    finally:
        hook.remove()


@each_place
@pytest.mark.filterwarnings("ignore:Passing `generation_config`")
def test_wrong_drafts_of_an_assistant_are_cut_off_again(zoo, model, family, case, places):
    sample, assistant = case.even()[0], zoo.fresh(family)
    with torch.no_grad():
        assistant.lm_head.weight += 0.3 * torch.randn(
            100, 64, generator=torch.Generator().manual_seed(1)
        )
    assistant.generation_config.assistant_confidence_threshold = 0.0  # draft on, however unsure
    inputs = case.batch([sample])
    with session_for(model, [sample], places):
        plain = greedy(model, inputs, steps=12)
        rows, assisted = rows_fed(
            model, partial(greedy, model, inputs, steps=12, assistant_model=assistant)
        )
    assert torch.equal(plain.sequences, assisted.sequences)
    for a, b in zip(plain.logits, assisted.logits, strict=True):
        assert_near(a, b)
    assert sum(rows[1:]) > 20


def look_up(model, case, drafts):
    """Rows fed in each forward of a run with drafts from the prompt, which must leave the answer as it is."""
    sample = case.even()[0]
    with session_for(model, [sample]):
        plain = greedy(model, case.batch([sample]), steps=12)
        lookup = partial(
            greedy, model, case.batch([sample]), steps=12, prompt_lookup_num_tokens=drafts
        )
        rows, assisted = rows_fed(model, lookup)
    assert torch.equal(plain.sequences, assisted.sequences)
    return rows


@pytest.mark.parametrize("drafts", [2, 5])
def test_prompt_lookup_leaves_the_greedy_answer(model, case, drafts):
    look_up(model, case, drafts)


def test_accepted_drafts_save_forwards(zoo):
    """Whether a draft is right depends on the random weights; those of this family accept some."""
    assert len(look_up(zoo("llava", "sdpa"), FAMILIES["llava"], 5)) < 12


def test_a_prompt_without_an_image_is_untouched(model, case):
    inputs = case.batch([case.sample([], [7]), case.sample([], [4], seed=1)])
    plain = greedy(model, inputs)
    with prune(model, TransPrune.high()) as session:
        text = greedy(model, inputs)
    assert torch.equal(text.sequences, plain.sequences)
    assert all(torch.equal(a, b) for a, b in zip(text.logits, plain.logits, strict=True))
    assert session.trace.stages == ()
    assert session.trace.visual_tokens == (0, 0)
    assert any("no image" in note for note in session.trace.notes)


def test_a_sample_without_an_image_beside_one_with(zoo, model, family, case):
    with_image, text = case.even()[0], case.sample([], [5], seed=3)
    keep = draw_keeps(with_image, PLACES[0])
    with prune(model, Forced.of([with_image], [keep])) as session:
        run = greedy(model, case.batch([with_image, text]))
    logits = torch.stack(run.logits, dim=1)
    for row, (sample, kept) in enumerate([(with_image, keep), (text, {})]):
        expected = reference(zoo(family), case.batch([sample]), kept, run.sequences[row, -9:-1])
        assert_near(logits[row], expected[-9:])
    assert session.trace.visual_tokens == (with_image.visual_tokens, 0)


def test_a_sampled_image_id_is_no_image(zoo, model, family, case):
    sample = case.even()[0]
    keep, inputs = draw_keeps(sample, PLACES[0]), case.batch([sample])
    with session_for(model, [sample]) as session:
        first = greedy(model, inputs, steps=2)
        trace = session.trace
        ids = torch.cat([first.sequences, torch.tensor([[IMAGE, IMAGE]])], dim=1)
        second = greedy(
            model, case.text_turn(ids), steps=2, **cache_argument(model, cache_of_output(first))
        )
    assert session.trace is trace
    expected = reference(zoo(family), inputs, keep, second.sequences[0, len(sample.ids) : -1])
    assert_near(torch.stack(second.logits, dim=1)[0], expected[-2:])


@pytest.mark.parametrize(
    "family", ["llava", "llava_next"]
)  # Qwen's own rope_deltas do not follow, pruned or not
def test_samples_of_a_cache_can_change_places(zoo, attn, family, case):
    model, samples, new = zoo(family, attn), case.level(), torch.tensor([[11], [12]])
    with session_for(model, samples), torch.no_grad():
        first = greedy(model, case.batch(samples), steps=2)
        cache = cache_of_output(first)
        cache.reorder_cache(torch.tensor([1, 0]))
        turn = case.text_turn(torch.cat([first.sequences.flip(0), new], dim=1))
        second = greedy(model, turn, steps=3, **cache_argument(model, cache))
    for row, sample in enumerate(reversed(samples)):
        behind = second.sequences[row, len(sample.ids) : -1]
        expected = reference(
            zoo(family), case.batch([sample]), draw_keeps(sample, PLACES[0]), behind
        )
        assert_near(torch.stack(second.logits, dim=1)[row], expected[-3:])


@pytest.mark.parametrize(
    "family", ["llava", "llava_next"]
)  # Qwen's own rope_deltas do not follow, pruned or not
def test_a_batch_of_one_prompt_can_be_repeated_from_its_cache(zoo, attn, family, case):
    """`batch_repeat_interleave` and `batch_select_indices`, as users do with a shared prefix."""
    model = zoo(family, attn)
    sample = case.even()[0]
    inputs, keep = case.batch([sample]), draw_keeps(sample, PLACES[0])
    new = torch.tensor([[11], [12], [13]])
    with session_for(model, [sample]), torch.no_grad():
        cache = cache_of_output(greedy(model, inputs, steps=1))
        cache.batch_repeat_interleave(3)
        mask = torch.ones(3, len(sample.ids) + 1, dtype=torch.long)
        got = model(input_ids=new, attention_mask=mask, **cache_argument(model, cache)).logits[
            :, -1
        ]
        cache.crop(-1)
        cache.batch_select_indices(torch.tensor([2, 0]))
        again = model(
            input_ids=new[[2, 0]], attention_mask=mask[:2], **cache_argument(model, cache)
        ).logits[:, -1]
    for row in range(3):
        assert_near(got[row], reference(zoo(family), inputs, keep, new[row])[-1])
    assert_near(again, got[[2, 0]])
