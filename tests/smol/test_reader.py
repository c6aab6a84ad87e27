"""LLaVA around a language model of SmolLM2's shape: packed prompts, a frozen model, a loadable folder."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import transprune
from smol.little import little_tokenizer, little_world
from transprune.errors import CheckpointError, TrainingError
from transprune.nano.packed import layer_forward
from transprune.nano.train.loop import run_stage
from transprune.smol import adapter
from transprune.smol.adapter import save_adapter, with_adapter
from transprune.smol.architecture import (
    CHAT_TEMPLATE,
    IMAGE,
    RESERVED,
    assemble,
    image_tokenizer,
    new_processor,
)
from transprune.smol.asker import PLACES, Asker
from transprune.smol.evaluate import evaluate
from transprune.smol.low_rank import LowRank
from transprune.smol.packing import answer_logits, pack, right_answers
from transprune.smol.questions import ask_all
from transprune.smol.scenes import draw, question_rng
from transprune.smol.talk import answer_all
from transprune.smol.train import dialogues, fitted, home, reader, run
from transprune.smol.train.describe import descriptions
from transprune.smol.train.dialogues import make_dialogues
from transprune.smol.train.fitted import fit
from transprune.smol.train.labels import Labels, all_names, batch_labels
from transprune.smol.train.reader import ReaderSettings, ReaderStage
from transprune.smol.train.recipe import LITTLE_READER, MINIATURE
from transprune.smol.train.words import WordsSettings, WordsStage, spoken, vocabulary
from transprune.smol.vision import TowerSizes, new_tower

CPU = torch.device("cpu")
WORLD = little_world()
POOL = list(WORLD.kinds.names)

OWN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = little_tokenizer()
    tokenizer.chat_template = OWN_TEMPLATE
    return tokenizer


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Few scenes to fit the projector, few dialogues, and nothing compiled."""
    monkeypatch.setattr(fitted, "_SCENES", 2)
    monkeypatch.setattr(reader, "compiled_layer", lambda: layer_forward)
    monkeypatch.setattr(run, "make_dialogues", few_dialogues)


def few_dialogues(model, tokenizer):
    """Twelve tokens each, as a model that never learnt to end its turn does not end it."""
    return torch.randint(4, 260, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def language():
    """SmolLM2's shape in small: 9 query heads, 3 key heads, tied embeddings."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=36,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=9,
        num_key_value_heads=3,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return image_tokenizer(byte_tokenizer())


@pytest.fixture
def model(language, tokenizer):
    torch.manual_seed(1)
    tower = new_tower(TowerSizes(width=32, mlp=64, layers=2, heads=2))
    llava = assemble(language, tower, tokenizer)
    fit(llava, WORLD)
    return llava


@pytest.fixture(scope="module")
def asked():
    """Two scenes with their questions."""
    scenes = [draw(WORLD, "train", number) for number in (3, 5)]
    questions = [ask_all(Asker(scene, POOL, question_rng("train", 0)), 1) for scene in scenes]
    return scenes, questions


def pixels_of(scenes) -> torch.Tensor:
    return torch.stack([torch.from_numpy(scene.pixels) for scene in scenes])


def test_the_reserved_token_is_renamed_and_nothing_else(tokenizer) -> None:
    before = byte_tokenizer()
    assert tokenizer.convert_tokens_to_ids(IMAGE) == before.convert_tokens_to_ids(RESERVED)
    assert len(tokenizer) == len(before)
    text = "<|im_start|>user\nHow many? 42<|im_end|>"
    assert tokenizer(text).input_ids == before(text).input_ids
    with pytest.raises(CheckpointError, match="reserved token"):
        image_tokenizer(tokenizer)


def test_text_without_pictures_is_worded_as_before(tokenizer) -> None:
    """The template keeps SmolLM2's own format, system text and all."""
    conversation = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "What is 2 + 3?"},
    ]
    own = byte_tokenizer().apply_chat_template(
        conversation, tokenize=False, add_generation_prompt=True
    )
    ours = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    assert ours == own
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_the_language_model_still_talks(model, language, tokenizer) -> None:
    """Its weights are the same bits, and its answers the same words."""
    state = model.model.language_model.state_dict()
    assert all(
        torch.equal(value, state[name]) for name, value in language.model.state_dict().items()
    )
    prompts = ["Hello.", "What is 2 + 3?"]
    assert answer_all(model, tokenizer, prompts) == answer_all(language, byte_tokenizer(), prompts)


def test_packed_answers_are_those_of_single_prompts(model, tokenizer, asked) -> None:
    """Every supervised token of every branch, against the processor and the model as users run them."""
    scenes, questions = asked
    packed = pack(pixels_of(scenes), questions, tokenizer)
    with torch.no_grad():
        logits = answer_logits(model, tokenizer, packed)

    processor = new_processor(tokenizer)
    start = 0
    for scene, some in zip(scenes, questions, strict=True):
        for question in some:
            content = [{"type": "image"}, {"type": "text", "text": question.text}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            end = tokenizer.eos_token
            inputs = processor(scene.image(), prompt + question.answer + end, return_tensors="pt")
            answer = tokenizer(question.answer + end, add_special_tokens=False).input_ids
            with torch.no_grad():
                single = model(**inputs).logits[0, -len(answer) - 1 : -1]

            own = logits[start : start + len(answer)]
            torch.testing.assert_close(own, single, atol=2e-4, rtol=1e-4)
            start += len(answer)
    assert start == len(logits)


def test_padding_changes_nothing(model, tokenizer, asked) -> None:
    """A batch equals its pictures, though one has fewer and shorter questions."""
    scenes, questions = asked
    fewer = [questions[0], questions[1][:3]]
    with torch.no_grad():
        both = answer_logits(model, tokenizer, pack(pixels_of(scenes), fewer, tokenizer))
        each = [
            answer_logits(model, tokenizer, pack(pixels_of([scene]), [some], tokenizer))
            for scene, some in zip(scenes, fewer, strict=True)
        ]
    torch.testing.assert_close(both, torch.cat(each), atol=1e-4, rtol=1e-4)


def test_slots_group_questions_by_length(model, tokenizer, asked) -> None:
    """Short and long branches apart give each question the predictions it has alone."""
    scenes, questions = asked
    lengths = [len(tokenizer(question.text).input_ids) for question in questions[0]]
    middle = sorted(lengths)[len(lengths) // 2] + 60
    whole = pack(pixels_of(scenes[:1]), questions[:1], tokenizer)
    grouped = pack(
        pixels_of(scenes[:1]), questions[:1], tokenizer, slots=((len(lengths), middle), (9, 400))
    )
    assert sorted(grouped.targets.tolist()) == sorted(whole.targets.tolist())

    with torch.no_grad():
        expected = right_answers(answer_logits(model, tokenizer, whole), whole)
        assert right_answers(answer_logits(model, tokenizer, grouped), grouped) == expected
    assert set(expected[0]) == set(range(len(questions[0])))


def test_a_question_without_a_free_slot_is_left_out(tokenizer, asked) -> None:
    scenes, questions = asked
    packed = pack(pixels_of(scenes), questions, tokenizer, slots=((2, 400),))
    found = right_answers(torch.zeros(len(packed.targets), 260), packed)
    assert [len(row) for row in found] == [2, 2]


def test_kept_tokens_are_those_of_a_pruned_model(model, tokenizer, asked) -> None:
    """Fewer visual tokens in their own positions: what pruning in front of the model does."""
    scenes, questions = asked
    kept = torch.arange(0, 576, 5)
    packed = pack(pixels_of(scenes[:1]), [questions[0][:1]], tokenizer)
    processor = new_processor(tokenizer)
    content = [{"type": "image"}, {"type": "text", "text": questions[0][0].text}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    answer = questions[0][0].answer + tokenizer.eos_token
    inputs = processor(scenes[0].image(), prompt + answer, return_tensors="pt")
    picture = inputs["input_ids"][0] == model.config.image_token_index
    seen = ~picture
    seen[picture.nonzero()[kept, 0]] = True

    with torch.no_grad():
        embeds = model.get_input_embeddings()(inputs["input_ids"])
        features = model.get_image_features(inputs["pixel_values"]).pooler_output
        embeds[0, picture] = torch.cat(tuple(features))
        positions = seen.nonzero()[:, 0][None]
        states = model.model.language_model(
            inputs_embeds=embeds[:, seen], position_ids=positions
        ).last_hidden_state
        length = len(tokenizer(answer, add_special_tokens=False).input_ids)
        expected = model.lm_head(states)[0, -length - 1 : -1]
        own = answer_logits(model, tokenizer, packed, kept=kept[None])
    torch.testing.assert_close(own, expected, atol=2e-4, rtol=1e-4)


def test_right_answers_are_whole_answers(tokenizer, asked) -> None:
    scenes, questions = asked
    packed = pack(pixels_of(scenes), questions, tokenizer)
    perfect = torch.nn.functional.one_hot(packed.targets, 260).float()
    right = right_answers(perfect, packed)
    assert [len(row) for row in right] == [len(some) for some in questions]
    assert all(all(row.values()) for row in right)

    # one wrong token spoils its answer and no other
    perfect[0] = 0
    wrong = [
        (row, number)
        for row, found in enumerate(right_answers(perfect, packed))
        for number, verdict in found.items()
        if not verdict
    ]
    assert wrong == [(0, 0)]


def test_patches_say_what_they_show(language, tokenizer) -> None:
    """Two things: names, a colour, characters and places go in, and the nearest words are theirs."""
    names = all_names(WORLD.kinds.names)
    words = vocabulary(language.model, tokenizer, names)
    labels = batch_labels([draw(WORLD, "train", 3)], {name: n for n, name in enumerate(names)})
    said = spoken(words, labels)
    assert said.shape == (1, 576, language.config.hidden_size)

    # of one patch alone: a red thing, far right and as large as things get
    far = torch.tensor([[[1.0, 0.0, 0.357, 0.357]]]).expand(1, 576, 4)
    one = Labels(
        labels.pixels,
        torch.full((1, 576), 4),
        torch.full((1, 576), -100),
        torch.zeros(1, 576, 37),
        far,
    )
    token = spoken(words, one)[0, 0]
    plain = words.names[4] + 0.6 * (
        (2 * (7 + 112) / 336 - 1) * words.across + (2 * 7 / 336 - 1) * words.down
    )
    torch.testing.assert_close(token, plain + 0.5 * words.extent, atol=2e-3, rtol=1e-3)


def test_the_words_stage_trains_the_projector_alone(model, tokenizer, tmp_path) -> None:
    before = copy.deepcopy(model.state_dict())
    settings = WordsSettings(scenes=3, steps=8, batch=60, warmup=1)
    stage = WordsStage(model, tokenizer, WORLD, settings, CPU)
    log = []
    assert run_stage(stage, tmp_path, lambda name, step, of, found: log.append(found))
    changed = {
        name.rpartition(".")[0]
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {
        "model.multi_modal_projector.linear_1",
        "model.multi_modal_projector.linear_2",
    }
    assert {"things", "ground", "name"} <= set(log[-1])


def new_stage(language, tokenizer, **settings) -> ReaderStage:
    torch.manual_seed(1)
    tower = new_tower(TowerSizes(width=32, mlp=64, layers=2, heads=2))
    llava = assemble(language, tower, tokenizer)
    fit(llava, WORLD)
    llava.model.language_model.to(torch.bfloat16)
    llava.lm_head.to(torch.bfloat16)
    low_rank = LowRank(llava.model.language_model, 2)
    wanted = ReaderSettings("reader", batch=1, per_category=1, warmup=1, **settings)
    return ReaderStage(llava, low_rank, tokenizer, few_dialogues(None, None), WORLD, wanted, CPU)


def test_projector_and_update_learn_and_nothing_else(language, tokenizer, tmp_path) -> None:
    stage = new_stage(language, tokenizer, steps=4, slots=((9, 200),))
    before = copy.deepcopy(stage._model.state_dict())
    log = []
    assert run_stage(stage, tmp_path, lambda name, step, of, found: log.append(found))

    after = stage._model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all("multi_modal_projector" in name for name in changed)
    ups = [value for name, value in stage.module.state_dict().items() if name.endswith("_up")]
    assert all(up.abs().sum() > 0 for up in ups)
    assert {"loss", "answers", "talk", "exist", "where"} <= set(log[-1])


def draw_train(number: int):
    return draw(WORLD, "train", number)


def test_descriptions_tell_what_is_shown_and_nothing_else() -> None:
    scene = next(found for found in map(draw_train, range(9)) if len(found.things) > 3)
    rng = np.random.default_rng(0)
    shown = [2, 0]
    *single, picture = descriptions(scene, rng, 4, shown)

    places = {place for row in PLACES for place in row}
    for question in single:
        (number,) = question.things
        thing = scene.things[number]
        place, size, *more = question.answer.split(", ")
        assert number in shown and thing.name in question.text
        assert place in places and size in ("small", "middle-sized", "large")
        assert more == [thing.color] * (thing.color is not None) + [f"says {thing.word}"] * (
            thing.word is not None
        )

    left, right = sorted(shown, key=lambda number: scene.things[number].middle[0])
    first, second = picture.answer.split(", ")
    assert first.startswith(scene.things[left].name)
    assert second.startswith(scene.things[right].name)
    assert picture.things == (left, right)
    assert descriptions(scene, rng, 4, []) == []


def test_only_one_thing_is_shown_and_asked_about(language, tokenizer) -> None:
    stage = new_stage(language, tokenizer, steps=1, shown=1, tokens=24)
    batch = stage.prepare(0)
    scene = draw(WORLD, "train", stage.settings.first_scene)
    seen = set(scene.owner[batch.kept[0].numpy()].tolist())
    assert len(seen - {-1}) == 1  # a large thing leaves no room for the ground
    about = {number for question in batch.asked[0] for number in question.things}
    assert about == seen - {-1}


def test_several_views_of_a_picture_are_as_many_pictures(language, tokenizer) -> None:
    """Things in turn, each view with questions of its own; predictions as of pictures apart."""
    first = next(number for number in range(99) if len(draw_train(number).things) > 2)
    settings = {"first_scene": first, "shown": 1, "tokens": 24, "slots": ((9, 200),)}
    stage = new_stage(language, tokenizer, steps=1, views=3, **settings)
    batch = stage.prepare(0)
    assert len(batch.packed.pixels) == 1 and batch.pictures.tolist() == [0, 0, 0]

    scene = draw_train(stage.settings.first_scene)
    shown = [{scene.owner[token] for token in kept} - {-1} for kept in batch.kept.tolist()]
    assert list(map(len, shown)) == [1, 1, 1] and len(set.union(*shown)) == 3
    for (thing,), questions in zip(shown, batch.asked, strict=True):
        assert {number for question in questions for number in question.things} == {thing}

    apart = pack(batch.packed.pixels.expand(3, -1, -1, -1), batch.asked, tokenizer, ((9, 200),))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = [
            answer_logits(stage._model, tokenizer, packed, kept=batch.kept, pictures=pictures)
            for packed, pictures in ((batch.packed, batch.pictures), (apart, None))
        ]
    torch.testing.assert_close(*found)
    assert len(right_answers(found[0], batch.packed)) == 3

    two = next(scene for scene in map(draw_train, range(99)) if len(scene.things) == 2)
    few = new_stage(language, tokenizer, steps=1, views=2, shown=3)
    shown = few._shown(two, np.random.default_rng(0))
    assert [sorted(view) for view in shown] == [[0, 1], [0, 1]]


def test_what_is_kept_are_things_first(language, tokenizer) -> None:
    stage = new_stage(language, tokenizer, steps=1, tokens=200)
    batch = stage.prepare(0)
    scene = draw(WORLD, "train", stage.settings.first_scene)
    kept = batch.kept[0].tolist()
    assert len(kept) == 200 and kept == sorted(set(kept))
    assert set((scene.owner >= 0).nonzero()[0].tolist()) <= set(kept)


def test_without_an_update_nothing_diverges(language, tokenizer) -> None:
    stage = new_stage(language, tokenizer, steps=1)

    def talk() -> float:
        # a new context each time, as in training: within one, rounded weights are kept
        with torch.autocast("cpu", torch.bfloat16):
            return stage._talk(0).item()

    assert abs(talk()) < 1e-6
    for name, factor in stage.module["low_rank"].factors.items():
        if name.endswith("_up"):
            torch.nn.init.normal_(factor, std=0.2)
    assert talk() > 1e-3


def test_dialogues_begin_like_the_template(language) -> None:
    """A random model that ends its turns now and then: rows of both turns, padded to one length."""
    torch.manual_seed(0)
    made = make_dialogues(language, byte_tokenizer(), count=3, length=400, seed=1)
    assert made.shape == (3, 400)
    text = byte_tokenizer().decode(made[0]).replace(" ", "")
    assert text.startswith("<|im_start|>systemĊYouĠare") and "<|im_start|>assistantĊ" in text
    assert torch.equal(made, make_dialogues(language, byte_tokenizer(), 3, 400, seed=1))


def test_a_model_that_never_ends_its_turn_makes_no_dialogues(language, monkeypatch) -> None:
    monkeypatch.setattr(dialogues, "_ROUNDS", 2)
    monkeypatch.setattr(dialogues, "_continue", lambda model, tokenizer, rows, most: rows)
    with pytest.raises(TrainingError, match="0 of 64"):
        make_dialogues(language, byte_tokenizer(), count=3, length=40)


def test_stopped_and_resumed_ends_the_same(language, tokenizer, tmp_path) -> None:
    ends = []
    for cuts in ((), (2,)):
        folder = tmp_path / str(len(cuts))
        folder.mkdir()
        for steps in (*cuts, None):
            stage = new_stage(language, tokenizer, steps=3, tokens=96, slots=((9, 200),))
            run_stage(stage, folder, lambda *step: None, steps)
        ends.append(stage.module.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_saved_model_is_an_ordinary_checkpoint_and_can_be_pruned(
    model, tokenizer, asked, tmp_path
) -> None:
    """576 visual tokens, loaded by transformers alone, pruned like any LLaVA."""
    model.save_pretrained(tmp_path)
    new_processor(tokenizer).save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(tmp_path, backend="pil")

    scenes, questions = asked
    content = [{"type": "image"}, {"type": "text", "text": questions[0][0].text}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    inputs = processor(scenes[0].image(), prompt, return_tensors="pt")
    assert (inputs["input_ids"] == loaded.config.image_token_index).sum() == 576
    with torch.no_grad():
        expected = model(**inputs).logits
        torch.testing.assert_close(loaded(**inputs).logits, expected)
        with transprune.prune(loaded, transprune.FastV(layer=2, keep_ratio=0.125)) as session:
            loaded(**inputs)
    (stage,) = session.trace.stages
    assert (stage.boundary, len(stage.candidates[0]), len(stage.keep[0])) == (2, 576, 72)


def test_evaluating_counts_what_single_answers_count(model, tokenizer) -> None:
    """Questions as drawn here, one by one, give the same figures."""
    scores = evaluate(model, tokenizer, WORLD, "validation", 1, unseen=True, held_out=True)
    names = [WORLD.kinds.names[kind] for kind in WORLD.kinds.by_split["validation"]]
    scene = draw(WORLD, "validation", 0, unseen=True)
    asker = Asker(scene, names, question_rng("validation", 0, True), True)
    asked, right = 0, 0
    for question in ask_all(asker, 2):
        packed = pack(pixels_of([scene]), [[question]], tokenizer)
        with torch.no_grad():
            (found,) = right_answers(answer_logits(model, tokenizer, packed), packed)
        right += found[0]
        asked += 1
    tallies = scores.categories.values()
    assert (sum(tally.asked for tally in tallies), sum(tally.right for tally in tallies)) == (
        asked,
        right,
    )
    assert scores.to_dict()["unseen"] is True

    # blanking a picture changes no question
    seen = evaluate(model, tokenizer, WORLD, "validation", 1)
    blank = evaluate(model, tokenizer, WORLD, "validation", 1, blank=True)
    for name, tally in seen.categories.items():
        assert blank.categories[name].asked == tally.asked


def test_an_adapter_is_put_back_and_another_language_model_refused(
    model, language, tokenizer, tmp_path
) -> None:
    sizes = TowerSizes(width=32, mlp=64, layers=2, heads=2)
    low_rank = LowRank(model.model.language_model, 2)
    for factor in low_rank.factors.values():
        torch.nn.init.normal_(factor, std=0.1)
    save_adapter(model, low_rank, sizes, "abc", tmp_path)

    again = with_adapter(language, tokenizer, tmp_path, "abc").state_dict()
    expected = copy.deepcopy(model).bfloat16().float()
    expected.model.language_model.load_state_dict(language.model.state_dict())
    low_rank.bfloat16().float().add_to(expected.model.language_model)
    for name, value in expected.state_dict().items():
        if not name.startswith("lm_head"):  # shared with the embeddings
            torch.testing.assert_close(again[name], value, msg=name)
    changed = language.model.layers[0].mlp.up_proj.weight
    assert not torch.equal(again["model.language_model.layers.0.mlp.up_proj.weight"], changed)

    with pytest.raises(CheckpointError, match="transprune smol language"):
        with_adapter(language, tokenizer, tmp_path, "def")
    with pytest.raises(CheckpointError, match="no adapter in"):
        with_adapter(language, tokenizer, tmp_path / "nowhere", "abc")
    save_adapter(model, LowRank(model.model.language_model, 3), sizes, "abc", tmp_path)
    about = json.loads((tmp_path / "adapter.json").read_text()) | {"rank": 2}
    (tmp_path / "adapter.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="another architecture"):
        with_adapter(language, tokenizer, tmp_path, "abc")
    with (tmp_path / adapter.WEIGHTS).open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="has the checksum"):
        with_adapter(language, tokenizer, tmp_path, "abc")


def test_a_low_rank_update_is_the_same_added_or_not(model, tokenizer, asked) -> None:
    scenes, questions = asked
    packed = pack(pixels_of(scenes), questions, tokenizer)
    low_rank = LowRank(model.model.language_model, 2)
    with torch.no_grad():
        plain = answer_logits(model, tokenizer, packed)
        torch.testing.assert_close(
            answer_logits(model, tokenizer, packed, weights=low_rank.weights), plain
        )
        for factor in low_rank.factors.values():
            torch.nn.init.normal_(factor, std=0.2)
        apart = answer_logits(model, tokenizer, packed, weights=low_rank.weights)
        low_rank.add_to(model.model.language_model)
        added = answer_logits(model, tokenizer, packed)
    torch.testing.assert_close(apart, added, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain, added, atol=1e-2)


def test_all_of_it_from_two_folders_to_a_checkpoint(
    language, tokenizer, monkeypatch, tmp_path
) -> None:
    """Tower, reader, adapter, model: stopped within the tower, and continued."""
    monkeypatch.setattr(home, "TOWER", MINIATURE)
    monkeypatch.setattr(home, "READER", LITTLE_READER)
    monkeypatch.setattr(home, "load_world", lambda folder: WORLD)

    def fresh(folder):
        return copy.deepcopy(language), byte_tokenizer()

    monkeypatch.setattr(home, "load_language", fresh)

    steps = []

    def stop() -> bool:
        steps.append(None)
        return len(steps) == 3

    def quiet(*step) -> None:
        return None

    # stopped while processes draw pictures, continued with a thread
    assert not home.train_all(tmp_path, quiet, CPU, stop, workers=2)
    assert not (tmp_path / "adapter").exists()
    assert home.train_all(tmp_path, quiet, CPU, lambda: False)
    # finished stages are not trained again
    last = tmp_path / "reader" / f"{LITTLE_READER.stages[-1].name}.pt"
    before = last.read_bytes()
    assert home.train_all(tmp_path, quiet, CPU, lambda: False)
    assert last.read_bytes() == before

    folder = tmp_path / "adapter"
    adapter.write_model(*fresh(tmp_path), folder, tmp_path / "model", home.WEIGHTS_SHA256)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert loaded.dtype == torch.bfloat16
    again, words = adapter.load_model(tmp_path / "model")
    assert words("<image> cat").input_ids == tokenizer("<image> cat").input_ids
    assert evaluate(again, words, WORLD, "test", 1).categories
    with pytest.raises(CheckpointError, match="transprune smol assemble"):
        adapter.load_model(tmp_path)
    trained = torch.load(last, weights_only=True)["module"]
    found = loaded.model.multi_modal_projector.linear_2.weight
    assert torch.equal(found, trained["projector.linear_2.weight"].bfloat16())


def test_a_training_goes_on_from_an_adapter(language, tokenizer, tmp_path, monkeypatch) -> None:
    """Elsewhere, without checkpoints: the same tower, and only the stages that were left."""
    monkeypatch.setattr(home, "TOWER", MINIATURE)
    monkeypatch.setattr(home, "READER", LITTLE_READER)
    monkeypatch.setattr(home, "load_world", lambda folder: WORLD)
    monkeypatch.setattr(
        home, "load_language", lambda folder: (copy.deepcopy(language), byte_tokenizer())
    )
    here, there, begun = tmp_path / "here", tmp_path / "there", tmp_path / "begun"
    words, one, last = LITTLE_READER.names
    stages = []

    def note(stage, *step) -> None:
        stages.append(stage)

    with pytest.raises(TrainingError, match="no checkpoint of a tower"):
        home.write_adapter(here, begun)
    assert not home.train_all(here, note, CPU, lambda: one in stages)
    assert home.write_adapter(here, begun) == (words, one)
    about = json.loads((begun / "adapter.json").read_text())
    assert (about["stages"], about["finished"]) == ([words, one], False)

    # whatever the recipe says now, the tower stays the adapter's
    monkeypatch.setattr(home, "TOWER", replace(MINIATURE, sizes=TowerSizes()))
    stages.clear()
    assert home.train_all(there, note, CPU, lambda: False, start=begun)
    assert set(stages) == {last}
    assert not (there / "tower").exists()
    about = json.loads((there / "adapter" / "adapter.json").read_text())
    assert (about["stages"], about["finished"]) == ([words, one, last], True)
    assert TowerSizes(**about["sizes"]) == MINIATURE.sizes
    before, after = (
        load_file(folder / "adapter.safetensors") for folder in (begun, there / "adapter")
    )
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"projector", "low_rank"}

    # another beginning is another run
    with pytest.raises(TrainingError, match="other settings"):
        home.train_all(there, note, CPU, lambda: False, start=there / "adapter")
