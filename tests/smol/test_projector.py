"""LLaVA around a language model of SmolLM2's shape: packed prompts, a frozen model, a loadable folder."""

from __future__ import annotations

import copy

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import transprune
from smol.little import little_world
from transprune.errors import CheckpointError
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
from transprune.smol.asker import Asker
from transprune.smol.evaluate import evaluate
from transprune.smol.packing import IGNORE, answer_logits, pack, right_answers
from transprune.smol.questions import ask_all
from transprune.smol.scenes import draw, question_rng
from transprune.smol.talk import answer_all
from transprune.smol.train import home, projector
from transprune.smol.train.projector import ProjectorSettings, ProjectorStage, fit
from transprune.smol.train.recipe import MINIATURE
from transprune.smol.vision import TowerSizes, new_tower

CPU = torch.device("cpu")
WORLD = little_world()
POOL = list(WORLD.kinds.names)

# as SmolLM2's tokenizer is built: bytes, special tokens first; every character is a token
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", RESERVED]
OWN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *letters])}
    inner = Tokenizer(models.BPE(vocabulary, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[2],
        unk_token=SPECIAL[0],
        chat_template=OWN_TEMPLATE,
    )


@pytest.fixture(autouse=True)
def few_scenes_to_fit(monkeypatch):
    monkeypatch.setattr(projector, "_FIT_SCENES", 2)


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


def test_right_answers_are_whole_answers(tokenizer, asked) -> None:
    scenes, questions = asked
    packed = pack(pixels_of(scenes), questions, tokenizer)
    targets = packed.targets[packed.targets != IGNORE]
    perfect = torch.nn.functional.one_hot(targets, 260).float()
    assert right_answers(perfect, packed).all()

    # one wrong token spoils its answer and no other
    perfect[0] = 0
    right = right_answers(perfect, packed)
    assert not right[0, 0]
    assert right.sum() == right.numel() - 1


def test_the_projector_learns_and_nothing_else(model, tokenizer, tmp_path) -> None:
    before = copy.deepcopy(model.state_dict())
    settings = ProjectorSettings(steps=4, batch=1, per_category=1, warmup=1)
    stage = ProjectorStage(model, tokenizer, WORLD, settings, CPU)
    log = []
    assert run_stage(stage, tmp_path, lambda name, step, of, found: log.append(found))

    changed = set()
    for name, value in model.state_dict().items():
        # the language model was rounded to bfloat16, the tower not
        same = before[name].to(value.dtype)
        if not torch.equal(value, same):
            changed.add(name.rpartition(".")[0])
    assert changed == {
        "model.multi_modal_projector.linear_1",
        "model.multi_modal_projector.linear_2",
    }
    assert {"loss", "exist", "where"} <= set(log[-1])


def test_stopped_and_resumed_ends_the_same(language, tokenizer, tmp_path) -> None:
    settings = ProjectorSettings(steps=3, batch=1, per_category=1, warmup=1)
    ends = []
    for cuts in ((), (2,)):
        folder = tmp_path / str(len(cuts))
        folder.mkdir()
        for steps in (*cuts, None):
            torch.manual_seed(1)
            tower = new_tower(TowerSizes(width=32, mlp=64, layers=2, heads=2))
            llava = assemble(language, tower, tokenizer)
            stage = ProjectorStage(llava, tokenizer, WORLD, settings, CPU)
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
            right += int(right_answers(answer_logits(model, tokenizer, packed), packed)[0, 0])
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
    tower = model.model.vision_tower.state_dict()
    trained = model.model.multi_modal_projector.state_dict()
    save_adapter(tower, trained, sizes, "abc", tmp_path)

    again = with_adapter(language, tokenizer, tmp_path, "abc").state_dict()
    for name, value in model.state_dict().items():
        kept = "language_model" in name or "lm_head" in name
        expected = value if kept else value.bfloat16().float()
        assert torch.equal(again[name], expected), name

    with pytest.raises(CheckpointError, match="transprune smol language"):
        with_adapter(language, tokenizer, tmp_path, "def")
    with pytest.raises(CheckpointError, match="no adapter in"):
        with_adapter(language, tokenizer, tmp_path / "nowhere", "abc")
    save_adapter(tower, {}, sizes, "abc", tmp_path)
    with pytest.raises(CheckpointError, match="another architecture"):
        with_adapter(language, tokenizer, tmp_path, "abc")


def test_all_of_it_from_two_folders_to_a_checkpoint(
    language, tokenizer, monkeypatch, tmp_path
) -> None:
    """Tower, projector, adapter, model: stopped after the tower, and continued."""
    monkeypatch.setattr(home, "TOWER", MINIATURE)
    settings = ProjectorSettings(steps=1, batch=1, per_category=1, warmup=1)
    monkeypatch.setattr(home, "PROJECTOR", settings)
    monkeypatch.setattr(home, "load_world", lambda folder: WORLD)

    def fresh(folder):
        return copy.deepcopy(language), byte_tokenizer()

    monkeypatch.setattr(home, "load_language", fresh)
    monkeypatch.setattr(adapter, "load_language", fresh)

    steps = []

    def stop() -> bool:
        steps.append(None)
        return len(steps) == 3

    def quiet(*step) -> None:
        return None

    assert home.train_all(tmp_path, quiet, CPU, stop) is None
    assert home.train_all(tmp_path, quiet, CPU, lambda: False) == tmp_path / "adapter"
    # finished stages are not trained again
    before = (tmp_path / "projector" / "projector.pt").read_bytes()
    assert home.train_all(tmp_path, quiet, CPU, lambda: False)
    assert (tmp_path / "projector" / "projector.pt").read_bytes() == before

    adapter.write_model(tmp_path, tmp_path / "adapter", tmp_path / "model", home.WEIGHTS_SHA256)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert loaded.dtype == torch.bfloat16
    again, words = adapter.load_model(tmp_path / "model")
    assert words("<image> cat").input_ids == tokenizer("<image> cat").input_ids
    assert evaluate(again, words, WORLD, "test", 1).categories
    with pytest.raises(CheckpointError, match="transprune smol assemble"):
        adapter.load_model(tmp_path)
    trained = torch.load(tmp_path / "projector" / "projector.pt", weights_only=True)["module"]
    found = loaded.model.multi_modal_projector.linear_2.weight
    assert torch.equal(found, trained["projector.linear_2.weight"].bfloat16())
